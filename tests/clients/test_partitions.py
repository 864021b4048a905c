import csv
import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tff_nlp.clients import author_partitions, partitions
from tff_nlp.clients.partition import Partition, pack_names, unpack_names
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.errors import UserError

SYNTHETIC = ("iid", "dirichlet", "shards", "quantity", "grouped")


def tiny(examples, num_labels, seed):
    rng = np.random.default_rng(seed)
    return Corpus(
        name="tiny",
        texts=tuple(f"t{row}" for row in range(examples)),
        labels=rng.integers(0, num_labels, examples).astype(np.int32),
        label_names=tuple(str(label) for label in range(num_labels)),
        authors=tuple(f"author{row}" for row in range(examples)),
    )


@given(
    kind=st.sampled_from(SYNTHETIC),
    num_clients=st.integers(1, 25),
    spare=st.integers(0, 100),
    min_examples=st.integers(1, 5),
    alpha=st.floats(1e-9, 1e9),
    num_labels=st.integers(1, 5),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=150)
def test_every_row_once_and_minimum_reached(
    kind, num_clients, spare, min_examples, alpha, num_labels, seed
):
    corpus = tiny(num_clients * min_examples + spare, num_labels, seed)
    partition = partitions.build(
        corpus,
        kind,
        seed,
        num_clients=num_clients,
        alpha=alpha,
        shards_per_client=1,
        min_examples=min_examples,
    )
    assert sorted(partition.rows.tolist()) == list(range(len(corpus)))
    assert partition.num_clients == num_clients
    assert partition.sizes.min() >= min_examples
    assert partition.left_out_examples == 0
    for client in range(num_clients):
        assert np.all(np.diff(partition.client_rows(client)) > 0)


@pytest.mark.parametrize("kind", SYNTHETIC)
def test_same_seed_same_partition(kind, make_corpus):
    corpus = make_corpus(300, authors=[f"a{row // 2}" for row in range(300)])
    arguments = {"num_clients": 10, "alpha": 0.5, "shards_per_client": 2}
    one = partitions.build(corpus, kind, 1, **arguments)
    same = partitions.build(corpus, kind, 1, **arguments)
    other = partitions.build(corpus, kind, 2, **arguments)
    assert one.checksum == same.checksum
    assert one.checksum != other.checksum
    assert not np.array_equal(one.rows, other.rows)


def test_iid_sizes_and_mix_are_even(make_corpus):
    corpus = make_corpus(60_000, num_labels=2)
    partition = partitions.iid(corpus, 70, seed=0)
    assert partition.sizes.max() - partition.sizes.min() <= 1
    counts = partition.label_counts(corpus.labels, 2)
    # Pearson's statistic of a 70 x 2 table has mean 69 and standard deviation 11.7.
    expected = counts.sum(1, keepdims=True) * counts.sum(0) / counts.sum()
    assert 34 < ((counts - expected) ** 2 / expected).sum() < 104


@pytest.mark.parametrize("alpha", [0.1, 0.5, 2.0, 50.0])
def test_dirichlet_shares_have_the_closed_form_moments(alpha):
    """Var = (1/n)(1 - 1/n) / (n alpha + 1); over 400 draws of 20 shares."""
    clients, per_label = 20, 2000
    labels = np.repeat(np.arange(2), per_label).astype(np.int32)
    corpus = Corpus("two", tuple(map(str, range(2 * per_label))), labels, ("a", "b"))
    shares = np.concatenate(
        [
            partitions.dirichlet(corpus, clients, alpha, seed).label_counts(labels, 2) / per_label
            for seed in range(200)
        ],
        axis=1,
    )
    variance = (1 / clients) * (1 - 1 / clients) / (clients * alpha + 1)
    assert shares.mean() == pytest.approx(1 / clients, abs=1e-12)
    # Six standard errors of the variance of 8,000 shares, 2.3 % at most.
    assert shares.var() == pytest.approx(variance, rel=0.15)


