"""Ways to divide a corpus among clients.

Each builder is a pure function of the corpus, its parameters and a seed.
"""

import math

import numpy as np

from tff_nlp import seeds
from tff_nlp.clients.author_partitions import domains, grouped, natural
from tff_nlp.clients.dealing import (
    check_clients,
    check_minimum,
    deal,
    dirichlet_shares,
    top_up,
)
from tff_nlp.clients.partition import Partition, client_names, of_holders
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.errors import UserError, setting

KINDS = ("natural", "grouped", "domains", "iid", "dirichlet", "shards", "quantity")


def iid(corpus: Corpus, num_clients: int, seed: int, *, min_examples: int = 1) -> Partition:
    """Divides the rows among clients at random. The sizes of two clients differ by at most one.

    Args:
      corpus: The corpus.
      num_clients: Number of clients.
      seed: Seed of the partition.
      min_examples: Minimum number of rows per client.

    Raises:
      UserError: If there are too few rows for this number of clients.
    """
    _check_fill(corpus, num_clients, min_examples)
    order = seeds.generator(seed, "partition", "iid").permutation(len(corpus))
    client = np.empty(len(corpus), dtype=np.int64)
    client[order] = np.arange(len(corpus)) % num_clients
    return of_holders(
        corpus,
        client,
        client_names(num_clients),
        kind="iid",
        parameters={"num_clients": num_clients, "min_examples": min_examples},
        seed=seed,
    )


def dirichlet(
    corpus: Corpus, num_clients: int, alpha: float, seed: int, *, min_examples: int = 1
) -> Partition:
    """Makes clients with different label mixes and sizes, by a Dirichlet distribution.

    For each label, the shares of the clients are drawn from a symmetric Dirichlet distribution over
    the clients with concentration `alpha`. The rows of the label are divided by these shares
    (Yurochkin et al. 2019, "Bayesian Nonparametric Federated Learning of Neural Networks", section
    4; Li et al. 2022, "Federated Learning on Non-IID Data Silos", section IV-A). With n clients, a
    share has mean 1/n and variance (1/n)(1 - 1/n) / (n alpha + 1). With a small alpha, most clients
    have one label, and some have very few rows.

    Clients below the minimum then get random rows, one at a time, from the client that is largest
    at that moment. Another common method repeats the draw until all clients are large enough. But
    with many clients and a small alpha it never ends, and it favours even draws.

    Args:
      corpus: The corpus, with labels.
      num_clients: Number of clients.
      alpha: Concentration, finite and above 0. For equal shares use `iid`.
      seed: Seed of the partition.
      min_examples: Minimum number of rows per client.

    Raises:
      UserError: If the corpus has no labels, alpha is not a finite positive number, or there are
        too few rows for the clients.
    """
    _check_labelled(corpus, "dirichlet")
    _check_alpha(alpha)
    _check_fill(corpus, num_clients, min_examples)
    rng = seeds.generator(seed, "partition", "dirichlet")
    client = np.empty(len(corpus), dtype=np.int64)
    for label in range(len(corpus.label_names)):
        rows = rng.permutation(np.flatnonzero(corpus.labels == label))
        client[rows] = deal(dirichlet_shares(rng, num_clients, alpha), len(rows), rng)
    return _filled(
        corpus,
        client,
        rng,
        kind="dirichlet",
        seed=seed,
        num_clients=num_clients,
        min_examples=min_examples,
        alpha=float(alpha),
    )


