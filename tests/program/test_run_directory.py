"""The folder of a run holds one run with one configuration, and other files are left alone."""

import json
import os
import pathlib
import shutil
import stat
import subprocess
import sys

import pytest

from tff_nlp import durable_files, errors
from tff_nlp.program import run_directory
from tff_nlp.program.configuration import Rules
from tff_nlp.program.run_directory import RunDirectory

CONFIG = {"rounds": 3, "seed": 0, "corpus": "a.csv", "header": True, "clip": None}


def begun(path, config=CONFIG, rules=None, **late):
    with RunDirectory(path, config, rules or Rules(late=list(late))) as directory:
        directory.begin(**late)


def content(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


def refused(path, config=CONFIG, rules=Rules()):  # noqa: B008
    before = content(path) if path.is_dir() else None
    with pytest.raises(errors.UserError) as raised:
        RunDirectory(path, config, rules)
    assert before == (content(path) if path.is_dir() else None)
    message = str(raised.value)
    assert message.startswith("output_dir=")
    assert str(path) in message
    assert "\n" not in message
    return message


def test_the_same_configuration_resumes_the_run(tmp_path):
    begun(tmp_path / "a" / "run", {**CONFIG, "pair": (1, 2)})
    begun(tmp_path / "a" / "run", {**CONFIG, "pair": [1, 2]})
    assert (tmp_path / "a" / "run" / "checkpoints").is_dir()


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"rounds": 4}, ["rounds=3, not rounds=4"]),
        ({"header": False}, ["header=true, not header=false"]),
        ({"clip": 0.5}, ["clip=, not clip=0.5"]),
        ({"rounds": 4, "seed": 1}, ["rounds=3 seed=0, not rounds=4 seed=1"]),
        ({"rounds": 4, "corpus (fingerprint)": "f"}, ["rounds=3, not rounds=4; use"]),
        ({"corpus (fingerprint)": "f"}, ["other texts", "corpus"]),
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
    (name,) = change
    assert f"version (only one of the two has {name})" in refused(tmp_path, new)


def test_late_values_are_compared_when_they_are_known(tmp_path):
    begun(tmp_path, devices=["/CPU:0", "/CPU:0"])
    assert json.loads((tmp_path / "config.json").read_text())["devices"] == ["/CPU:0", "/CPU:0"]
    begun(tmp_path, {**CONFIG, "devices": ""}, devices=["/CPU:0", "/CPU:0"])
    with pytest.raises(errors.UserError, match="devices=/CPU:0,/CPU:0, not devices=/GPU:0"):
        begun(tmp_path, devices=["/GPU:0"])


