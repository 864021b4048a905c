"""How scripts end: one line and exit code 2 for a user's mistake, a stack trace for a defect."""

import dataclasses
import errno
import re
import subprocess
import sys

import pytest
from absl import flags

from experiments import audit, epsilon, plan_budget, predict, train, train_centralized
from experiments.command_line import entry, help_text
from experiments.flags import groups
from tff_nlp.errors import RunError, UserError, WriteError
from tff_nlp.runs import options, reporter


@pytest.fixture
def flag_values():
    values = flags.FlagValues()
    flags.DEFINE_integer("rounds", 10, "How many.", lower_bound=1, flag_values=values)
    flags.DEFINE_enum("dp", "none", ["none", "gaussian"], "Mechanism.", flag_values=values)
    return values


def ends(flag_values, capsys, *arguments, main=lambda: None):
    """Returns the exit code, stdout and stderr of a script."""
    code = entry.status(main, flag_values, ["folder/train.py", *arguments])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_success(flag_values, capsys):
    seen = []
    code, _, err = ends(
        flag_values, capsys, "--rounds=3", main=lambda: seen.append(flag_values.rounds)
    )
    assert (code, err, seen) == (0, "", [3])


@pytest.mark.parametrize(
    ("argument", "part"),
    [
        ("--rounds=many", "--rounds=many"),
        ("--rounds=0", "rounds=0"),
        ("--dp=laplace", "gaussian"),
        ("--round=3", "Did you mean: rounds"),
        ("rounds=3", "unexpected argument 'rounds=3'"),
        ("--flagfile=/does/not/exist.flags", "train.py: --flagfile: [Errno 2] No such file"),
        ("--flagfile=/", "train.py: --flagfile: [Errno 21] Is a directory: '/'"),
    ],
)
def test_a_bad_flag_is_one_line_and_code_2(flag_values, capsys, argument, part):
    code, out, err = ends(flag_values, capsys, argument, main=pytest.fail)
    assert code == 2
    assert out == ""
    assert err.startswith("train.py: ")
    assert part in err
    assert err.count("\n") == 1


def test_a_users_mistake_is_one_line_and_code_2(flag_values, capsys):
    def main():
        raise UserError("`corpus`=a.csv: line 3:\n  has two columns")

    assert ends(flag_values, capsys, main=main) == (
        2,
        "",
        "train.py: --corpus=a.csv: line 3: has two columns\n",
    )


@pytest.mark.parametrize(("kind", "code"), [(UserError, 2), (RunError, 1), (WriteError, 1)])
def test_scripts_name_flags_in_errors_and_in_lines(flag_values, capsys, kind, code):
    def main():
        reporter.say("note", ["`dp`=none has no effect with `rounds`=3"])
        raise kind("`dp`=none: only `rounds`=3 uses it")

    assert ends(flag_values, capsys, main=main) == (
        code,
        "note      --dp=none has no effect with --rounds=3\n",
        "train.py: --dp=none: only --rounds=3 uses it\n",
    )
    reporter.say("note", ["`dp`=none"])
    assert capsys.readouterr().out == "note      dp=none\n"


def test_a_defect_keeps_its_stack_trace(flag_values, capsys):
    def main():
        raise ValueError("a defect")

    with pytest.raises(ValueError, match="a defect"):
        ends(flag_values, capsys, main=main)


def test_interruption(flag_values, capsys):
    def main():
        raise KeyboardInterrupt

    code, _, err = ends(flag_values, capsys, main=main)
    assert (code, err) == (130, "train.py: interrupted\n")


@pytest.mark.parametrize("argument", ["--help", "-h"])
def test_help_lists_the_flags_and_ends_well(flag_values, capsys, argument):
    code, out, err = ends(flag_values, capsys, argument, main=pytest.fail)
    assert (code, err) == (0, "")
    assert "--rounds" in out
    assert "How many." in out


def test_flagfiles_are_read_and_later_flags_win(flag_values, capsys, tmp_path):
    file = tmp_path / "preset.flags"
    file.write_text("# a preset\n--rounds=7\n--dp=gaussian\n")
    code, _, _ = ends(flag_values, capsys, f"--flagfile={file}", "--rounds=8")
    assert (code, flag_values.rounds, flag_values.dp) == (0, 8, "gaussian")


def test_entry_itself_is_light():
    script = (
        "import sys, experiments.command_line.entry\n"
        "print(sorted({'tensorflow', 'numpy', 'matplotlib'} & set(sys.modules)))"
    )
    root = entry.__file__.rpartition("/experiments/")[0]
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=root, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\x00", "--dp=gaußian".encode("latin-1")])
def test_a_file_of_flags_that_is_no_text(flag_values, capsys, tmp_path, content):
    file = tmp_path / "preset.flags"
    file.write_bytes(content)
    code, out, err = ends(flag_values, capsys, f"--flagfile={file}", main=pytest.fail)
    assert (code, out) == (2, "")
    assert err == f"train.py: --flagfile={file}: a file of flags is not UTF-8 text\n"


