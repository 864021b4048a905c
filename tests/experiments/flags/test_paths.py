"""One rule for all paths: ~, XDG_CACHE_HOME, and names that no file can have."""

import os
import pathlib
import pwd

import pytest

from experiments.flags import paths
from tff_nlp.errors import UserError
from tff_nlp.runs import user_folders


@pytest.fixture
def nobody(monkeypatch):
    """A user without HOME and without an entry in the password file."""

    def no_entry(user):
        raise KeyError(user)

    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    for name in ("HOME", "XDG_CACHE_HOME", user_folders.STATED_HOME):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def ann(monkeypatch):
    monkeypatch.delenv(user_folders.STATED_HOME, raising=False)
    monkeypatch.setenv("HOME", "/people/ann")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", ""),
        ("~", "/people/ann"),
        ("~/runs/x", "/people/ann/runs/x"),
        ("~/a.csv,b.csv,~/c/*.csv", "/people/ann/a.csv,b.csv,/people/ann/c/*.csv"),
        ("./~", "./~"),
        ("a~b", "a~b"),
        ("~no_such_user/x", "~no_such_user/x"),
        ("tfds:glue/sst2", "tfds:glue/sst2"),
    ],
)
def test_a_tilde_is_the_home_directory(ann, value, expected):
    assert paths.expand("corpus", value) == expected


def test_another_users_home(ann):
    root = pwd.getpwuid(0)
    assert paths.expand("corpus", f"~{root.pw_name}/x") == f"{root.pw_dir}/x"


def test_without_home_a_tilde_is_refused(nobody):
    with pytest.raises(UserError, match="run=~/x: there is no home directory") as caught:
        paths.of_flag("run", "~/x")
    assert str(os.getuid()) in str(caught.value)
    assert paths.of_flag("run", "x") == pathlib.Path("x")


def test_a_substitute_is_no_home(nobody, monkeypatch):
    monkeypatch.setenv("HOME", "/tmp/for-libraries")
    monkeypatch.setenv(user_folders.STATED_HOME, "")
    assert user_folders.home() is None
    monkeypatch.setenv(user_folders.STATED_HOME, "/people/ann")
    assert user_folders.home() == pathlib.Path("/people/ann")


def test_an_empty_home_is_looked_up(ann, monkeypatch):
    monkeypatch.setenv("HOME", "")
    assert user_folders.home() == pathlib.Path(pwd.getpwuid(os.getuid()).pw_dir)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("n" * 300, "File name too long"),
        (f"fine.csv,{'n' * 300}", "File name too long"),
        (f"missing/{'n' * 300}/run", "File name too long"),
        (f"missing/{'é' * 150}", "File name too long"),
        ("/".join(["n"] * 4000), "File name too long"),
        ("caf\udce9.csv", "is not UTF-8"),
        (",", "names nothing"),
        (" ", "names nothing"),
        ("a\0b", "null"),
    ],
)
def test_names_that_no_file_can_have(value, reason):
    with pytest.raises(UserError, match=f"^corpus=.*{reason}"):
        paths.expand("corpus", value)


def test_many_files_may_make_a_long_list():
    names = ",".join(f"part-{n}.csv" for n in range(1000))
    assert paths.expand("corpus", names) == names


def test_the_cache_follows_the_system(ann, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/x/cache")
    assert user_folders.cache_dir("") == pathlib.Path("/x/cache/tff_nlp")
    assert user_folders.cache_dir("mine") == pathlib.Path("mine")
    # The standard says to pass over a relative path.
    for value in ("x/cache", "~/cache", ""):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert user_folders.cache_dir("") == pathlib.Path("/people/ann/.cache/tff_nlp")


def test_without_home_the_cache_must_be_named(nobody, monkeypatch):
    with pytest.raises(UserError, match="cache_dir=: give it, or set XDG_CACHE_HOME"):
        user_folders.cache_dir("")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert user_folders.cache_dir("") == pathlib.Path("/x/tff_nlp")


def test_what_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    for below in ("file", "file/run/deep"):
        with pytest.raises(UserError, match=r"output_dir=.*file is a file"):
            user_folders.check_writable("output_dir", tmp_path / below)
    user_folders.check_writable("output_dir", tmp_path / "new" / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UserError, match=f"no permission to write into {tmp_path}"):
        user_folders.check_writable("output_dir", tmp_path / "new" / "run")