def test_late_values_may_not_be_forgotten(tmp_path):
    with (
        RunDirectory(tmp_path / "run", CONFIG, Rules(late=["devices"])) as directory,
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
    # No run has begun, so every configuration is allowed.
    begun(tmp_path / "run", {**CONFIG, "rounds": 9})


def test_an_empty_folder_is_removed(tmp_path):
    with pytest.raises(errors.UserError, match="no such encoder"):  # noqa: SIM117
        with RunDirectory(tmp_path / "run", CONFIG):
            raise errors.UserError("no such encoder")
    assert not (tmp_path / "run").exists()
    begun(tmp_path / "run", {**CONFIG, "encoder": "other"})


def test_a_folder_that_is_deleted_meanwhile_is_one_line(tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(errors.WriteError, match="config.json: cannot be written"):  # noqa: SIM117
        with RunDirectory(folder, CONFIG) as directory:
            shutil.rmtree(folder)
            directory.begin()


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


@pytest.fixture
def no_umask():
    before = os.umask(0)
    yield
    os.umask(before)


def test_only_its_owner_can_read_it(tmp_path, no_umask):
    begun(tmp_path / "runs" / "run")
    append = tmp_path / "runs" / "run" / "metrics.csv"
    durable_files.append_text(append, "round\n")
    modes = {
        path.relative_to(tmp_path).as_posix(): stat.S_IMODE(path.stat().st_mode)
        for path in (tmp_path / "runs" / "run").rglob("*")
    }
    assert stat.S_IMODE((tmp_path / "runs" / "run").stat().st_mode) == 0o700
    assert modes == {
        "runs/run/.lock": 0o600,
        "runs/run/config.json": 0o600,
        "runs/run/metrics.csv": 0o600,
        "runs/run/checkpoints": 0o700,
        "runs/run/tensorboard": 0o700,
    }


KINDS = {
    "metrics.csv": "folder",
    "tensorboard": "file",
    "tracking": "file",
    "checkpoints": "file",
    "model": "file",
    "private": "file",
}


@pytest.mark.parametrize("name", KINDS)
def test_a_folder_in_place_of_a_file_and_the_reverse(tmp_path, name):
    begun(tmp_path)
    if KINDS[name] == "folder":
        (tmp_path / name).mkdir()
    else:
        shutil.rmtree(tmp_path / name, ignore_errors=True)
        (tmp_path / name).write_text("mine")
    assert f"{name} is a {KINDS[name]}, not a " in refused(tmp_path)


@pytest.mark.parametrize(
    "name", ["config.json", "result.json", "metrics.csv", "checkpoints", "private"]
)
def test_a_link_in_the_place_of_a_part_is_refused(tmp_path, name):
    begun(tmp_path / "run")
    part, elsewhere = tmp_path / "run" / name, tmp_path / "elsewhere"
    if part.is_dir():
        part.rmdir()
    part.unlink(missing_ok=True)
    elsewhere.write_text("{}")
    part.symlink_to(elsewhere)
    assert f"{name} is a link" in refused(tmp_path / "run")
    assert elsewhere.read_text() == "{}"


def test_a_planted_link_is_not_followed(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json.partial").symlink_to(tmp_path / "victim")
    begun(tmp_path / "run")
    assert (tmp_path / "victim").read_text() == "precious"
    assert json.loads((tmp_path / "run" / "config.json").read_text())["rounds"] == 3


TEXTS = {"corpus (fingerprint)": "e"}
MOVABLE = Rules(described=["corpus", "header"])


def test_moved_texts_resume_the_run(tmp_path):
    begun(tmp_path, {**CONFIG, **TEXTS}, MOVABLE)
    moved = {**CONFIG, **TEXTS, "corpus": "b.tsv", "header": False}
    begun(tmp_path, moved, MOVABLE)
    assert json.loads((tmp_path / "config.json").read_text()) == moved
    assert "seed=0, not seed=1" in refused(tmp_path, {**moved, "seed": 1}, MOVABLE)
    other = {**moved, "corpus (fingerprint)": "f", "header": True}
    assert "header=false, not header=true" in refused(tmp_path, other, MOVABLE)


def test_a_finished_run_stores_the_new_path_of_its_texts(tmp_path):
    with RunDirectory(tmp_path, {**CONFIG, **TEXTS}, Rules(late=["devices"])) as directory:
        directory.begin(devices=["/CPU:0"])
        directory.save_result({})
    rules = Rules(late=["devices"], described=["corpus"])
    with RunDirectory(tmp_path, {**CONFIG, **TEXTS, "corpus": "b.csv"}, rules) as directory:
        assert directory.result() == {}
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["corpus"], config["devices"]) == ("b.csv", ["/CPU:0"])


GROWING = Rules(growing={"rounds": ""})


def finished(path, rounds):
    config = {**CONFIG, "rounds": rounds}
    with RunDirectory(path, config, GROWING) as directory:
        found = directory.result()
        directory.begin()
        directory.save_result({"config": config})
    return found


def test_a_run_may_grow_but_not_shrink(tmp_path):
    assert finished(tmp_path, 3) is None
    assert finished(tmp_path, 5) is None  # The result is of fewer rounds.
    assert finished(tmp_path, 5) is not None
    assert "rounds=5, not rounds=3" in refused(tmp_path, CONFIG, GROWING)
    assert "seed=0, not seed=1" in refused(tmp_path, {**CONFIG, "rounds": 9, "seed": 1}, GROWING)


def test_the_identity_is_the_same_for_every_command_that_goes_on(tmp_path):
    rules = Rules(late=["devices"], described=["corpus"], growing={"rounds": ""})

    def identity(**changes):
        with RunDirectory(tmp_path / "run", {**CONFIG, **changes}, rules) as directory:
            return directory.identity

    same = {identity(), identity(rounds=9), identity(corpus="b.csv"), identity(devices="x")}
    assert len(same) == 1
    assert identity(seed=1) not in same


def test_a_run_that_may_not_grow_says_why(tmp_path):
    begun(tmp_path, CONFIG)
    rules = Rules(growing={"rounds": "`decay_learning_rate` ends it"})
    message = refused(tmp_path, {**CONFIG, "rounds": 5}, rules)
    assert "rounds=3 that cannot go on to rounds=5: decay_learning_rate ends it" in message
    begun(tmp_path, CONFIG, rules)


def test_growing_interrupted_before_its_end_goes_on(tmp_path):
    finished(tmp_path, 3)
    with RunDirectory(tmp_path, {**CONFIG, "rounds": 5}, GROWING) as directory:
        directory.begin()
    with RunDirectory(tmp_path, {**CONFIG, "rounds": 5}, GROWING) as directory:
        assert directory.result() is None
    assert json.loads((tmp_path / "result.json").read_text())["config"]["rounds"] == 3


@pytest.mark.parametrize("damaged", ["[]", "3", '"x"', "[[" * 5000])
def test_json_that_is_no_object_is_named(tmp_path, damaged):
    begun(tmp_path)
    for name in ("result.json", "config.json"):
        (tmp_path / name).write_text(damaged)
        with pytest.raises(errors.UserError, match=f"{name} cannot be read"):
            RunDirectory(tmp_path, CONFIG).result()
