"""Ways to deal a corpus out to clients.

Each builder is a pure function of the corpus, its parameters and a seed.
"""

import heapq
import math

import numpy as np

from tff_nlp import seeds
from tff_nlp.clients.dealing import deal, dirichlet_shares, top_up
from tff_nlp.clients.partition import Partition
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.errors import UserError

KINDS = ("natural", "grouped", "domains", "iid", "dirichlet", "shards", "quantity")


def natural(corpus: Corpus, *, min_examples: int = 1) -> Partition:
    """Gives every author a client; authors with fewer rows than the minimum are left out.

    Rows whose author is empty belong to nobody in particular and are left out, too. The
    partition counts both.

    Raises:
      UserError: If the corpus has no authors or none holds enough rows.
    """
    _check_minimum(min_examples)
    names, owner = _authors(corpus, "natural")
    sizes = np.bincount(owner[owner >= 0], minlength=len(names))
    kept = sizes >= min_examples
    if not np.any(kept):
        raise UserError(
            f"--min_examples_per_client={min_examples}: no client of {corpus.name} holds that "
            f"many examples (the largest of {len(names)} holds {sizes.max(initial=0)})"
        )
    position = np.where(kept, np.cumsum(kept) - 1, -1)
    return _partition(
        corpus,
        np.where(owner >= 0, position[owner], -1),
        tuple(name for name, keep in zip(names, kept, strict=True) if keep),
        kind="natural",
        parameters={"min_examples": min_examples},
        left_out_clients=int(np.count_nonzero(~kept)),
        unattributed_examples=int(np.count_nonzero(owner < 0)),
    )


def domains(corpus: Corpus, *, min_examples: int = 1) -> Partition:
    """Gives every domain (or other silo) of the author column a client, and leaves no row out.

    Raises:
      UserError: If the corpus has no author column, a row has an empty one, or a domain holds
        fewer rows than the minimum.
    """
    _check_minimum(min_examples)
    names, owner = _authors(corpus, "domains")
    missing = np.flatnonzero(owner < 0)
    if len(missing):
        raise UserError(
            f"--partition=domains: {len(missing)} examples of {corpus.name} have an empty "
            f"--client_column, the first is example {missing[0] + 1}"
        )
    sizes = np.bincount(owner, minlength=len(names))
    smallest = int(np.argmin(sizes))
    if sizes[smallest] < min_examples:
        raise UserError(
            f"--min_examples_per_client={min_examples}: domain {names[smallest]!r} of "
            f"{corpus.name} holds {sizes[smallest]} (--partition=natural leaves such out)"
        )
    return _partition(
        corpus, owner, names, kind="domains", parameters={"min_examples": min_examples}
    )


def grouped(corpus: Corpus, num_clients: int, seed: int, *, min_examples: int = 1) -> Partition:
    """Gives every client several whole authors, for corpora whose authors hold a row or two.

    Authors are dealt from the largest to the smallest (ties in random order), each to the client
    that holds the fewest rows so far, so that clients end up nearly equal in size and no author
    is split. Rows whose author is empty are left out and counted.

    Raises:
      UserError: If the corpus has no authors or they cannot fill the clients.
    """
    _check_minimum(min_examples)
    names, owner = _authors(corpus, "grouped")
    _check_clients(num_clients, len(names), f"authors of {corpus.name}")
    sizes = np.bincount(owner[owner >= 0], minlength=len(names))
    shuffled = seeds.generator(seed, "partition", "grouped").permutation(len(names))
    order = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    client = np.empty(len(names), dtype=np.int64)
    heap = [(0, position) for position in range(num_clients)]
    for author in order.tolist():
        held, position = heap[0]
        client[author] = position
        heapq.heapreplace(heap, (held + int(sizes[author]), position))
    fewest = min(heap)[0]
    if fewest < min_examples:
        raise UserError(
            f"--min_examples_per_client={min_examples}: whole authors of {corpus.name} do not "
            f"fill {num_clients} clients, one would hold {fewest}"
        )
    return _partition(
        corpus,
        np.where(owner >= 0, client[owner], -1),
        _names(num_clients),
        kind="grouped",
        parameters={"num_clients": num_clients, "min_examples": min_examples},
        seed=seed,
        unattributed_examples=int(np.count_nonzero(owner < 0)),
    )


