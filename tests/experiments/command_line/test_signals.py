"""Signals: one line, 128 and the number, wherever they come; what was ignored stays ignored."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from absl import flags

from experiments.command_line import entry, signals

ROOT = pathlib.Path(__file__).resolve().parents[3]
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture
def handled(monkeypatch):
    """Signals are handled as in a script; pytest's own handlers come back."""
    before = {number: signal.getsignal(number) for number in ENDING}
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr(signals, "_received", [])
    # A shell may have what runs in its background ignore them.
    for number in ENDING:
        signal.signal(number, signal.SIG_DFL)
    signals.raise_stopped()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def ends(main, capsys):
    code = entry.status(main, flags.FlagValues(), ["train.py"], again="it goes on")
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGINT, "interrupted"),
        (signal.SIGTERM, "ended by SIGTERM"),
        (signal.SIGHUP, "ended by SIGHUP"),
    ],
)
def test_one_line_and_128_plus_the_signal(handled, capsys, number, words):
    found = ends(lambda: signal.raise_signal(number), capsys)
    assert found == (128 + number, f"train.py: {words}; it goes on\n")


def test_a_library_that_makes_another_error_of_it(handled, capsys):
    def main():
        try:
            signal.raise_signal(signal.SIGTERM)
        except BaseException as error:
            raise RuntimeError("the session was closed") from error

    assert ends(main, capsys) == (143, "train.py: ended by SIGTERM; it goes on\n")


def test_python_may_drop_the_exception_once(handled, capsys):
    """An exception in a destructor, or a weak reference's callback, is not raised anywhere."""

    class Careless:
        def __del__(self):
            signal.raise_signal(signal.SIGTERM)

    def main():
        held = [Careless()]
        held.clear()
        while True:
            time.sleep(0.01)

    assert ends(main, capsys) == (143, "train.py: ended by SIGTERM; it goes on\n")


def test_a_second_signal_ends_at_once(handled, monkeypatch):
    left = []
    monkeypatch.setattr(os, "_exit", left.append)
    cleaned = []
    monkeypatch.setattr(signals, "_clean_ups", [lambda: cleaned.append(True)])
    with pytest.raises(signals.Stopped):
        signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGHUP)
    assert (left, cleaned) == ([129], [True])


def test_what_nohup_ignores_stays_ignored(handled):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signals.raise_stopped()
    signals.end_at_once()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


@pytest.mark.parametrize("script", ["train.py", "train_centralized.py", "predict.py", "epsilon.py"])
def test_ctrl_c_while_a_script_is_imported(script, tmp_path):
    """The signal comes as soon as the script asks for its first library."""
    run = (
        "import runpy, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Finder:\n"
        "    def find_spec(name, *_):\n"
        "        if name == 'absl':\n"
        "            signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder)\n"
        f"sys.argv = [{script!r}]\n"
        f"runpy.run_path({str(ROOT / 'experiments' / script)!r}, run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", run],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (130, f"{script}: interrupted\n")
    assert list(tmp_path.iterdir()) == []
