"""A partition: which client holds which rows of a corpus."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence

import numpy as np

from tff_nlp.corpora.corpus import Corpus


@dataclasses.dataclass(frozen=True, eq=False)
class Partition:
    """The rows of each client: client `c` holds `rows[offsets[c]:offsets[c + 1]]` of the corpus.

    A row belongs to at most one client, and each client holds at least one row. The rows of a
    client ascend. The order of training is chosen later, in each round.

    Attributes:
      client_ids: Distinct names of the clients.
      offsets: Begin and end of each client's rows in `rows`, int64[clients + 1].
      rows: Row numbers in the corpus, int64[held rows].
      kind: Kind of the partition: "natural", "iid", "dirichlet", ...
      parameters: Parameters of the kind, for example {"num_clients": 100, "alpha": 0.5}.
      seed: Seed of the random choices. 0 if nothing is random.
      corpus_fingerprint: Fingerprint of the corpus.
      corpus_examples: Number of rows of the corpus.
      left_out_clients: Number of clients that were left out because they have too few rows.
      unattributed_examples: Number of rows that were left out because their author is empty.
      moved_examples: Number of rows that were moved so that each client reaches the minimum.
    """

    client_ids: tuple[str, ...]
    offsets: np.ndarray
    rows: np.ndarray
    kind: str
    parameters: Mapping[str, int | float | str]
    seed: int
    corpus_fingerprint: str
    corpus_examples: int
    left_out_clients: int = 0
    unattributed_examples: int = 0
    moved_examples: int = 0

    def __post_init__(self) -> None:
        for name in ("offsets", "rows"):
            array = np.array(getattr(self, name), dtype=np.int64)
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        # JSON manifests cannot hold NumPy's numbers.
        plain = {
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in dict(self.parameters).items()
        }
        object.__setattr__(self, "parameters", plain)
        object.__setattr__(self, "seed", int(self.seed))
        fault = self._fault()
        if fault:
            raise ValueError(f"{self.kind} partition: {fault}")

    def _fault(self) -> str | None:
        """Returns what breaks the invariants of a partition, or None."""
        if self.offsets.shape != (len(self.client_ids) + 1,):
            return f"{len(self.client_ids)} clients but {len(self.offsets)} offsets"
        if len(set(self.client_ids)) != len(self.client_ids):
            return "two clients share a name"
        if self.offsets[0] != 0 or self.offsets[-1] != len(self.rows):
            return "the offsets do not span the rows"
        if np.any(np.diff(self.offsets) < 1):
            return "a client holds no row"
        if len(self.rows) and (self.rows.min() < 0 or self.rows.max() >= self.corpus_examples):
            return "a row lies outside the corpus"
        held = np.zeros(self.corpus_examples, dtype=bool)
        held[self.rows] = True
        if np.count_nonzero(held) != len(self.rows):
            return "a row belongs to two clients"
        return None

    @property
    def num_clients(self) -> int:
        """The number of clients."""
        return len(self.client_ids)

    @property
    def num_examples(self) -> int:
        """The number of rows that clients hold."""
        return len(self.rows)

    @property
    def left_out_examples(self) -> int:
        """The number of rows of the corpus that no client holds."""
        return self.corpus_examples - len(self.rows)

    @functools.cached_property
    def sizes(self) -> np.ndarray:
        """The number of rows of each client, int64[clients]."""
        return np.diff(self.offsets)

    @functools.cached_property
    def index(self) -> Mapping[str, int]:
        """The position of each client id."""
        return {client_id: position for position, client_id in enumerate(self.client_ids)}

    def client_rows(self, client: int) -> np.ndarray:
        """Returns the rows of a client, int64[rows of the client].

        Args:
          client: Position of the client.

        Raises:
          IndexError: If there is no such client.
        """
        if not 0 <= client < self.num_clients:
            raise IndexError(f"client {client} of {self.num_clients}")
        return self.rows[self.offsets[client] : self.offsets[client + 1]]

    def row_clients(self) -> np.ndarray:
        """Returns the position of the client of each of `rows`, int64[held rows]."""
        return np.repeat(np.arange(self.num_clients), self.sizes)

    def label_counts(self, labels: np.ndarray, num_labels: int) -> np.ndarray:
        """Returns the number of examples by client and label, int64[clients, num_labels].

        Args:
          labels: The labels of the corpus, int32[examples].
          num_labels: Number of labels.
        """
        cells = self.row_clients() * num_labels + labels[self.rows]
        counts = np.bincount(cells, minlength=self.num_clients * num_labels)
        return counts.reshape(self.num_clients, num_labels)

    def keep(self, mask: np.ndarray, **parameters: int | float | str) -> "Partition":
        """Returns a partition with only some of the rows. Clients without a row are removed.

        Args:
          mask: Which of `rows` stay, bool[held rows].
          **parameters: Additional parameters, which describe the choice of the rows.
        """
        sizes = np.bincount(self.row_clients()[mask], minlength=self.num_clients)
        kept = np.flatnonzero(sizes)
        return dataclasses.replace(
            self,
            client_ids=tuple(self.client_ids[client] for client in kept),
            offsets=np.concatenate([[0], np.cumsum(sizes[kept])]),
            rows=self.rows[mask],
            parameters={**self.parameters, **parameters},
        )

    @functools.cached_property
    def checksum(self) -> str:
        """The SHA-256 of all contents of the partition."""
        digest = hashlib.sha256()
        facts = [
            self.kind,
            dict(self.parameters),
            self.seed,
            self.corpus_fingerprint,
            self.corpus_examples,
            self.left_out_clients,
            self.unattributed_examples,
            self.moved_examples,
        ]
        digest.update(json.dumps(facts, sort_keys=True).encode())
        names, name_offsets = pack_names(self.client_ids)
        for array in (names, name_offsets, self.offsets, self.rows):
            digest.update(b"%d;" % len(array))
            digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
        return digest.hexdigest()

    def summary(self) -> str:
        """Returns a readable line with the clients, their sizes and what was left out."""
        if not self.num_clients:
            return f"{self.kind}: no clients"
        sizes = self.sizes
        smallest, median, largest = sizes.min(), np.median(sizes), sizes.max()
        line = (
            f"{self.kind}: {self.num_clients:,} clients, {self.num_examples:,} examples, "
            f"{smallest:,} / {median:,.0f} / {largest:,} per client (min / median / max)"
        )
        if self.moved_examples:
            line += f"; {self.moved_examples:,} examples moved to reach the minimum"
        if self.left_out_clients:
            line += f"; {self.left_out_clients:,} smaller clients left out"
        if self.unattributed_examples:
            line += f"; {self.unattributed_examples:,} examples without an author left out"
        if self.left_out_examples:
            line += f"; {self.left_out_examples:,} of {self.corpus_examples:,} examples unused"
        return line


def pack_names(names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Returns names as UTF-8, uint8[bytes], and their character offsets, int64[names + 1]."""
    lengths = np.fromiter(map(len, names), dtype=np.int64, count=len(names))
    data = "".join(names).encode("utf-8", "surrogatepass")
    return np.frombuffer(data, dtype=np.uint8), np.concatenate([[0], np.cumsum(lengths)])


