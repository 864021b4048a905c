"""A run's secret stays the same: a lost one is not replaced where a guarantee depends on it."""

import shutil

import pytest

from tff_nlp.errors import UserError
from tff_nlp.program import run_directory, secret_file


def test_a_lost_secret_is_not_replaced_after_a_round(tmp_path):
    with run_directory.RunDirectory(tmp_path / "run", {}) as directory:
        directory.begin()
        first = secret_file.read_or_make(directory)
        secret_file.keep(directory.path, first)
        assert secret_file.read_or_make(directory).value == first.value
        (directory.checkpoints / "round_000001.npz").write_bytes(b"")
        shutil.rmtree(directory.path / "private")
        with pytest.raises(UserError, match="the secret of the noise is missing in private/"):
            secret_file.read_or_make(directory)
        assert secret_file.read_or_make(directory, needed=False).value != first.value
