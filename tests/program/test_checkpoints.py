"""Checkpoints are complete or missing, two are kept, and another model's are refused."""

import gc
import os
import zipfile

import numpy as np
import pytest

from tff_nlp import errors
from tff_nlp.program import checkpoints


@pytest.fixture
def leaves():
    generator = np.random.default_rng(0)
    return [
        generator.standard_normal((30, 4)).astype(np.float32),
        np.int32(7),
        np.array([], np.float32),
        np.arange(3, dtype=np.int64),
        *(np.float32(n) for n in range(12)),  # More than ten: names must sort.
    ]


def saved(folder, leaves, *rounds):
    for number in rounds:
        checkpoints.save(folder, number, leaves)
    return folder / f"round_{rounds[-1]:06d}.npz"


def test_what_is_saved_is_loaded_bit_for_bit(tmp_path, leaves):
    leaves[0][0, :3] = [np.nan, -0.0, 1e-45]
    saved(tmp_path, leaves, 3)
    loaded = checkpoints.load(tmp_path, 3, leaves)
    assert [(a.tobytes(), a.dtype, a.shape) for a in loaded] == [
        (np.asarray(a).tobytes(), np.asarray(a).dtype, np.asarray(a).shape) for a in leaves
    ]


def test_the_two_newest_stay(tmp_path, leaves):
    assert checkpoints.latest(tmp_path) is None
    saved(tmp_path, leaves, 2, 4, 9, 10, 1_000_000 - 1)
    assert checkpoints.latest(tmp_path) == 999_999
    assert sorted(p.name for p in tmp_path.iterdir()) == ["round_000010.npz", "round_999999.npz"]


def test_a_kill_while_writing_leaves_the_one_before(tmp_path, leaves, monkeypatch):
    saved(tmp_path, leaves, 1)

    def killed(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        saved(tmp_path, leaves, 2)
    monkeypatch.undo()
    assert checkpoints.latest(tmp_path) == 1
    checkpoints.load(tmp_path, 1, leaves)
    saved(tmp_path, leaves, 2)
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".npz", ".npz"]


def test_other_files_are_no_checkpoints_and_stay(tmp_path, leaves):
    for name in ("round_000009.npz.partial", "round_9.npz", "notes.txt", "round_abcdef.npz"):
        (tmp_path / name).write_text("mine")
    saved(tmp_path, leaves, 1, 2, 3)
    assert checkpoints.latest(tmp_path) == 3
    assert (tmp_path / "round_9.npz").read_text() == "mine"


def truncate(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def flip(path):
    data = bytearray(path.read_bytes())
    data[200] ^= 1  # Inside the first array.
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: truncate(path, 0.5),
        lambda path: truncate(path, 0.99),
        lambda path: truncate(path, 0),
        flip,
        lambda path: path.write_text("not a checkpoint at all\n"),
        lambda path: np.save(path.open("wb"), np.zeros(3)),
        lambda path: np.save(path.open("wb"), np.array([{}], object)),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: np.savez(path, leaf_0000=np.zeros(3)),  # No digest.
        lambda path: np.savez_compressed(path, leaf_0000=np.zeros(10**7, np.float32)),
        lambda path: zipped(path, header((1 << 50,))),
        lambda path: zipped(path, header((1 << 70, 1 << 70))),
        lambda path: zipped(path, b"\x93NUMPY\x09\x00"),
    ],
)
def test_a_damaged_checkpoint_is_named_in_one_line(tmp_path, leaves, damage):
    path = saved(tmp_path, leaves, 4, 5)
    damage(path)
    with pytest.raises(errors.UserError) as raised:
        checkpoints.load(tmp_path, 5, leaves)
    message = str(raised.value)
    assert str(path) in message
    assert "damaged" in message
    assert "\n" not in message
    assert len(checkpoints.load(tmp_path, 4, leaves)) == len(leaves)


def header(shape):
    """Returns the header of a NumPy file of this shape, without the numbers."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def zipped(path, member):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("leaf_0000.npy", member)


def test_a_checkpoint_belongs_to_its_run_and_its_round(tmp_path, leaves):
    checkpoints.save(tmp_path, 4, leaves, "this run")
    assert len(checkpoints.load(tmp_path, 4, leaves, "this run")) == len(leaves)
    with pytest.raises(errors.UserError, match="not what this run saved"):
        checkpoints.load(tmp_path, 4, leaves, "another run")
    (tmp_path / "round_000004.npz").rename(tmp_path / "round_000005.npz")
    with pytest.raises(errors.UserError, match="not what this run saved"):
        checkpoints.load(tmp_path, 5, leaves, "this run")


@pytest.mark.parametrize(
    "other",
    [
        lambda leaves: leaves[:-1],
        lambda leaves: [*leaves, np.float32(0)],
        lambda leaves: [leaves[0].T, *leaves[1:]],
        lambda leaves: [leaves[0].astype(np.float64), *leaves[1:]],
    ],
)
def test_another_models_checkpoint_is_refused(tmp_path, leaves, other):
    path = saved(tmp_path, leaves, 5)
    with pytest.raises(errors.UserError, match="belongs to another model") as raised:
        checkpoints.load(tmp_path, 5, other(leaves))
    assert str(path) in str(raised.value)


@pytest.mark.thorough
@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_a_disk_that_fills_in_the_middle_is_one_line(tmp_path, leaves, limited_files):
    """The system refuses the write. NumPy's writer would then print a stack trace."""
    saved(tmp_path, leaves, 1)
    limited_files(700)
    with pytest.raises(errors.WriteError, match=r"round_000002.npz: .*File too large"):
        checkpoints.save(tmp_path, 2, leaves)
    gc.collect()
    limited_files(None)
    assert checkpoints.latest(tmp_path) == 1
    checkpoints.load(tmp_path, 1, leaves)
    saved(tmp_path, leaves, 2)


def test_a_full_disk_is_one_line(tmp_path, leaves, monkeypatch):
    saved(tmp_path, leaves, 1)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(errors.RunError, match=r"round_000002.npz: .*No space left on device"):
        saved(tmp_path, leaves, 2)
    assert checkpoints.latest(tmp_path) == 1
