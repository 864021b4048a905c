"""A run's folder: one run, one configuration, nothing of others touched."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from tff_nlp import errors
from tff_nlp.program import run_directory
from tff_nlp.program.run_directory import RunDirectory

CONFIG = {"rounds": 3, "seed": 0, "corpus": "a.csv", "header": True, "clip": None}


def begun(path, config=CONFIG, **late):
    with RunDirectory(path, config, late=list(late)) as directory:
        directory.begin(**late)


def content(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


def refused(path, config=CONFIG, late=()):
    before = content(path) if path.is_dir() else None
    with pytest.raises(errors.UserError) as raised:
        RunDirectory(path, config, late=late)
    assert before == (content(path) if path.is_dir() else None)
    message = str(raised.value)
    assert message.startswith("--output_dir=")
    assert str(path) in message
    assert "\n" not in message
    return message


def test_the_same_configuration_goes_on(tmp_path):
    begun(tmp_path / "a" / "run", {**CONFIG, "pair": (1, 2)})
    begun(tmp_path / "a" / "run", {**CONFIG, "pair": [1, 2]})
    assert (tmp_path / "a" / "run" / "checkpoints").is_dir()


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"rounds": 4}, ["--rounds=3, not --rounds=4"]),
        ({"header": False}, ["--header=true, not --header=false"]),
        ({"clip": 0.5}, ["--clip=, not --clip=0.5"]),
        ({"rounds": 4, "seed": 1}, ["--rounds=3 --seed=0, not --rounds=4 --seed=1"]),
        ({"rounds": 4, "corpus (fingerprint)": "f"}, ["--rounds=3, not --rounds=4; use"]),
        ({"corpus (fingerprint)": "f"}, ["other texts", "--corpus"]),
    ],
)
def test_another_configuration_is_refused_by_the_flag(tmp_path, change, parts):
    config = {**CONFIG, "corpus (fingerprint)": "e"}
    begun(tmp_path, config)
    message = refused(tmp_path, {**config, **change})
    for part in parts:
        assert part in message


@pytest.mark.parametrize("change", [{"epochs": 3}, {"seed": None}])
def test_the_run_of_another_script_is_refused(tmp_path, change):
    begun(tmp_path)
    new = {**CONFIG, **change}
    if "seed" in change:
        del new["seed"]
    assert f"another script or version (--{next(iter(change))} " in refused(tmp_path, new)


def test_late_values_are_compared_when_they_are_known(tmp_path):
    begun(tmp_path, devices=["/CPU:0", "/CPU:0"])
    assert json.loads((tmp_path / "config.json").read_text())["devices"] == ["/CPU:0", "/CPU:0"]
    begun(tmp_path, {**CONFIG, "devices": ""}, devices=["/CPU:0", "/CPU:0"])
    with pytest.raises(errors.UserError, match="--devices=/CPU:0,/CPU:0, not --devices=/GPU:0"):
        begun(tmp_path, devices=["/GPU:0"])


def test_late_values_may_not_be_forgotten(tmp_path):
    with (
        RunDirectory(tmp_path / "run", CONFIG, late=["devices"]) as directory,
        pytest.raises(ValueError, match="devices"),
    ):
        directory.begin()


def test_two_runs_at_once(tmp_path):
    with RunDirectory(tmp_path / "run", CONFIG) as directory:
        directory.begin()
        assert "another run is using it" in refused(tmp_path / "run")
    begun(tmp_path / "run")


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    script = (
        "import os, pathlib\n"
        "from tff_nlp.program.run_directory import RunDirectory\n"
        f"RunDirectory(pathlib.Path({str(tmp_path / 'run')!r}), {CONFIG!r}).begin()\n"
        "os.kill(os.getpid(), 9)\n"
    )
    root = pathlib.Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, check=False)
    assert done.returncode == -9
    assert (tmp_path / "run" / "config.json").exists()
    begun(tmp_path / "run")


@pytest.mark.parametrize("name", ["thesis.tex", "result.json", ".hidden", "round_000001.npz"])
def test_a_folder_of_something_else_is_left_alone(tmp_path, name):
    (tmp_path / name).write_text("mine")
    assert f"holds {name} but no config.json" in refused(tmp_path)


def test_somebody_elses_lock_file_keeps_its_content(tmp_path):
    (tmp_path / ".lock").write_text("mine")
    begun(tmp_path)
    assert (tmp_path / ".lock").read_text() == "mine"


@pytest.mark.parametrize("damaged", ["", "{", "\x00", "[1"])
def test_a_damaged_configuration_is_named(tmp_path, damaged):
    begun(tmp_path)
    (tmp_path / "config.json").write_text(damaged)
    with pytest.raises(errors.UserError, match=r"config\.json cannot be read"):
        RunDirectory(tmp_path, CONFIG)


@pytest.mark.parametrize("path", ["file", "file/below", "/proc/run"])
def test_a_place_that_cannot_be_written(tmp_path, path):
    (tmp_path / "file").write_text("mine")
    assert "cannot be written (" in refused(tmp_path / path)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_kill_while_the_configuration_is_written(tmp_path, monkeypatch):
    def killed(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        begun(tmp_path / "run")
    monkeypatch.undo()
    assert not (tmp_path / "run" / "config.json").exists()
    # Nothing has begun, so any configuration may.
    begun(tmp_path / "run", {**CONFIG, "rounds": 9})


def test_nothing_is_left_where_nothing_began(tmp_path):
    with pytest.raises(errors.UserError, match="no such encoder"):  # noqa: SIM117
        with RunDirectory(tmp_path / "run", CONFIG):
            raise errors.UserError("no such encoder")
    assert not (tmp_path / "run").exists()
    begun(tmp_path / "run", {**CONFIG, "encoder": "other"})


def test_the_result_marks_the_end(tmp_path):
    with RunDirectory(tmp_path, CONFIG) as directory:
        directory.begin()
        assert directory.result() is None
        directory.save_result({"label": "好"})
        assert directory.result() == {"label": "好"}
    assert "好" in (tmp_path / "result.json").read_text(encoding="utf-8")


def test_json_is_whole_or_not_there(tmp_path):
    path = tmp_path / "result.json"
    run_directory.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        run_directory.write_json(path, {"a": 2, "b": object()})
    assert json.loads(path.read_text()) == {"a": 1}


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    with RunDirectory(tmp_path, CONFIG) as directory:
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(errors.RunError, match=r"result\.json: .*No space left"):
            directory.save_result({})
