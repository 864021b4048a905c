"""How scripts end: one line and exit code 2 for a user's mistake, a stack trace for a defect."""

import subprocess
import sys

import pytest
from absl import flags

from experiments import entry
from tff_nlp.errors import UserError


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
        ("--flagfile=/does/not/exist.flags", "exist.flags"),
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
        raise UserError("--corpus=a.csv: line 3:\n  has two columns")

    assert ends(flag_values, capsys, main=main) == (
        2,
        "",
        "train.py: --corpus=a.csv: line 3: has two columns\n",
    )


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
        "import sys, experiments.entry\n"
        "print(sorted({'tensorflow', 'numpy', 'matplotlib'} & set(sys.modules)))"
    )
    root = entry.__file__.rpartition("/experiments/")[0]
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=root, check=True
    )
    assert done.stdout.strip() == "[]"
