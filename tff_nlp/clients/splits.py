"""Splits each client's rows into training, validation and test, and holds out whole clients."""

import dataclasses
import math

import numpy as np

from tff_nlp import seeds
from tff_nlp.clients.partition import Partition
from tff_nlp.corpora.corpus import Corpus, Example
from tff_nlp.errors import UserError, setting


@dataclasses.dataclass(frozen=True, eq=False)
class ClientSplits:
    """The splits of a population.

    A client without validation (or test) rows is missing from that partition.

    Attributes:
      train: Training rows. Each client that is not held out has at least one.
      validation: Rows of the same clients, for choosing hyperparameters.
      test: Rows of the same clients, for the reported scores.
      held_out: Rows of the clients that never train.
      duplicates_left_out: Number of rows of held-out clients that were dropped because a training
        client has the same text.
    """

    train: Partition
    validation: Partition
    test: Partition
    held_out: Partition
    duplicates_left_out: int

    def summary(self) -> str:
        """Returns a readable line with the sizes of the splits."""
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

    A client with n rows gives n * fraction rows to validation and to test. A fractional number is
    rounded up with the probability of its fractional part, so the fractions also hold over many
    small clients. At least one row of each client stays in training.

    No text is in two splits, neither within a client nor between clients (texts are compared
    exactly, and pairs as a whole). A text that occurs more than once in the training clients stays
    in training with all its rows. A row of a held-out client is dropped and counted if a training
    client has the same text. So validation and test contain only texts that occur once. They are
    smaller than their fractions if clients mostly repeat texts.

    Args:
      partition: The population.
      corpus: The corpus of the partition.
      seed: Seed of the run.
      validation_fraction: Fraction of a client's rows for validation.
      test_fraction: Fraction of a client's rows for test.
      held_out_fraction: Fraction of the clients that never train. If it is above 0, at least one
        client is held out.

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
        ("client_validation_fraction", validation),
        ("client_test_fraction", test),
        ("held_out_fraction", held_out),
    ):
        if not (math.isfinite(value) and 0 <= value < 1):
            raise UserError(f"{setting(flag, value)}: must be at least 0 and below 1")
    if validation + test >= 1:
        raise UserError(
            f"`client_validation_fraction`={validation} and `client_test_fraction`={test} leave "
            "nothing for training"
        )


def _held_out(partition: Partition, fraction: float, seed: int) -> np.ndarray:
    """Returns which clients never train, bool[clients]."""
    held = np.zeros(partition.num_clients, dtype=bool)
    if fraction == 0:
        return held
    count = max(1, round(fraction * partition.num_clients))
    if count >= partition.num_clients:
        raise UserError(
            f"`held_out_fraction`={fraction}: of {partition.num_clients} clients none would be "
            "left for training"
        )
    rng = seeds.generator(seed, "held_out")
    held[rng.choice(partition.num_clients, count, replace=False)] = True
    return held


def _text_ids(corpus: Corpus) -> np.ndarray:
    """Returns a number per example, int64[examples]. Equal examples have equal numbers.

    The numbers are below the number of examples.
    """
    known: dict[Example, int] = {}
    numbers = (known.setdefault(example, len(known)) for example in corpus.examples)
    return np.fromiter(numbers, dtype=np.int64, count=len(corpus))


def _quotas(sizes: np.ndarray, validation: float, test: float, seed: int) -> np.ndarray:
    """Returns the maximum number of rows for validation and for test, int64[clients, 2]."""
    rng = seeds.generator(seed, "split_sizes")
    quotas = np.empty((len(sizes), 2), dtype=np.int64)
    for column, fraction in enumerate((validation, test)):
        exact = sizes * fraction
        # The draws do not depend on the fraction, so changing one leaves the other split unchanged.
        up = rng.random(len(sizes)) < exact - np.floor(exact)
        quotas[:, column] = np.floor(exact).astype(np.int64) + up
    # If both numbers are rounded up, they can take the whole client. Validation is reduced first.
    quotas[:, 1] = np.minimum(quotas[:, 1], sizes - 1)
    quotas[:, 0] = np.minimum(quotas[:, 0], sizes - 1 - quotas[:, 1])
    return quotas


def _sides(client: np.ndarray, movable: np.ndarray, quotas: np.ndarray, seed: int) -> np.ndarray:
    """Returns the split of each row, int8[held rows]: 0 train, 1 validation, 2 test.

    Args:
      client: Client of each row, int64[held rows], ascending.
      movable: Whether each row may leave training, bool[held rows].
      quotas: Maximum number of rows for validation and for test, int64[clients, 2].
      seed: Seed of the run.
    """
    order = seeds.generator(seed, "split_rows").permutation(len(client))
    # Sorted by client, with movable rows first. Rows of the same kind are in random order.
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
