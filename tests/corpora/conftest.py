"""Writes files for the tests of the corpora room."""

import pytest


@pytest.fixture
def write(tmp_path):
    """Writes bytes, or text as UTF-8, and returns the path."""

    def write(content, name="reviews.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return str(path)

    return write