def test_dirichlet_agrees_with_numpy_in_distribution():
    """The fourth moment and the share of near-empty clients, against NumPy's own sampler."""
    from tff_nlp.clients.dealing import dirichlet_shares

    rng = np.random.default_rng(3)
    # The bounds are five standard errors of the moments' ratio and seven of the share.
    ours = np.array([dirichlet_shares(rng, 8, 0.3) for _ in range(20_000)])
    numpys = np.random.default_rng(4).dirichlet(np.full(8, 0.3), 20_000)
    assert (ours**4).mean() == pytest.approx((numpys**4).mean(), rel=0.05)
    assert (ours < 0.01).mean() == pytest.approx((numpys < 0.01).mean(), abs=0.01)


def test_dirichlet_skew_falls_with_alpha(make_corpus):
    corpus = make_corpus(20_000, num_labels=4)

    def main_label_share(alpha):
        counts = partitions.dirichlet(corpus, 50, alpha, 1).label_counts(corpus.labels, 4)
        return (counts.max(1) / counts.sum(1)).mean()

    assert main_label_share(0.01) > 0.95
    assert main_label_share(0.01) > main_label_share(0.5) > main_label_share(10)
    assert main_label_share(1e6) < 0.3


@pytest.mark.parametrize("alpha", [5e-324, 1e-300, 1e-8, 1.7e308])
def test_dirichlet_survives_extreme_alpha(alpha, make_corpus):
    corpus = make_corpus(1000, num_labels=2)
    partition = partitions.dirichlet(corpus, 20, alpha, 0, min_examples=3)
    assert partition.sizes.min() >= 3
    assert partition.num_examples == 1000


def test_shards_limit_the_labels_of_a_client(make_corpus):
    corpus = make_corpus(10_000, num_labels=10)
    partition = partitions.shards(corpus, 100, 2, seed=5)
    counts = partition.label_counts(corpus.labels, 10)
    # A shard has at most two labels, and only 9 of the 200 shards have two.
    assert (counts > 0).sum(1).max() <= 4
    assert ((counts > 0).sum(1) <= 2).mean() > 0.85
    assert partition.sizes.max() - partition.sizes.min() <= 2


def test_quantity_skews_sizes_only(make_corpus):
    corpus = make_corpus(50_000, num_labels=2)
    partition = partitions.quantity(corpus, 20, 0.5, seed=0)
    assert partition.sizes.max() > 4 * partition.sizes.min()
    large = partition.sizes > 500
    shares = partition.label_counts(corpus.labels, 2)[large, 0] / partition.sizes[large]
    assert np.abs(shares - 0.5).max() < 0.1


def test_top_up_takes_from_the_largest(make_corpus):
    corpus = make_corpus(1000, num_labels=1)
    before = partitions.quantity(corpus, 30, 0.2, 1, min_examples=1)
    after = partitions.quantity(corpus, 30, 0.2, 1, min_examples=10)
    assert after.moved_examples > 0
    assert after.sizes.max() <= before.sizes.max()
    middle = (before.sizes >= 10) & (before.sizes < 50)
    assert np.array_equal(before.sizes[middle], after.sizes[middle])


def test_natural_keeps_authors_and_counts_what_it_leaves_out(make_corpus):
    corpus = make_corpus(8, authors=["b", "a", "b", "", "b", "c", "a", " "])
    partition = partitions.natural(corpus, min_examples=2)
    assert partition.client_ids == ("a", "b")
    assert partition.client_rows(0).tolist() == [1, 6]
    assert partition.client_rows(1).tolist() == [0, 2, 4]
    assert partition.left_out_clients == 1
    assert partition.unattributed_examples == 2
    assert partition.left_out_examples == 3
    assert "1 smaller clients left out" in partition.summary()


def test_domains_leaves_no_row_out(make_corpus):
    corpus = make_corpus(6, authors=["dvd", "books", "dvd", "dvd", "books", "books"])
    partition = partitions.domains(corpus, min_examples=3)
    assert partition.client_ids == ("books", "dvd")
    assert partition.num_examples == 6
    with pytest.raises(UserError, match="min_examples_per_client=4: domain 'books'"):
        partitions.domains(corpus, min_examples=4)
    with pytest.raises(UserError, match="1 examples .* empty client_column.* example 2"):
        partitions.domains(make_corpus(3, authors=["x", "", "y"]))


