import json

import numpy as np
import pytest

from tff_nlp.clients import manifest, partitions
from tff_nlp.clients.splits import split_clients
from tff_nlp.errors import UserError


@pytest.fixture(name="corpus")
def corpus_fixture(make_corpus):
    return make_corpus(40, authors=[f"用户 {row % 7}" if row % 9 else "" for row in range(40)])


@pytest.fixture(name="saved")
def saved_fixture(corpus, tmp_path):
    partition = partitions.natural(corpus, min_examples=3)
    path = tmp_path / "run" / "partition.json"
    manifest.save_partition(partition, path)
    return partition, path


def test_round_trip(saved, corpus):
    partition, path = saved
    loaded = manifest.load_partition(path, corpus)
    assert loaded.checksum == partition.checksum
    assert loaded.client_ids == partition.client_ids
    assert np.array_equal(loaded.rows, partition.rows)
    assert loaded.parameters == {"min_examples": 3}
    assert loaded.unattributed_examples == partition.unattributed_examples > 0


def test_empty_and_numpy_valued_partitions(tmp_path, make_corpus):
    corpus = make_corpus(20)
    partition = partitions.dirichlet(corpus, np.int64(4), np.float32(0.5), np.int64(3))
    splits = split_clients(partition, corpus, 0, test_fraction=0.2)
    assert splits.held_out.num_clients == 0
    for part in (splits.held_out, splits.train):
        manifest.save_partition(part, tmp_path / "part.json")
        loaded = manifest.load_partition(tmp_path / "part.json", corpus)
        assert loaded.checksum == part.checksum
        assert loaded.summary() == part.summary()


def test_manifest_is_readable(saved):
    header = json.loads(saved[1].read_text(encoding="utf-8"))
    assert header["kind"] == "natural"
    assert header["clients"] == saved[0].num_clients
    assert header["examples_per_client"]["max"] == saved[0].sizes.max()


def test_saving_again_leaves_two_files(saved, corpus):
    partition, path = saved
    manifest.save_partition(partition, path)
    manifest.save_partition(partitions.natural(corpus, min_examples=1), path)
    assert len(list(path.parent.iterdir())) == 2
    assert manifest.load_partition(path).parameters == {"min_examples": 1}


def test_wrong_corpus(saved, make_corpus):
    with pytest.raises(UserError, match="made for another corpus.* than tiny") as caught:
        manifest.load_partition(saved[1], make_corpus(40))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("position", [0, 30, 200, -40, -1])
def test_a_flipped_byte_in_the_arrays(saved, position):
    (arrays,) = saved[1].parent.glob("*.npz")
    data = bytearray(arrays.read_bytes())
    data[position] ^= 0x10
    arrays.write_bytes(data)
    with pytest.raises(UserError, match=r"array file .*npz is damaged"):
        manifest.load_partition(saved[1])


def test_truncated_or_missing_arrays(saved):
    (arrays,) = saved[1].parent.glob("*.npz")
    arrays.write_bytes(arrays.read_bytes()[:100])
    with pytest.raises(UserError, match="is damaged"):
        manifest.load_partition(saved[1])
    arrays.unlink()
    with pytest.raises(UserError, match="is missing"):
        manifest.load_partition(saved[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 5}, "do not match its checksum"),
        ({"kind": "iid"}, "do not match its checksum"),
        ({"parameters": None}, "damaged partition manifest"),
        ({"corpus": {}}, "lacks 'fingerprint'"),
        ({"corpus": {"fingerprint": "x", "examples": 3}}, "outside the corpus"),
        ({"checksum": None}, "lacks 'checksum'"),
        ({"version": 99}, "version 99, this program reads version 1"),
        ({"format": "other"}, "not a partition manifest"),
    ],
)
def test_a_changed_header(saved, change, message):
    path = saved[1]
    header = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**header, **change}), encoding="utf-8")
    with pytest.raises(UserError, match=message):
        manifest.load_partition(path)


@pytest.mark.parametrize("contents", ["", "[1]", '{"format": "tff_nlp part', "\x00"])
def test_not_a_manifest(tmp_path, contents):
    path = tmp_path / "partition.json"
    path.write_text(contents)
    with pytest.raises(UserError, match="not a partition manifest"):
        manifest.load_partition(path)


def test_missing_and_unwritable(tmp_path, saved):
    with pytest.raises(UserError, match="cannot read the partition: No such file"):
        manifest.load_partition(tmp_path / "nothing.json")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot save the partition"):
        manifest.save_partition(saved[0], tmp_path / "file" / "partition.json")
