"""Partitions by the authors of rows: one client per author, grouped authors, or domains.

Each builder is a pure function of the corpus, its parameters and a seed.
"""

import heapq

import numpy as np

from tff_nlp import seeds
from tff_nlp.clients.dealing import check_clients, check_minimum
from tff_nlp.clients.partition import Partition, client_names, numbers, of_holders
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.errors import UserError, setting


def natural(corpus: Corpus, *, min_examples: int = 1) -> Partition:
    """Makes one client per author. Authors with fewer rows than the minimum are left out.

    Rows with an empty author are left out, too. The partition counts both.

    Args:
      corpus: The corpus, with authors.
      min_examples: Minimum number of rows per client.

    Raises:
      UserError: If the corpus has no authors, or no author has enough rows.
    """
    check_minimum(min_examples)
    names, owner = _authors(corpus, "natural")
    sizes = np.bincount(owner[owner >= 0], minlength=len(names))
    kept = sizes >= min_examples
    if not np.any(kept):
        raise UserError(
            f"`min_examples_per_client`={min_examples}: no client of {corpus.name} holds that "
            f"many examples (the largest of {len(names)} holds {sizes.max(initial=0)})"
        )
    position = np.where(kept, np.cumsum(kept) - 1, -1)
    return of_holders(
        corpus,
        np.where(owner >= 0, position[owner], -1),
        tuple(name for name, keep in zip(names, kept, strict=True) if keep),
        kind="natural",
        parameters={"min_examples": min_examples},
        left_out_clients=int(np.count_nonzero(~kept)),
        unattributed_examples=int(np.count_nonzero(owner < 0)),
    )


def domains(
    corpus: Corpus, clients_per_domain: int = 1, seed: int = 0, *, min_examples: int = 1
) -> Partition:
    """Divides the rows of each domain among clients of this domain. No row is left out.

    A domain is a value of the author column: a silo, a source, a language. Its rows are divided at
    random, and the sizes of two of its clients differ by at most one.

    Args:
      corpus: The corpus, with authors.
      clients_per_domain: Number of clients per domain.
      seed: Seed of the run. It has no effect with one client per domain.
      min_examples: Minimum number of rows per client.

    Raises:
      UserError: If the corpus has no author column, a row has an empty author, or a domain has too
        few rows for its clients.
    """
    check_minimum(min_examples)
    if clients_per_domain < 1:
        raise UserError(f"`clients_per_domain`={clients_per_domain}: must be 1 or more")
    names, owner = _authors(corpus, "domains")
    missing = np.flatnonzero(owner < 0)
    if len(missing):
        raise UserError(
            f"`partition`=domains: {len(missing)} examples of {corpus.name} have an empty "
            f"`client_column`, the first is example {missing[0] + 1}"
        )
    sizes = np.bincount(owner, minlength=len(names))
    smallest = int(np.argmin(sizes))
    if sizes[smallest] < min_examples * clients_per_domain:
        clients = f" for {clients_per_domain} clients" if clients_per_domain > 1 else ""
        raise UserError(
            f"`min_examples_per_client`={min_examples}: domain {names[smallest]!r} of "
            f"{corpus.name} holds {sizes[smallest]}{clients} (`partition`=natural leaves out small "
            "domains)"
        )
    parameters = {"clients_per_domain": clients_per_domain, "min_examples": min_examples}
    if clients_per_domain == 1:
        return of_holders(corpus, owner, names, kind="domains", parameters=parameters)
    client = owner * clients_per_domain
    for domain, name in enumerate(names):
        rows = np.flatnonzero(owner == domain)
        order = seeds.generator(seed, "partition", "domains", name).permutation(rows)
        client[order] += np.arange(len(rows)) % clients_per_domain
    return of_holders(
        corpus,
        client,
        tuple(f"{name} {number}" for name in names for number in numbers(clients_per_domain)),
        kind="domains",
        parameters=parameters,
        seed=seed,
    )


def grouped(corpus: Corpus, num_clients: int, seed: int, *, min_examples: int = 1) -> Partition:
    """Gives each client several whole authors, for corpora with only a few rows per author.

    Authors are assigned from the largest to the smallest (ties in random order), each to the client
    with the fewest rows so far. So clients are nearly equal in size, and no author is split. Rows
    with an empty author are left out and counted.

    Args:
      corpus: The corpus, with authors.
      num_clients: Number of clients.
      seed: Seed of the run.
      min_examples: Minimum number of rows per client.

    Raises:
      UserError: If the corpus has no authors, or they have too few rows for the clients.
    """
    check_minimum(min_examples)
    names, owner = _authors(corpus, "grouped")
    check_clients(num_clients, len(names), f"authors of {corpus.name}")
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
            f"`min_examples_per_client`={min_examples}: the authors of {corpus.name} have too few "
            f"examples for {num_clients} clients; one client would have only {fewest}"
        )
    return of_holders(
        corpus,
        np.where(owner >= 0, client[owner], -1),
        client_names(num_clients),
        kind="grouped",
        parameters={"num_clients": num_clients, "min_examples": min_examples},
        seed=seed,
        unattributed_examples=int(np.count_nonzero(owner < 0)),
    )


def _authors(corpus: Corpus, kind: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Returns the sorted author names, and each row's position in them, int64[examples].

    The position is -1 for an empty author.
    """
    if corpus.authors is None:
        raise UserError(
            f"{setting('partition', kind)}: {corpus.name} has no authors; name a column with "
            "`client_column` or choose another partition, such as iid"
        )
    names = tuple(sorted({author for author in corpus.authors if author.strip()}))
    if not names:
        raise UserError(f"`client_column`: every author of {corpus.name} is empty")
    position = {name: index for index, name in enumerate(names)}
    owner = (position.get(author, -1) for author in corpus.authors)
    return names, np.fromiter(owner, dtype=np.int64, count=len(corpus))


def clients_of_domain(partition: Partition, corpus: Corpus, domain: str) -> np.ndarray:
    """Returns the positions of the clients that hold only rows of a domain, int64[clients].

    Args:
      partition: A partition by domains.
      corpus: The corpus of the partition, with authors.
      domain: Name of the domain.
    """
    authors = corpus.authors or ()
    return np.array(
        [
            client
            for client in range(partition.num_clients)
            if all(authors[row] == domain for row in partition.client_rows(client))
        ],
        dtype=np.int64,
    )
