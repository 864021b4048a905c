"""Compressed files that unpack to far more than their size are refused. Texts are not."""

import gzip
import zipfile

import pytest

from tff_nlp.corpora import files
from tff_nlp.errors import UserError


@pytest.fixture
def small_limits(monkeypatch):
    monkeypatch.setattr(files, "_LARGEST_SUSPECT", 50_000)


def bomb(path):
    """Writes zeros that unpack to a thousand times the size of the file."""
    zeros = bytes(3_000_000)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(zeros))
        return path
    member = "a.csv.gz" if path.name == "nested.zip" else "a.csv"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, gzip.compress(zeros) if member.endswith("gz") else zeros)
    return path


@pytest.mark.parametrize("name", ["a.csv.gz", "a.zip", "nested.zip"])
def test_a_file_that_unpacks_to_too_many_bytes_is_refused(tmp_path, small_limits, name):
    path = bomb(tmp_path / name)
    (file,) = files.find_files("corpus", str(path))
    with pytest.raises(UserError) as caught, file.open() as stream:
        for _ in stream:
            pass
    assert f"corpus={path}" in str(caught.value)
    assert "unpacks to more than 200 times its size" in str(caught.value)


@pytest.mark.parametrize("name", ["a.csv.gz", "a.zip"])
def test_small_files_may_have_any_compression_ratio(tmp_path, name):
    path = bomb(tmp_path / name)
    (file,) = files.find_files("corpus", str(path))
    with file.open() as stream:
        assert stream.read() == bytes(3_000_000)


def test_lines_are_read_unchanged(tmp_path, small_limits):
    lines = [f"line {number}\r\n".encode() for number in range(20_000)]
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"".join(lines)))
    (file,) = files.find_files("corpus", str(path))
    with file.open() as stream:
        assert list(stream) == lines
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match="cannot be read"), file.open() as stream:
        stream.read()