def shards(
    corpus: Corpus,
    num_clients: int,
    shards_per_client: int,
    seed: int,
    *,
    min_examples: int = 1,
) -> Partition:
    """Sorts the rows by label, divides them into equal shards and gives each client some shards.

    With 2 shards per client, most clients have at most two labels (McMahan et al. 2017,
    "Communication-Efficient Learning of Deep Networks from Decentralized Data", section 3). Rows of
    one label are in random order. The sizes of two shards differ by at most one. Clients below the
    minimum get rows from the largest clients.

    Args:
      corpus: The corpus, with labels.
      num_clients: Number of clients.
      shards_per_client: Number of shards per client.
      seed: Seed of the partition.
      min_examples: Minimum number of rows per client.

    Raises:
      UserError: If the corpus has no labels, or there are too few rows for the shards or for the
        minimum.
    """
    if shards_per_client < 1:
        raise UserError(f"`shards_per_client`={shards_per_client}: must be 1 or more")
    _check_labelled(corpus, "shards")
    _check_fill(corpus, num_clients, min_examples)
    num_shards = num_clients * shards_per_client
    if num_shards > len(corpus):
        raise UserError(
            f"`shards_per_client`={shards_per_client}: {num_clients} clients need {num_shards} "
            f"shards, {corpus.name} has only {len(corpus)} examples"
        )
    rng = seeds.generator(seed, "partition", "shards")
    order = rng.permutation(len(corpus))
    order = order[np.argsort(corpus.labels[order], kind="stable")]
    holder = rng.permutation(num_shards) // shards_per_client
    client = np.empty(len(corpus), dtype=np.int64)
    client[order] = holder[np.arange(len(corpus)) * num_shards // len(corpus)]
    return _filled(
        corpus,
        client,
        rng,
        kind="shards",
        seed=seed,
        num_clients=num_clients,
        min_examples=min_examples,
        shards_per_client=shards_per_client,
    )


def quantity(
    corpus: Corpus, num_clients: int, alpha: float, seed: int, *, min_examples: int = 1
) -> Partition:
    """Makes clients with different sizes and the same expected label mix.

    The clients' shares of the corpus are drawn from a symmetric Dirichlet distribution with
    concentration `alpha` (Li et al. 2022, "Federated Learning on Non-IID Data Silos", section
    IV-C). Random rows are divided by these shares. Clients below the minimum get rows from the
    largest clients.

    Args:
      corpus: The corpus.
      num_clients: Number of clients.
      alpha: Concentration, finite and above 0.
      seed: Seed of the partition.
      min_examples: Minimum number of rows per client.

    Raises:
      UserError: If alpha is not a finite positive number, or there are too few rows for the
        clients.
    """
    _check_alpha(alpha)
    _check_fill(corpus, num_clients, min_examples)
    rng = seeds.generator(seed, "partition", "quantity")
    client = np.empty(len(corpus), dtype=np.int64)
    client[rng.permutation(len(corpus))] = deal(
        dirichlet_shares(rng, num_clients, alpha), len(corpus), rng
    )
    return _filled(
        corpus,
        client,
        rng,
        kind="quantity",
        seed=seed,
        num_clients=num_clients,
        min_examples=min_examples,
        alpha=float(alpha),
    )


def build(
    corpus: Corpus,
    kind: str,
    seed: int,
    *,
    num_clients: int | None = None,
    alpha: float | None = None,
    shards_per_client: int | None = None,
    clients_per_domain: int = 1,
    min_examples: int = 1,
) -> Partition:
    """Returns the partition of a kind.

    Args:
      corpus: The corpus.
      kind: How examples are assigned to clients, one of `KINDS`.
      seed: Seed of the run.
      num_clients: Number of clients. All kinds except natural and domains need it.
      alpha: Concentration of the Dirichlet distribution. dirichlet and quantity need it.
      shards_per_client: Number of shards of a client. shards needs it.
      clients_per_domain: Number of clients of a domain. Only domains uses it.
      min_examples: Minimum number of examples of a client.

    Raises:
      UserError: If a flag is missing, out of range, or does not fit the corpus.
    """
    if kind not in KINDS:
        raise UserError(f"{setting('partition', kind)}: must be one of {', '.join(KINDS)}")
    if kind == "natural":
        return natural(corpus, min_examples=min_examples)
    if kind == "domains":
        return domains(corpus, clients_per_domain, seed, min_examples=min_examples)
    clients = int(_needed("num_clients", num_clients, kind))
    if kind == "grouped":
        return grouped(corpus, clients, seed, min_examples=min_examples)
    if kind == "iid":
        return iid(corpus, clients, seed, min_examples=min_examples)
    if kind == "shards":
        each = int(_needed("shards_per_client", shards_per_client, kind))
        return shards(corpus, clients, each, seed, min_examples=min_examples)
    concentration = _needed("dirichlet_alpha", alpha, kind)
    builder = dirichlet if kind == "dirichlet" else quantity
    return builder(corpus, clients, concentration, seed, min_examples=min_examples)


def _needed(flag: str, value: float | None, kind: str) -> float:
    if value is None:
        raise UserError(f"{setting('partition', kind)} needs `{flag}`")
    return value


def _check_labelled(corpus: Corpus, kind: str) -> None:
    if not corpus.is_labelled:
        raise UserError(
            f"{setting('partition', kind)}: deals rows by their labels; {corpus.name} has none"
        )


def _check_alpha(alpha: float) -> None:
    if not (math.isfinite(alpha) and alpha > 0):
        raise UserError(f"`dirichlet_alpha`={alpha}: must be a finite number above 0")


def _check_fill(corpus: Corpus, num_clients: int, min_examples: int) -> None:
    check_minimum(min_examples)
    check_clients(num_clients, len(corpus), f"examples in {corpus.name}")
    if num_clients * min_examples > len(corpus):
        raise UserError(
            f"`min_examples_per_client`={min_examples}: {num_clients} clients would need "
            f"{num_clients * min_examples} examples, {corpus.name} has {len(corpus)}"
        )


def _filled(
    corpus: Corpus,
    client: np.ndarray,
    rng: np.random.Generator,
    *,
    kind: str,
    seed: int,
    num_clients: int,
    min_examples: int,
    **own: float,
) -> Partition:
    """Moves rows until every client reaches the minimum, and returns the partition.

    Args:
      corpus: The corpus.
      client: Client of each row, int64[rows]. It is changed in place.
      rng: Generator that chooses the rows to move.
      kind: Kind of the partition.
      seed: Seed of the partition.
      num_clients: Number of clients.
      min_examples: Minimum number of rows per client.
      **own: Further parameters of the kind.
    """
    moved = top_up(client, num_clients, min_examples, rng)
    return of_holders(
        corpus,
        client,
        client_names(num_clients),
        kind=kind,
        parameters={"num_clients": num_clients, **own, "min_examples": min_examples},
        seed=seed,
        moved_examples=moved,
    )
