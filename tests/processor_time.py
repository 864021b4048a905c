"""Ends a run of the tests with the processor time that it took, and that of the ten dearest tests.

Seconds on the clock say little on a machine that does other things, too.
"""

import collections
import os

import pytest

_spent_by: collections.Counter[str] = collections.Counter()


def _spent():
    """Returns the seconds of this process and of its children that ended, user and system."""
    return sum(os.times()[:4])


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    """Counts what a test takes, its fixtures included."""
    before = _spent()
    yield
    _spent_by[item.nodeid] += _spent() - before


def pytest_terminal_summary(terminalreporter):
    """Prints what was counted."""
    terminalreporter.section("processor time")
    for test, seconds in _spent_by.most_common(10):
        terminalreporter.write_line(f"{seconds:6.1f} s  {test}")
    terminalreporter.write_line(f"{_spent():6.1f} s  in all, with imports")
