import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tff_nlp.clients import partitions
from tff_nlp.clients.splits import split_clients
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.errors import UserError


def texts_of(partition, corpus):
    return {corpus.texts[row] for row in partition.rows}


@given(
    clients=st.integers(2, 12),
    texts=st.lists(st.integers(0, 60), min_size=12, max_size=120),
    validation=st.floats(0, 0.45),
    test=st.floats(0, 0.45),
    held_out=st.sampled_from([0.0, 0.1, 0.4]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=150)
def test_splits_are_disjoint_complete_and_share_no_text(
    clients, texts, validation, test, held_out, seed
):
    corpus = Corpus("tiny", tuple(map(str, texts)), np.zeros(len(texts), np.int32), ("a",), None)
    partition = partitions.iid(corpus, clients, seed)
    splits = split_clients(
        partition,
        corpus,
        seed,
        validation_fraction=validation,
        test_fraction=test,
        held_out_fraction=held_out,
    )
    parts = (splits.train, splits.validation, splits.test, splits.held_out)
    rows = np.concatenate([part.rows for part in parts])
    assert len(rows) == len(set(rows.tolist()))
    assert len(rows) + splits.duplicates_left_out == len(corpus)
    sides = [texts_of(part, corpus) for part in parts]
    for one in range(4):
        for other in range(one):
            assert not sides[one] & sides[other]
    # Each training client keeps a row, and held-out clients are in no other split.
    trained = set(splits.train.client_ids)
    held = round(held_out * clients) or (1 if held_out else 0)
    assert len(trained) == clients - held
    assert not trained & set(splits.held_out.client_ids)
    assert set(splits.test.client_ids) | set(splits.validation.client_ids) <= trained
    # Every row stays with its client.
    owner = {
        row: partition.client_ids[client]
        for client in range(clients)
        for row in partition.client_rows(client)
    }
    for part in parts:
        for client, name in enumerate(part.client_ids):
            assert all(owner[row] == name for row in part.client_rows(client))


def test_fractions_hold_over_small_clients(make_corpus):
    corpus = make_corpus(30_000)
    partition = partitions.iid(corpus, 10_000, 0)  # Three rows each.
    splits = split_clients(
        partition, corpus, 0, validation_fraction=0.1, test_fraction=0.2, held_out_fraction=0.1
    )
    trained = splits.train.num_examples + splits.validation.num_examples + splits.test.num_examples
    assert splits.held_out.num_clients == 1000
    # Each client gives a row with a probability of 0.3 or 0.6: five standard errors at least.
    assert splits.validation.num_examples / trained == pytest.approx(0.1, abs=0.01)
    assert splits.test.num_examples / trained == pytest.approx(0.2, abs=0.01)
    assert splits.train.num_clients == 9000


def test_large_clients_give_exactly_their_fraction(make_corpus):
    corpus = make_corpus(1000)
    splits = split_clients(
        partitions.iid(corpus, 10, 0), corpus, 3, validation_fraction=0.1, test_fraction=0.2
    )
    assert set(splits.validation.sizes) == {10}
    assert set(splits.test.sizes) == {20}
    assert splits.held_out.num_clients == 0
    assert "test 200 examples of 10 clients" in splits.summary()


def test_single_rows_train(make_corpus):
    corpus = make_corpus(50)
    splits = split_clients(
        partitions.iid(corpus, 50, 0), corpus, 0, validation_fraction=0.4, test_fraction=0.4
    )
    assert splits.train.num_examples == 50
    assert splits.test.num_clients == 0


def test_deterministic_and_recorded(make_corpus):
    corpus = make_corpus(200)
    partition = partitions.iid(corpus, 10, 0)
    one, same, other = (
        split_clients(partition, corpus, seed, test_fraction=0.3) for seed in (1, 1, 2)
    )
    assert one.test.checksum == same.test.checksum
    assert one.test.checksum != other.test.checksum
    assert one.test.parameters["split"] == "test"
    assert one.test.parameters["test_fraction"] == 0.3


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ({"validation_fraction": -0.1}, "client_validation_fraction=-0.1: must be at least 0"),
        ({"test_fraction": 1.0}, "client_test_fraction=1.0: must be"),
        ({"test_fraction": float("nan")}, "client_test_fraction=nan"),
        ({"validation_fraction": 0.5, "test_fraction": 0.5}, "leave nothing for training"),
        ({"held_out_fraction": 0.99}, "held_out_fraction=0.99: of 4 clients none"),
    ],
)
def test_mistakes(fractions, message, make_corpus):
    corpus = make_corpus(20)
    with pytest.raises(UserError, match=message):
        split_clients(partitions.iid(corpus, 4, 0), corpus, 0, **fractions)


def test_another_corpus_is_refused(make_corpus):
    partition = partitions.iid(make_corpus(20), 4, 0)
    with pytest.raises(ValueError, match="not made for"):
        split_clients(partition, make_corpus(20, seed=9), 0, test_fraction=0.1)
