"""Who held what in a run is saved with it and read back, whatever deals the examples later."""

import numpy as np
import pytest

from tff_nlp.clients import partitions, splits
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.errors import UserError
from tff_nlp.runs import saved_partitions


@pytest.fixture
def corpus():
    texts = tuple(f"text {number % 50}" for number in range(60))
    return Corpus("made up", texts, np.arange(60, dtype=np.int32) % 2, ("a", "b"))


@pytest.fixture
def holders(corpus):
    whole = partitions.build(corpus, "iid", 1, num_clients=6)
    split = splits.split_clients(
        whole, corpus, 1, validation_fraction=0.1, test_fraction=0.1, held_out_fraction=0.4
    )
    assert split.duplicates_left_out
    return saved_partitions.Holders(whole, split)


def test_what_is_saved_is_read_back(tmp_path, corpus, holders):
    assert saved_partitions.read(tmp_path, corpus) is None
    saved_partitions.save(tmp_path, holders)
    found = saved_partitions.read(tmp_path, corpus)
    for name in ("train", "validation", "test", "held_out"):
        one, other = getattr(found.split, name), getattr(holders.split, name)
        assert one.checksum == other.checksum
    assert found.whole.checksum == holders.whole.checksum
    assert found.lines() == holders.lines()
    assert (tmp_path / "private").stat().st_mode & 0o077 == 0


def test_the_first_partition_stays(tmp_path, corpus, holders):
    saved_partitions.save(tmp_path, holders)
    other = partitions.build(corpus, "iid", 2, num_clients=6)
    split = splits.split_clients(other, corpus, 2)
    saved_partitions.save(tmp_path, saved_partitions.Holders(other, split))
    assert saved_partitions.read(tmp_path, corpus).whole.checksum == holders.whole.checksum


def test_a_half_written_partition_is_none(tmp_path, corpus, holders):
    saved_partitions.save(tmp_path, holders)
    (tmp_path / "private" / "partition" / "whole.json").unlink()
    assert saved_partitions.read(tmp_path, corpus) is None
    saved_partitions.save(tmp_path, holders)
    assert saved_partitions.read(tmp_path, corpus) is not None


def test_damage_and_other_texts_are_told_apart(tmp_path, corpus, holders):
    saved_partitions.save(tmp_path, holders)
    assert saved_partitions.read(tmp_path, corpus.take(range(59))) is None
    manifest = tmp_path / "private" / "partition" / "train.json"
    manifest.write_text(manifest.read_text()[:-20])
    with pytest.raises(UserError, match="not a partition manifest"):
        saved_partitions.read(tmp_path, corpus)
