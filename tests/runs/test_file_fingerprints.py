"""Fingerprints of files equal those of the system's own program, and unchanged files are kept."""

import os
import pathlib
import subprocess

import pytest

from tff_nlp import errors
from tff_nlp.runs import file_fingerprints


def sha256sum(folder, *names, **arguments):
    return subprocess.check_output(["sha256sum", *names], cwd=folder, **arguments)


@pytest.fixture
def folder(tmp_path):
    found = tmp_path / "a[b]"
    for name in ("z.csv", "parts/b", "parts/a"):
        path = found / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"text of {name}\n" * 1000)
    return found


def test_they_are_those_of_sha256sum(folder):
    found = file_fingerprints.FileFingerprints(folder).of(["z.csv", "parts/*"])
    assert found["z.csv"] == sha256sum(folder, "z.csv").split()[0].decode()
    lines = sha256sum(folder, "parts/a", "parts/b")
    assert found["parts/*"] == sha256sum(folder, input=lines).split()[0].decode()


def test_the_same_files_elsewhere_have_the_same_fingerprint(folder, tmp_path):
    first = file_fingerprints.FileFingerprints(folder).of(["parts/*"])
    moved = folder.rename(tmp_path / "c")
    assert file_fingerprints.FileFingerprints(moved).of(["parts/*"]) == first
    (moved / "parts" / "a").rename(moved / "parts" / "c")
    assert file_fingerprints.FileFingerprints(moved).of(["parts/*"]) != first


def test_only_a_changed_file_is_read_again(folder):
    fingerprints = file_fingerprints.FileFingerprints(folder)
    first = fingerprints.of(["z.csv"])
    status = (folder / "z.csv").stat()
    (folder / "z.csv").write_text("T" * status.st_size)
    os.utime(folder / "z.csv", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert fingerprints.of(["z.csv"]) == first
    os.utime(folder / "z.csv", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert fingerprints.of(["z.csv"]) != first


def test_a_missing_or_unreadable_file_is_one_line(folder, monkeypatch):
    fingerprints = file_fingerprints.FileFingerprints(folder)
    with pytest.raises(errors.UserError, match=r"^corpus=.*none\.csv: no such file"):
        fingerprints.of(["none.csv"])

    def refuse(path, mode):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pathlib.Path, "open", refuse)
    with pytest.raises(errors.UserError, match=r"^corpus=.*z\.csv: cannot be read \(Permission"):
        fingerprints.of(["z.csv"])
