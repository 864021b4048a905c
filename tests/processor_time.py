"""Prints the processor time of a test run, and of its ten most expensive tests and files.

Wall-clock time means little on a machine that also runs other programs.
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
    """Measures a test with its fixtures."""
    before = _spent()
    yield
    _spent_by[item.nodeid] += _spent() - before


def pytest_terminal_summary(terminalreporter):
    """Prints the measured times."""
    terminalreporter.section("processor time")
    for test, seconds in _spent_by.most_common(10):
        terminalreporter.write_line(f"{seconds:6.1f} s  {test}")
    of_file: collections.Counter[str] = collections.Counter()
    for test, seconds in _spent_by.items():
        of_file[test.partition("::")[0]] += seconds
    for file, seconds in of_file.most_common(10):
        terminalreporter.write_line(f"{seconds:6.1f} s  {file}, all its tests")
    terminalreporter.write_line(f"{_spent():6.1f} s  in all, with imports")
