"""The value that says which client holds which rows of a corpus."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence

import numpy as np

from tff_nlp.corpora.corpus import Corpus


@dataclasses.dataclass(frozen=True, eq=False)
class Partition:
    """Who holds what: client `c` holds `rows[offsets[c]:offsets[c + 1]]` of the corpus.

    A row belongs to one client at most, and every client holds at least one row. Within a client
    the rows ascend; the order of training is chosen later, anew in every round.

    Attributes:
      client_ids: A distinct name per client.
      offsets: int64[clients + 1], where each client's rows begin and end.
      rows: int64[held rows], indices into the corpus.
      kind: How the rows were dealt out: "natural", "iid", "dirichlet", ...
      parameters: What the kind was given, for example {"num_clients": 100, "alpha": 0.5}.
      seed: The seed of the random choices; 0 where nothing is random.
      corpus_fingerprint: The fingerprint of the corpus that the rows point into.
      corpus_examples: The number of rows of that corpus.
      left_out_clients: Clients dropped for holding fewer rows than the minimum.
      unattributed_examples: Rows left out because their author is empty.
      moved_examples: Rows that changed hands so that each client reaches the minimum.
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
        # NumPy's numbers would not go into a manifest.
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
        """The size of the population."""
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
        """int64[clients]: how many rows each client holds."""
        return np.diff(self.offsets)

    @functools.cached_property
    def index(self) -> Mapping[str, int]:
        """The position of each client id."""
        return {client_id: position for position, client_id in enumerate(self.client_ids)}

    def client_rows(self, client: int) -> np.ndarray:
        """Returns int64[rows of the client], by the client's position."""
        if not 0 <= client < self.num_clients:
            raise IndexError(f"client {client} of {self.num_clients}")
        return self.rows[self.offsets[client] : self.offsets[client + 1]]

    def row_clients(self) -> np.ndarray:
        """Returns int64[held rows]: the position of the client that holds each of `rows`."""
        return np.repeat(np.arange(self.num_clients), self.sizes)

    def label_counts(self, labels: np.ndarray, num_labels: int) -> np.ndarray:
        """Returns int64[clients, num_labels]: each client's label mix.

        Args:
          labels: int32[examples], the labels of the corpus.
          num_labels: How many labels there are.
        """
        cells = self.row_clients() * num_labels + labels[self.rows]
        counts = np.bincount(cells, minlength=self.num_clients * num_labels)
        return counts.reshape(self.num_clients, num_labels)

    def keep(self, mask: np.ndarray, **parameters: int | float | str) -> "Partition":
        """Returns the partition of some of the rows; clients without a row vanish.

        Args:
          mask: bool[held rows], which of `rows` stay.
          **parameters: Added to the parameters, to say how the rows were chosen.
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
        """A SHA-256 over everything that the partition says."""
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
        """Returns one line for people: clients, sizes and what was left out."""
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
    """Returns the names as UTF-8 uint8[bytes] and int64[names + 1] character offsets."""
    lengths = np.fromiter(map(len, names), dtype=np.int64, count=len(names))
    data = "".join(names).encode("utf-8", "surrogatepass")
    return np.frombuffer(data, dtype=np.uint8), np.concatenate([[0], np.cumsum(lengths)])


def unpack_names(data: np.ndarray, offsets: np.ndarray) -> tuple[str, ...]:
    """Returns the names that `pack_names` packed."""
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
    """Returns the partition in which client `client[row]` holds a row of the corpus.

    Args:
      corpus: The corpus.
      client: int64[examples], the position of the client that holds each row, -1 for rows left out.
      client_ids: A distinct name per client.
      kind: How the rows were dealt out.
      parameters: What the kind was given.
      seed: Seed of the random choices; 0 where nothing is random.
      left_out_clients: Clients dropped for holding fewer rows than the minimum.
      unattributed_examples: Rows left out because their author is empty.
      moved_examples: Rows that changed hands so that each client reaches the minimum.
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
    """Returns a name for each of so many clients."""
    return tuple(f"client_{number}" for number in numbers(num_clients))


def numbers(count: int) -> list[str]:
    """Returns the numbers below `count`, all of one width."""
    width = len(str(count - 1))
    return [f"{number:0{width}d}" for number in range(count)]
