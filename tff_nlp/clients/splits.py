"""Training, validation and test rows within clients, and clients held out altogether."""

import dataclasses
import math

import numpy as np

from tff_nlp import seeds
from tff_nlp.clients.partition import Partition
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class ClientSplits:
    """One population, split.

    A client without validation (or test) rows is absent from that partition.

    Attributes:
      train: What clients train on: every client that is not held out, with one row at least.
      validation: Rows of the same clients, for choosing hyperparameters.
      test: Rows of the same clients, for the figure that is reported.
      held_out: All rows of the clients that never train.
      duplicates_left_out: Rows of held-out clients that were dropped because a training client
        holds the same text.
    """

    train: Partition
    validation: Partition
    test: Partition
    held_out: Partition
    duplicates_left_out: int

    def summary(self) -> str:
        """Returns one line for people."""
        parts = (
            f"{name} {part.num_examples:,} examples of {part.num_clients:,} clients"
            for name, part in (
                ("train", self.train),
                ("validation", self.validation),
                ("test", self.test),
                ("held out", self.held_out),
            )
            if part.num_examples
        )
        line = "; ".join(parts)
        if self.duplicates_left_out:
            line += f"; {self.duplicates_left_out:,} held-out duplicates of other clients dropped"
        return line


def split_clients(
    partition: Partition,
    corpus: Corpus,
    seed: int,
    *,
    validation_fraction: float = 0.0,
    test_fraction: float = 0.0,
    held_out_fraction: float = 0.0,
) -> ClientSplits:
    """Splits a population.

    A client of n rows gives n times the fraction to validation and to test; a broken number is
    rounded up with the probability of its broken part, so that the fractions hold over many
    small clients, too. One row always stays for training.

    No text (exact equality) stands on two sides, within a client or between clients: a text that
    occurs more than once among the training clients stays in training with all its rows, and
    rows of held-out clients whose text a training client also holds are dropped and counted. So
    validation and test contain unrepeated texts only, and fall short of their fractions in
    clients that mostly repeat themselves or others.

    Args:
      partition: The population.
      corpus: The corpus that the partition was made for.
      seed: The seed of the run.
      validation_fraction: Share of a client's rows for validation.
      test_fraction: Share of a client's rows for test.
      held_out_fraction: Share of the clients that never train; one client at least if above 0.

    Raises:
      UserError: If a fraction is out of range, or no client or row is left for training.
      ValueError: If the partition belongs to another corpus.
    """
    _check_fractions(validation_fraction, test_fraction, held_out_fraction)
    if partition.corpus_fingerprint != corpus.fingerprint:
        raise ValueError(f"the partition was not made for {corpus.name}")
    client = partition.row_clients()
    held = _held_out(partition, held_out_fraction, seed)[client]
    text = _text_ids(corpus)[partition.rows]
    in_training = np.bincount(text[~held], minlength=len(corpus))
    leaks = held & (in_training[text] > 0)
    movable = ~held & (in_training[text] == 1)
    quotas = _quotas(partition.sizes, validation_fraction, test_fraction, seed)
    side = _sides(client, movable, quotas, seed)
    side[held] = 3
    side[leaks] = -1
    fractions = {
        "validation_fraction": validation_fraction,
        "test_fraction": test_fraction,
        "held_out_fraction": held_out_fraction,
        "split_seed": seed,
    }
    train, validation, test, held_out = (
        partition.keep(side == number, split=name, **fractions)
        for number, name in enumerate(("train", "validation", "test", "held_out"))
    )
    return ClientSplits(train, validation, test, held_out, int(np.count_nonzero(leaks)))


def _check_fractions(validation: float, test: float, held_out: float) -> None:
    for flag, value in (
        ("--validation_fraction", validation),
        ("--test_fraction", test),
        ("--held_out_fraction", held_out),
    ):
        if not (math.isfinite(value) and 0 <= value < 1):
            raise UserError(f"{flag}={value}: must be at least 0 and below 1")
    if validation + test >= 1:
        raise UserError(
            f"--validation_fraction={validation} and --test_fraction={test} leave nothing for "
            "training"
        )


def _held_out(partition: Partition, fraction: float, seed: int) -> np.ndarray:
    """Returns bool[clients]: which clients never train."""
    held = np.zeros(partition.num_clients, dtype=bool)
    if fraction == 0:
        return held
    count = max(1, round(fraction * partition.num_clients))
    if count >= partition.num_clients:
        raise UserError(
            f"--held_out_fraction={fraction}: of {partition.num_clients} clients none would be "
            "left for training"
        )
    rng = seeds.generator(seed, "held_out")
    held[rng.choice(partition.num_clients, count, replace=False)] = True
    return held


def _text_ids(corpus: Corpus) -> np.ndarray:
    """Returns int64[examples]: equal numbers for equal texts, below the number of examples."""
    known: dict[str, int] = {}
    numbers = (known.setdefault(text, len(known)) for text in corpus.texts)
    return np.fromiter(numbers, dtype=np.int64, count=len(corpus))


def _quotas(sizes: np.ndarray, validation: float, test: float, seed: int) -> np.ndarray:
    """Returns int64[clients, 2]: how many rows go to validation and to test at most."""
    rng = seeds.generator(seed, "split_sizes")
    quotas = np.empty((len(sizes), 2), dtype=np.int64)
    for column, fraction in enumerate((validation, test)):
        exact = sizes * fraction
        # The draws happen whatever the fraction is: changing one leaves the other split alone.
        up = rng.random(len(sizes)) < exact - np.floor(exact)
        quotas[:, column] = np.floor(exact).astype(np.int64) + up
    # Rounding up twice can claim the whole client: validation yields first.
    quotas[:, 1] = np.minimum(quotas[:, 1], sizes - 1)
    quotas[:, 0] = np.minimum(quotas[:, 0], sizes - 1 - quotas[:, 1])
    return quotas


def _sides(client: np.ndarray, movable: np.ndarray, quotas: np.ndarray, seed: int) -> np.ndarray:
    """Returns int8[held rows]: 0 train, 1 validation, 2 test.

    Args:
      client: int64[held rows], ascending: who holds the row.
      movable: bool[held rows], whether the row may leave training.
      quotas: int64[clients, 2], at most how many rows go to validation and to test.
      seed: The seed of the run.
    """
    order = seeds.generator(seed, "split_rows").permutation(len(client))
    # By client, movable rows first, each in random order.
    order = order[np.lexsort((~movable[order], client[order]))]
    sizes = np.bincount(client, minlength=len(quotas))
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    rank = np.arange(len(client)) - np.repeat(starts, sizes)
    test = np.repeat(quotas[:, 1], sizes)
    validation = np.repeat(quotas[:, 0], sizes)
    ranked = np.where(rank < test, 2, np.where(rank < test + validation, 1, 0))
    side = np.zeros(len(client), dtype=np.int8)
    side[order] = np.where(movable[order], ranked, 0)
    return side
