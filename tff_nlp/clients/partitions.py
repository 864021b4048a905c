"""Ways to deal a corpus out to clients.

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
from tff_nlp.errors import UserError

KINDS = ("natural", "grouped", "domains", "iid", "dirichlet", "shards", "quantity")


def iid(corpus: Corpus, num_clients: int, seed: int, *, min_examples: int = 1) -> Partition:
    """Deals the rows out at random; the sizes of two clients differ by one at most.

    Raises:
      UserError: If there are too few rows for so many clients.
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
    """Skews the label mix, and with it the sizes, by a Dirichlet distribution.

    For every label, the shares of the clients are drawn from a symmetric Dirichlet distribution
    over the clients with concentration `alpha`, and the rows of the label are dealt out in these
    shares (Yurochkin et al. 2019, "Bayesian Nonparametric Federated Learning of Neural
    Networks", section 4; Li et al. 2022, "Federated Learning on Non-IID Data Silos", section
    IV-A). A share has mean 1/n and variance (1/n)(1 - 1/n) / (n alpha + 1) for n clients: a
    small alpha leaves most clients with one label and some with very few rows.

    Clients below the minimum then take random rows, one at a time, from whoever is largest.
    Drawing again until all clients are large enough is common, too, but never ends when clients
    are many and alpha is small, and it favours even draws.

    Args:
      corpus: The corpus.
      num_clients: The size of the population.
      alpha: Concentration, above 0; infinity is not meant (use `iid`).
      seed: The seed of the partition.
      min_examples: The fewest rows that a client may hold.

    Raises:
      UserError: If alpha is not a positive number or the rows cannot fill the clients.
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
    """Sorts the rows by label, cuts them into equal shards and deals these out.

    With 2 shards per client most clients see two labels at most (McMahan et al. 2017,
    "Communication-Efficient Learning of Deep Networks from Decentralized Data", section 3). Rows
    of one label are in random order; the sizes of two shards differ by one at most.

    Raises:
      UserError: If there are fewer rows than shards, or the clients come out below the minimum.
    """
    if shards_per_client < 1:
        raise UserError(f"--shards_per_client={shards_per_client}: must be 1 or more")
    _check_labelled(corpus, "shards")
    _check_fill(corpus, num_clients, min_examples)
    num_shards = num_clients * shards_per_client
    if num_shards > len(corpus):
        raise UserError(
            f"--shards_per_client={shards_per_client}: {num_clients} clients need {num_shards} "
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
    """Skews the sizes and leaves the label mix alone.

    The clients' shares of the corpus are drawn from a symmetric Dirichlet distribution with
    concentration `alpha` (Li et al. 2022, "Federated Learning on Non-IID Data Silos", section
    IV-C), and random rows are dealt out in these shares. Clients below the minimum take rows
    from the largest.

    Raises:
      UserError: If alpha is not a positive number or the rows cannot fill the clients.
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
    """Returns the partition that the flags ask for.

    Args:
      corpus: The corpus.
      kind: The value of --partition, one of `KINDS`.
      seed: The seed of the run.
      num_clients: The value of --num_clients; needed by all kinds but natural and domains.
      alpha: The value of --dirichlet_alpha; needed by dirichlet and quantity.
      shards_per_client: The value of --shards_per_client; needed by shards.
      clients_per_domain: The value of --clients_per_domain; only domains uses it.
      min_examples: The value of --min_examples_per_client.

    Raises:
      UserError: If a flag is missing, out of range, or does not fit the corpus.
    """
    if kind not in KINDS:
        raise UserError(f"--partition={kind}: must be one of {', '.join(KINDS)}")
    if kind == "natural":
        return natural(corpus, min_examples=min_examples)
    if kind == "domains":
        return domains(corpus, clients_per_domain, seed, min_examples=min_examples)
    clients = int(_needed("--num_clients", num_clients, kind))
    if kind == "grouped":
        return grouped(corpus, clients, seed, min_examples=min_examples)
    if kind == "iid":
        return iid(corpus, clients, seed, min_examples=min_examples)
    if kind == "shards":
        each = int(_needed("--shards_per_client", shards_per_client, kind))
        return shards(corpus, clients, each, seed, min_examples=min_examples)
    concentration = _needed("--dirichlet_alpha", alpha, kind)
    builder = dirichlet if kind == "dirichlet" else quantity
    return builder(corpus, clients, concentration, seed, min_examples=min_examples)


def _needed(flag: str, value: float | None, kind: str) -> float:
    if value is None:
        raise UserError(f"--partition={kind} needs {flag}")
    return value


def _check_labelled(corpus: Corpus, kind: str) -> None:
    if not corpus.is_labelled:
        raise UserError(f"--partition={kind}: deals rows by their labels; {corpus.name} has none")


def _check_alpha(alpha: float) -> None:
    if not (math.isfinite(alpha) and alpha > 0):
        raise UserError(f"--dirichlet_alpha={alpha}: must be a finite number above 0")


def _check_fill(corpus: Corpus, num_clients: int, min_examples: int) -> None:
    check_minimum(min_examples)
    check_clients(num_clients, len(corpus), f"examples in {corpus.name}")
    if num_clients * min_examples > len(corpus):
        raise UserError(
            f"--min_examples_per_client={min_examples}: {num_clients} clients would need "
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
    """Returns a partition with every client at its minimum.

    Args:
      corpus: The corpus.
      client: int64[rows], who holds each row; changed in place.
      rng: Draws the rows that move.
      kind: Of the partition.
      seed: Of the partition.
      num_clients: The size of the population.
      min_examples: The fewest rows that a client may hold.
      **own: Parameters of this kind alone.
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
