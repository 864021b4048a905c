"""privacy.jsonl records the privacy cost of each round while the run goes on."""

import collections
import dataclasses
import hashlib
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tff_nlp import durable_files, errors
from tff_nlp.privacy import statement
from tff_nlp.privacy.example_level import ExampleGuarantee
from tff_nlp.privacy.guarantee import Guarantee

_COLUMNS = ("clipped_share", "clipping_norm")
_MEASURED = (*_COLUMNS, "noise_multiplier", "noise_norm", "signal_norm")
_SIGNAL_TO_NOISE = "signal_to_noise"


def columns(guarantee: Guarantee | ExampleGuarantee) -> tuple[str, ...]:
    """Returns the privacy columns of metrics.csv. The column of epsilon names the accountant."""
    return (f"epsilon_{guarantee.accountant}", *_COLUMNS, _SIGNAL_TO_NOISE)


def shown(row: Mapping[str, float]) -> dict[str, float]:
    """Returns the privacy values of a progress line, by their names in that line."""
    names = {n: f"epsilon ({n.partition('_')[2]})" for n in row if n.startswith("epsilon_")}
    names |= {_SIGNAL_TO_NOISE: "signal/noise", "clipped_share": "clipped"}
    return {name: row[column] for column, name in names.items() if column in row}


class PrivacyLog:
    """A file with one line of JSON per round.

    A line has the round number, the clients, the `DpEvent`s and a digest of the release.
    """

    def __init__(self, path: pathlib.Path, guarantee: Guarantee | ExampleGuarantee) -> None:
        """Opens the log.

        Args:
          path: The file. It is made with the first round.
          guarantee: The privacy guarantee of the run.
        """
        self._path = path
        self._guarantee = guarantee
        self._records: list[dict[str, Any]] = []

    def rewind(self, rounds: int) -> None:
        """Reads the log of a resumed run and keeps every recorded round.

        Rounds after the last checkpoint are computed again, although others may have seen their
        first release. They draw the same noise, so the second release is equal and counts once. If
        it is not equal, `record` adds a second line for the round.

        Args:
          rounds: Number of completed rounds.

        Raises:
          UserError: If completed rounds are missing. Their privacy cost would be unknown.
          WriteError: If the file cannot be written.
        """
        try:
            records = [json.loads(line) for line in durable_files.whole_lines(self._path)]
            numbers = {record["round"] for record in records if record["release"]}
        except (ValueError, KeyError, TypeError):
            records, numbers = [], None
        if numbers is None or not numbers >= set(range(1, rounds + 1)):
            raise errors.UserError(
                f"`output_dir`: {errors.verbatim(self._path)} should have a line for each of the "
                f"{rounds} rounds of the last checkpoint, or no epsilon can be stated; use another "
                "folder"
            )
        self._records = records

    def record(
        self,
        number: int,
        cohort: Sequence[int],
        measured: Mapping[str, float],
        released: Sequence[np.ndarray],
    ) -> dict[str, float]:
        """Records a round and waits until it is on disk.

        Args:
          number: The round, from 1.
          cohort: Positions of the clients that took part.
          measured: The aggregator's measurements, see `measurements`.
          released: The weights after the round.

        Returns:
          Values for `columns`, without those that were not measured.

        Raises:
          RunError: If the noise multiplier of the aggregator differs from the one in the guarantee.
          WriteError: If the file cannot be written.
        """
        self._check(number, measured.get("noise_multiplier"))
        release = _digest(released)
        if release not in self._releases_of(number):
            self._append({"round": number, **self._guarantee.record(cohort), "release": release})
        return self._columns(number, measured)

    def statement(self) -> statement.PrivacyStatement:
        """Returns the privacy statement of the recorded rounds."""
        stated = self._guarantee.statement_of(self._records)
        return dataclasses.replace(stated, violations=self._violations())

    def _append(self, record: dict[str, Any]) -> None:
        durable_files.append_text(self._path, f"{json.dumps(record)}\n")
        self._records.append(record)

    def _releases_of(self, number: int) -> list[str]:
        return [r["release"] for r in self._records if r["round"] == number]

    def _violations(self) -> tuple[str, ...]:
        """Returns the reasons why nothing can be claimed, for example rounds with two results."""
        counts = collections.Counter(record["round"] for record in self._records)
        twice = tuple(
            f"round {number} was computed {count} times with the same noise and different results; "
            "their difference reveals what the noise should hide"
            for number, count in counts.items()
            if count > 1
        )
        return (*self._guarantee.violations, *twice)

    def _check(self, number: int, done: float | None) -> None:
        stated = self._guarantee.noise_multiplier
        # The aggregator measures its noise multiplier in single precision.
        if done is not None and not math.isclose(done, stated, rel_tol=1e-5):
            raise errors.RunError(
                f"round {number}: the aggregator's noise multiplier is {done:g}, but epsilon is "
                f"computed for {stated:g}; no epsilon holds"
            )

    def _columns(self, number: int, measured: Mapping[str, float]) -> dict[str, float]:
        row: dict[str, float] = {}
        if not self._violations():
            so_far = [record for record in self._records if record["round"] <= number]
            row[columns(self._guarantee)[0]] = self._guarantee.epsilon_of(so_far)
        row |= {name: measured[name] for name in _COLUMNS if name in measured}
        if measured.get("noise_norm"):
            row[_SIGNAL_TO_NOISE] = measured["signal_norm"] / measured["noise_norm"]
        return row


def _digest(released: Sequence[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for array in released:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def measurements(aggregator: Any) -> dict[str, float]:
    """Returns the measurements of a differentially private aggregator in a round, by name.

    Args:
      aggregator: The aggregator's measurements, as the process returns them.
    """
    if not isinstance(aggregator, Mapping):
        return {}
    return {n: float(np.asarray(aggregator[n])) for n in _MEASURED if n in aggregator}