@given(
    sizes=st.lists(st.integers(7, 40), min_size=1, max_size=6),
    clients_per_domain=st.integers(1, 7),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=60)
def test_domains_are_shared_by_clients_of_their_own(sizes, clients_per_domain, seed):
    authors = [f"domain {name}" for name, size in enumerate(sizes) for _ in range(size)]
    authors = np.random.default_rng(seed).permutation(authors).tolist()
    corpus = dataclasses.replace(tiny(len(authors), 2, seed), authors=tuple(authors))
    partition = partitions.build(corpus, "domains", seed, clients_per_domain=clients_per_domain)
    assert sorted(partition.rows.tolist()) == list(range(len(corpus)))
    assert partition.num_clients == len(sizes) * clients_per_domain
    sizes_of = {}
    for client, client_id in enumerate(partition.client_ids):
        [domain] = {authors[row] for row in partition.client_rows(client)}
        assert client_id.startswith(domain)
        sizes_of.setdefault(domain, []).append(partition.sizes[client])
    for domain, shares in sizes_of.items():
        assert len(shares) == clients_per_domain
        assert max(shares) - min(shares) <= 1
        found = author_partitions.clients_of_domain(partition, corpus, domain)
        assert {partition.client_ids[client] for client in found} == {
            name for name in partition.client_ids if name.startswith(domain)
        }


def test_seeds_divide_domains_differently(make_corpus):
    corpus = make_corpus(200, authors=["dvd", "books"] * 100)
    one, same, other = (partitions.domains(corpus, 5, seed) for seed in (1, 1, 2))
    assert one.checksum == same.checksum != other.checksum
    assert not np.array_equal(one.rows, other.rows)
    assert one.parameters == {"clients_per_domain": 5, "min_examples": 1}
    # A further domain does not change the clients of the other domains.
    books = corpus.take(range(1, 200, 2))
    assert [books.texts[row] for row in partitions.domains(books, 5, 1).client_rows(2)] == [
        corpus.texts[row] for row in one.client_rows(2)
    ]


def test_too_many_clients_for_a_domain(make_corpus):
    corpus = make_corpus(5, authors=["dvd", "books", "dvd", "dvd", "books"])
    with pytest.raises(UserError, match="domain 'books' of tiny holds 2 for 3 clients"):
        partitions.domains(corpus, 3)
    with pytest.raises(UserError, match="clients_per_domain=0: must be 1 or more"):
        partitions.domains(corpus, 0)


def test_grouped_never_splits_an_author(make_corpus):
    authors = [f"u{row % 150}" for row in range(400)]
    partition = partitions.grouped(make_corpus(400, authors=authors), 12, seed=1, min_examples=30)
    owners = {}
    for client in range(12):
        for row in partition.client_rows(client):
            assert owners.setdefault(authors[row], client) == client
    assert partition.sizes.max() - partition.sizes.min() <= 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "nature"}, "partition=nature: must be one of natural"),
        ({"kind": "natural"}, "partition=natural: tiny has no authors.*client_column"),
        ({"kind": "iid"}, "partition=iid needs num_clients"),
        ({"kind": "iid", "num_clients": 0}, "num_clients=0: must be 1 or more"),
        ({"kind": "iid", "num_clients": 51}, "num_clients=51: there are only 50 examples"),
        (
            {"kind": "iid", "num_clients": 20, "min_examples": 3},
            "min_examples_per_client=3: 20 clients would need 60 examples, tiny has 50",
        ),
        ({"kind": "iid", "num_clients": 5, "min_examples": 0}, "min_examples_per_client=0"),
        ({"kind": "dirichlet", "num_clients": 5}, "partition=dirichlet needs dirichlet_alpha"),
        ({"kind": "dirichlet", "num_clients": 5, "alpha": 0.0}, "dirichlet_alpha=0.0: must be"),
        ({"kind": "dirichlet", "num_clients": 5, "alpha": -1.0}, "dirichlet_alpha=-1.0"),
        ({"kind": "quantity", "num_clients": 5, "alpha": float("nan")}, "dirichlet_alpha=nan"),
        ({"kind": "dirichlet", "num_clients": 5, "alpha": float("inf")}, "dirichlet_alpha=inf"),
        ({"kind": "shards", "num_clients": 5}, "partition=shards needs shards_per_client"),
        (
            {"kind": "shards", "num_clients": 5, "shards_per_client": 0},
            "shards_per_client=0: must be 1 or more",
        ),
        (
            {"kind": "shards", "num_clients": 20, "shards_per_client": 3},
            "shards_per_client=3: 20 clients need 60 shards, tiny has only 50 examples",
        ),
    ],
)
def test_mistakes_are_reported_in_one_line(arguments, message, make_corpus):
    kind = arguments.pop("kind")
    with pytest.raises(UserError, match=message) as caught:
        partitions.build(make_corpus(50), kind, 0, **arguments)
    assert "\n" not in str(caught.value)


