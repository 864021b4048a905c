"""Temporary files go with their program; those of a killed one with the next program."""

import atexit
import os
import pathlib
import subprocess
import sys
import tempfile

import pytest

from experiments.command_line import signals, temporary_folder
from tff_nlp.program import run_directory
from tff_nlp.runs import user_folders

ROOT = pathlib.Path(__file__).resolve().parents[3]


@pytest.fixture
def at_end(tmp_path, monkeypatch):
    """What is to be called when the program ends; temporary files go below tmp_path."""
    registered = []
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(temporary_folder, "_shared", [])
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("RAY_TMPDIR", "")  # Restored at the end, whatever it was.
    monkeypatch.delenv("RAY_TMPDIR")
    monkeypatch.setattr(atexit, "register", registered.append)
    monkeypatch.setattr(signals, "_clean_ups", [])
    return registered


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_everything_temporary_is_in_it_and_goes_with_it(tmp_path, at_end):
    folder = temporary_folder.open_private()
    assert folder.parent == tmp_path
    assert folder.stat().st_mode & 0o777 == 0o700
    with tempfile.NamedTemporaryFile("w", suffix=".py", delete=False) as file:
        assert pathlib.Path(file.name).parent == folder
    assert (os.environ["TMPDIR"], os.environ["RAY_TMPDIR"]) == (str(folder), str(tmp_path))
    assert temporary_folder.shared() == tmp_path
    (remove,) = at_end
    assert signals._clean_ups == [remove]
    remove()
    assert names(tmp_path) == []


def test_a_forked_child_does_not_remove_it(tmp_path, at_end):
    folder = temporary_folder.open_private()
    child = os.fork()
    if not child:
        at_end[0]()
        os._exit(0)
    os.waitpid(child, 0)
    assert folder.is_dir()


def test_what_a_killed_program_left_is_removed_by_the_next(tmp_path, at_end):
    child = os.fork()
    if not child:
        folder = temporary_folder.open_private()
        (folder / "__autograph_generated_file1.py").write_text("pass\n")
        os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    assert len(names(tmp_path)) == 1
    (tmp_path / "tff_nlp-notes").mkdir()  # Not one of ours.
    alive = temporary_folder.open_private()
    tempfile.tempdir = str(tmp_path)
    second = temporary_folder.open_private()
    assert names(tmp_path) == sorted(["tff_nlp-notes", alive.name, second.name])


def test_a_run_of_such_a_name_is_no_leftover(tmp_path, at_end):
    run = tmp_path / f"{temporary_folder.PREFIX}reviews"
    with run_directory.RunDirectory(run, {"rounds": 2}) as directory:
        directory.begin()
    before = names(run)
    temporary_folder.open_private()
    assert names(run) == before


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path, at_end):
    planted = tmp_path / f"{temporary_folder.PREFIX}planted"
    planted.mkdir()
    (tmp_path / "victim").write_text("precious")
    (planted / temporary_folder._LOCK).symlink_to(tmp_path / "victim")
    temporary_folder.open_private()
    assert (tmp_path / "victim").read_text() == "precious"
    assert planted.is_dir()


def started(tmp_path, script, *arguments, patch="", **environment):
    """Runs a script that prints its HOME at the end."""
    run = (
        "import os, pwd, runpy, sys\n"
        f"{patch}\n"
        f"sys.argv = {[script, *arguments]!r}\n"
        "try:\n"
        f"    runpy.run_path({str(ROOT / 'experiments' / script)!r}, run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    home = os.environ.get('HOME', '-')\n"
        "    print('\\nHOME', home, os.access(home, os.W_OK), end.code)\n"
    )
    (tmp_path / "cwd").mkdir()
    (tmp_path / "tmp").mkdir()
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-c", run],
        env={**kept, "TMPDIR": str(tmp_path / "tmp"), **environment},
        cwd=tmp_path / "cwd",
        capture_output=True,
        text=True,
        check=False,
    )


NOBODY = "def nobody(user): raise KeyError(user)\npwd.getpwuid = nobody"


@pytest.mark.parametrize(("patch", "home"), [(NOBODY, {}), ("", {"HOME": "/does/not/exist"})])
def test_libraries_find_a_home_where_there_is_none(tmp_path, patch, home):
    done = started(tmp_path, "epsilon.py", "--help", patch=patch, **home)
    _, found, writable, code = done.stdout.splitlines()[-1].split()
    assert (writable, code, done.stderr) == ("True", "0", "")
    assert pathlib.Path(found).is_relative_to(tmp_path / "tmp")
    assert names(tmp_path / "tmp") == names(tmp_path / "cwd") == []


def test_no_place_for_temporary_files_is_one_line(tmp_path):
    patch = (
        "import tempfile\n"
        "def none(): raise FileNotFoundError(2, 'none usable')\n"
        "tempfile._get_default_tempdir = none"
    )
    done = started(tmp_path, "epsilon.py", patch=patch)
    assert done.stdout.splitlines()[-1].endswith(" 2")
    assert (
        done.stderr
        == "epsilon.py: no place for temporary files ([Errno 2] none usable); set TMPDIR\n"
    )


@pytest.mark.slow
def test_a_whole_run_without_a_home(tmp_path, reviews):
    flags = ["--encoder=random", "--encoder_layers=1", "--encoder_width=32", "--rounds=1"]
    flags += [f"--corpus={reviews}", f"--output_dir={tmp_path / 'run'}", "--num_clients=10"]
    done = started(tmp_path, "train.py", *flags, f"--cache_dir={tmp_path / 'c'}", patch=NOBODY)
    assert done.stdout.splitlines()[-1].endswith(" 0"), done.stderr
    assert "Traceback" not in done.stderr
    # No folder that is named ~, no file that TensorFlow has made of a function.
    assert names(tmp_path / "tmp") == names(tmp_path / "cwd") == []
    assert user_folders.STATED_HOME not in done.stdout