def iid(corpus: Corpus, num_clients: int, seed: int, *, min_examples: int = 1) -> Partition:
    """Deals the rows out at random; the sizes of two clients differ by one at most.

    Raises:
      UserError: If there are too few rows for so many clients.
    """
    _check_fill(corpus, num_clients, min_examples)
    order = seeds.generator(seed, "partition", "iid").permutation(len(corpus))
    client = np.empty(len(corpus), dtype=np.int64)
    client[order] = np.arange(len(corpus)) % num_clients
    return _partition(
        corpus,
        client,
        _names(num_clients),
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
      min_examples: The value of --min_examples_per_client.

    Raises:
      UserError: If a flag is missing, out of range, or does not fit the corpus.
    """
    if kind not in KINDS:
        raise UserError(f"--partition={kind}: must be one of {', '.join(KINDS)}")
    if kind == "natural":
        return natural(corpus, min_examples=min_examples)
    if kind == "domains":
        return domains(corpus, min_examples=min_examples)
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


def _check_minimum(min_examples: int) -> None:
    if min_examples < 1:
        raise UserError(f"--min_examples_per_client={min_examples}: must be 1 or more")


def _check_clients(num_clients: int, available: int, what: str) -> None:
    if num_clients < 1:
        raise UserError(f"--num_clients={num_clients}: must be 1 or more")
    if num_clients > available:
        raise UserError(f"--num_clients={num_clients}: there are only {available} {what}")


def _check_fill(corpus: Corpus, num_clients: int, min_examples: int) -> None:
    _check_minimum(min_examples)
    _check_clients(num_clients, len(corpus), f"examples in {corpus.name}")
    if num_clients * min_examples > len(corpus):
        raise UserError(
            f"--min_examples_per_client={min_examples}: {num_clients} clients would need "
            f"{num_clients * min_examples} examples, {corpus.name} has {len(corpus)}"
        )


def _authors(corpus: Corpus, kind: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Returns the sorted author names and int64[examples] positions in them, -1 if empty."""
    if corpus.authors is None:
        raise UserError(
            f"--partition={kind}: {corpus.name} has no authors; name a column with "
            "--client_column or choose another partition, such as iid"
        )
    names = tuple(sorted({author for author in corpus.authors if author.strip()}))
    if not names:
        raise UserError(f"--client_column: every author of {corpus.name} is empty")
    position = {name: index for index, name in enumerate(names)}
    owner = (position.get(author, -1) for author in corpus.authors)
    return names, np.fromiter(owner, dtype=np.int64, count=len(corpus))


def _names(num_clients: int) -> tuple[str, ...]:
    width = len(str(num_clients - 1))
    return tuple(f"client_{client:0{width}d}" for client in range(num_clients))


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
    return _partition(
        corpus,
        client,
        _names(num_clients),
        kind=kind,
        parameters={"num_clients": num_clients, **own, "min_examples": min_examples},
        seed=seed,
        moved_examples=moved,
    )


def _partition(
    corpus: Corpus,
    client: np.ndarray,
    client_ids: tuple[str, ...],
    *,
    kind: str,
    parameters: dict[str, int | float | str],
    seed: int = 0,
    left_out_clients: int = 0,
    unattributed_examples: int = 0,
    moved_examples: int = 0,
) -> Partition:
    """Returns the partition of int64[examples] client positions, -1 for rows left out."""
    order = np.argsort(client, kind="stable")
    rows = order[np.count_nonzero(client < 0) :]
    sizes = np.bincount(client[client >= 0], minlength=len(client_ids))
    return Partition(
        client_ids=client_ids,
        offsets=np.concatenate([[0], np.cumsum(sizes)]),
        rows=rows,
        kind=kind,
        parameters=parameters,
        seed=seed,
        corpus_fingerprint=corpus.fingerprint,
        corpus_examples=len(corpus),
        left_out_clients=left_out_clients,
        unattributed_examples=unattributed_examples,
        moved_examples=moved_examples,
    )