def test_no_author_large_enough(make_corpus):
    corpus = make_corpus(4, authors=["a", "b", "b", "c"])
    with pytest.raises(UserError, match=r"min_examples_per_client=3.*largest of 3 holds 2"):
        partitions.natural(corpus, min_examples=3)
    with pytest.raises(UserError, match="client_column: every author of tiny is empty"):
        partitions.natural(make_corpus(2, authors=["", " "]))
    with pytest.raises(UserError, match="num_clients=4: there are only 3 authors"):
        partitions.grouped(corpus, 4, 0)


def test_partition_refuses_broken_contents():
    arguments = {"kind": "k", "parameters": {}, "seed": 0, "corpus_fingerprint": "f"}
    for ids, offsets, rows, fault in (
        (("a", "b"), [0, 1, 2], [3, 3], "two clients"),
        (("a", "a"), [0, 1, 2], [1, 2], "share a name"),
        (("a", "b"), [0, 0, 2], [1, 2], "holds no row"),
        (("a", "b"), [0, 1, 2], [1, 9], "outside the corpus"),
        (("a",), [0, 1, 2], [1, 2], "1 clients but 3 offsets"),
        (("a", "b"), [0, 1, 3], [1, 2], "do not span"),
    ):
        with pytest.raises(ValueError, match=fault):
            Partition(ids, offsets, rows, corpus_examples=5, **arguments)


def test_partition_cannot_be_changed(make_corpus):
    partition = partitions.iid(make_corpus(10), 2, 0)
    with pytest.raises(ValueError, match="read-only"):
        partition.rows[0] = 5


@given(st.lists(st.text(st.characters(exclude_categories=[]), max_size=8), max_size=8))
def test_names_survive_packing(names):
    assert unpack_names(*pack_names(names)) == tuple(names)


@pytest.mark.corpora
def test_natural_counts_agree_with_provenance(shared_corpora):
    """6 airlines; 7,701 authors, 474 of them with five tweets or more."""
    path = shared_corpora / "airline_tweets" / "Tweets.csv"
    with path.open(encoding="utf-8", errors="replace", newline="") as stream:
        rows = list(csv.DictReader(stream))

    def corpus(column):
        return Corpus(
            "airline",
            tuple(row["text"] for row in rows),
            np.zeros(len(rows), np.int32),
            ("any",),
            tuple(row[column] for row in rows),
        )

    airlines = partitions.domains(corpus("airline"))
    assert (airlines.num_clients, airlines.sizes.min(), airlines.sizes.max()) == (6, 504, 3822)
    assert partitions.natural(corpus("name")).num_clients == 7701
    users = partitions.natural(corpus("name"), min_examples=5)
    assert (users.num_clients, users.sizes.max(), users.left_out_clients) == (474, 63, 7701 - 474)