def unpack_names(data: np.ndarray, offsets: np.ndarray) -> tuple[str, ...]:
    """Reverses `pack_names`."""
    text = data.tobytes().decode("utf-8", "surrogatepass")
    bounds = offsets.tolist()
    return tuple(text[start:end] for start, end in zip(bounds[:-1], bounds[1:], strict=True))


def of_holders(
    corpus: Corpus,
    client: np.ndarray,
    client_ids: tuple[str, ...],
    *,
    kind: str,
    parameters: Mapping[str, int | float | str],
    seed: int = 0,
    left_out_clients: int = 0,
    unattributed_examples: int = 0,
    moved_examples: int = 0,
) -> Partition:
    """Returns the partition in which client `client[row]` holds each row of the corpus.

    Args:
      corpus: The corpus.
      client: Position of each row's client, int64[examples]. -1 leaves the row out.
      client_ids: Distinct names of the clients.
      kind: Kind of the partition.
      parameters: Parameters of the kind.
      seed: Seed of the random choices. 0 if nothing is random.
      left_out_clients: As in `Partition`.
      unattributed_examples: As in `Partition`.
      moved_examples: As in `Partition`.
    """
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


def client_names(num_clients: int) -> tuple[str, ...]:
    """Returns distinct names for a number of clients."""
    return tuple(f"client_{number}" for number in numbers(num_clients))


def numbers(count: int) -> list[str]:
    """Returns the numbers below `count` as text, with leading zeros to the same width."""
    width = len(str(count - 1))
    return [f"{number:0{width}d}" for number in range(count)]
