"""Training shows a bar on a terminal and a few lines in a file."""

import io

from tff_nlp.program import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def run(stream, rounds, done=0, every=5):
    with progress.Progress(rounds, done, stream=stream) as shown:
        for number in range(done + 1, rounds + 1):
            scores = {"test": number / rounds} if number % every == 0 else None
            shown.advance({"loss": 0.5}, scores)


def test_a_file_gets_a_line_for_each_evaluation_and_the_end():
    stream = io.StringIO()
    run(stream, 12)
    lines = stream.getvalue().splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "round 5/12",
        "round 10/12",
        "round 12/12",
    ]
    assert "loss 0.500, test 0.417" in lines[0]
    assert "test 0.833" in lines[2]  # The last score stays.
    assert "\r" not in stream.getvalue()


def test_thousands_of_rounds_do_not_fill_a_file():
    stream = io.StringIO()
    run(stream, 5000, every=10_000)
    assert stream.getvalue().count("\n") == 1


def test_slow_rounds_get_lines_without_evaluations(monkeypatch):
    now = iter(range(0, 10_000, 50))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    stream = io.StringIO()
    run(stream, 6, every=100)
    lines = stream.getvalue().splitlines()
    assert [line.partition(":")[0] for line in lines] == ["round 2/6", "round 4/6", "round 6/6"]
    assert lines[0].endswith("3:20 min left")  # Two rounds took 100 seconds; four are left.


def test_time_left_counts_this_programs_rounds_only(monkeypatch):
    now = iter([0, 100])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    stream = io.StringIO()
    with progress.Progress(20, 9, stream=stream) as shown:
        shown.advance({}, {"test": 0.5})
    assert stream.getvalue() == "round 10/20: test 0.500, 16:40 min left\n"


def test_a_terminal_gets_a_bar():
    stream = Terminal()
    run(stream, 10, done=5)
    assert "10/10" in stream.getvalue()
    assert "loss=0.500" in stream.getvalue()
    assert "\r" in stream.getvalue()


def test_warnings_are_lines_of_their_own():
    for stream in (io.StringIO(), Terminal()):
        with progress.Progress(2, 0, stream=stream) as shown:
            shown.say("warning: odd")
        assert "warning: odd\n" in stream.getvalue()


def test_a_quiet_one_writes_messages_only():
    for stream in (io.StringIO(), Terminal()):
        with progress.Progress(2, 0, stream=stream, quiet=True) as shown:
            shown.advance({"loss": 0.5}, {"test": 0.5})
            shown.say("warning: odd")
            shown.advance({"loss": 0.5}, {"test": 0.5})
        assert stream.getvalue() == "warning: odd\n"