def test_a_message_cannot_move_the_cursor_or_fill_the_screen(flag_values, capsys):
    def main():
        raise UserError(f"--corpus=\x1b[2Ja.csv \udcff: {'n' * 6000}")

    code, _, err = ends(flag_values, capsys, main=main)
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith(r"train.py: --corpus=\x1b[2Ja.csv \xff: nnn")
    assert len(err) < 400


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            WriteError("a.npz: cannot be written (full)"),
            "a.npz: cannot be written (full); it goes on",
        ),
        (OSError(errno.ENOSPC, "No space left", "x"), "[Errno 28] No space left: 'x'; it goes on"),
        (RunError("round 3: diverged"), "round 3: diverged"),
    ],
)
def test_failures_are_one_line_and_code_1(flag_values, capsys, error, line):
    def main():
        raise error

    code = entry.status(main, flag_values, ["train.py"], again="it goes on")
    assert (code, capsys.readouterr().err) == (1, f"train.py: {line}\n")


def test_other_errors_of_the_system_are_defects(flag_values, capsys):
    def main():
        raise FileNotFoundError(errno.ENOENT, "No such file", "x")

    with pytest.raises(FileNotFoundError):
        ends(flag_values, capsys, main=main)


def test_a_reader_that_goes_away_is_no_stack_trace(tmp_path):
    script = (
        "from absl import flags\n"
        "from experiments.command_line import entry\n"
        "def main():\n"
        "    for number in range(100_000):\n"
        "        print('label', number)\n"
        "entry.run(main, flags.FlagValues())\n"
    )
    root = entry.__file__.rpartition("/experiments/")[0]
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"label 0\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_a_broken_pipe_of_something_else_is_a_defect(flag_values, capsys):
    def main():
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    with pytest.raises(BrokenPipeError):
        ends(flag_values, capsys, main=main)


@dataclasses.dataclass(frozen=True)
class Texts:
    """What to train on."""

    zebra: str = options.option("", "Comes first, although it sorts last.", path=True)
    kind: str = options.option("a", "A choice.", ("a", "b"))


@dataclasses.dataclass(frozen=True)
class Length:
    """How long.

    And a sentence more.
    """

    rounds: int | None = options.option(None, "How many; see `kind`=b.")
    loud: bool = options.option(True, "Whether to say it.")


def test_help_is_by_group_in_the_order_of_definition(capsys, monkeypatch):
    values = flags.FlagValues()
    for group in (Texts, Length):
        groups.define(group, values)
    example = f"  train.py --{'a' * 70}=1 --zebra=reviews.csv"

    def main():
        pytest.fail()

    monkeypatch.setattr(sys.modules[__name__], "__doc__", f"Trains.\n\n{example}\n\nThat is all.")
    assert entry.status(main, values, ["train.py", "--help"], groups=(Length, Texts)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert example in lines
    starts = ["How long:", "--rounds=NUMBER", "--loud, --noloud", "What to train on:"]
    starts += ["--zebra=TEXT", "--kind=a", "Help, and flags from a file:", "--flagfile=FILE"]
    places = [
        next(n for n, line in enumerate(lines) if line.strip().startswith(start))
        for start in starts
    ]
    assert places == sorted(places)
    text = " ".join(" ".join(lines).split())
    assert "--rounds=NUMBER How many; see --kind=b. --loud" in text
    assert "--kind=a A choice. One of a, b. Help" in text
    assert "--loud, --noloud Whether to say it. Default: on." in text


@pytest.mark.parametrize(
    ("define", "default", "shown"),
    [
        (flags.DEFINE_boolean, None, "--x, --nox As the corpus has it. Help"),
        (flags.DEFINE_string, r"NULL,\N", r"--x=NULL,\N As the corpus has it. Help"),
        (flags.DEFINE_list, ["100", "300"], "--x=100,300 As the corpus has it. Help"),
        (flags.DEFINE_list, [], "--x=TEXT As the corpus has it. Help"),
        (flags.DEFINE_float, 0.0, "--x=0.0 As the corpus has it. Help"),
    ],
)
def test_help_shows_defaults_as_they_are_given(define, default, shown):
    values = flags.FlagValues()
    define("x", default, "As the corpus has it.", flag_values=values)
    assert shown in " ".join(help_text.of("", values).split())


@pytest.mark.parametrize("script", [train, train_centralized, audit, predict, epsilon, plan_budget])
def test_the_examples_of_every_script_can_be_copied(script):
    """A backslash at the end of a line, or nothing: never a line that was joined and torn."""
    examples = re.findall(r"(?m)^  (experiments/.*(?:\\\n.*)*)", script.__doc__)
    assert examples
    for example in examples:
        words = example.replace("\\\n", " ").split()
        assert all(word.startswith(("--", '"', "experiments/")) for word in words[:2])
        assert "  " not in example.replace("\\\n    ", "")
        assert max(map(len, example.splitlines())) <= 98
