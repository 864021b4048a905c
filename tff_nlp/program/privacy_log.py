"""privacy.jsonl: what each round did to privacy, recorded as it happened."""

import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import dp_accounting as dpa
import numpy as np

from tff_nlp import durable_files, errors
from tff_nlp.privacy import events, statement
from tff_nlp.privacy.example_level import ExampleGuarantee
from tff_nlp.privacy.guarantee import Guarantee

_MEASURED = ("clipped_share", "clipping_norm")
_SIGNAL_TO_NOISE = "signal_to_noise"


def columns(guarantee: Guarantee | ExampleGuarantee) -> tuple[str, ...]:
    """Returns the columns of metrics.csv about privacy; epsilon's names its accountant."""
    return (f"epsilon_{guarantee.accountant}", *_MEASURED, _SIGNAL_TO_NOISE)


def shown(row: Mapping[str, float]) -> dict[str, float]:
    """Returns what a progress line shows of these columns, by the name there."""
    names = {n: f"epsilon ({n.partition('_')[2]})" for n in row if n.startswith("epsilon_")}
    names |= {_SIGNAL_TO_NOISE: "signal/noise", "clipped_share": "clipped"}
    return {name: row[column] for column, name in names.items() if column in row}


class PrivacyLog:
    """One line of JSON per round: its number, how many clients came, and its `DpEvent`s."""

    def __init__(self, path: pathlib.Path, guarantee: Guarantee | ExampleGuarantee) -> None:
        """Opens the log.

        Args:
          path: The file; made with the first round.
          guarantee: What the run promises.
        """
        self._path = path
        self._guarantee = guarantee
        self._records: list[dict[str, Any]] = []

    def rewind(self, rounds: int) -> None:
        """Drops the rounds that are about to be computed again.

        Args:
          rounds: Rounds completed.

        Raises:
          UserError: If completed rounds are not there: their privacy would be unknown.
          WriteError: If the file cannot be written.
        """
        lines = self._path.read_text("utf-8").splitlines() if self._path.exists() else []
        try:
            self._records = [json.loads(line) for line in lines[:rounds]]
            numbers = [record["round"] for record in self._records]
        except (ValueError, KeyError, TypeError):
            numbers = []
        if numbers != list(range(1, rounds + 1)):
            raise errors.UserError(
                f"--output_dir: {self._path} should have a line for each of the {rounds} rounds of "
                "the last checkpoint, without which no epsilon holds; use another folder"
            )
        durable_files.replace_text(self._path, "".join(f"{line}\n" for line in lines[:rounds]))

    def record(
        self,
        number: int,
        cohort: Sequence[int],
        spent: dpa.DpEvent | None,
        measured: Mapping[str, float],
    ) -> dict[str, float]:
        """Records a round and waits until it is on disk.

        Args:
          number: The round, from 1.
          cohort: Positions of the clients that came.
          spent: What the aggregator says that it did to those who came; None if it does not say.
          measured: The aggregator's measurements, see `measurements`.

        Returns:
          Values for `columns`; those that were not measured are left out.

        Raises:
          RunError: If the aggregator's noise is not the one that is accounted for.
        """
        self._check(number, spent)
        record = {"round": number, **self._guarantee.record(cohort)}
        durable_files.append_text(self._path, f"{json.dumps(record)}\n")
        self._records.append(record)
        return self._columns(measured)

    def statement(self) -> statement.PrivacyStatement:
        """Returns what the recorded rounds may claim."""
        return self._guarantee.statement_of(self._records)

    def _check(self, number: int, spent: dpa.DpEvent | None) -> None:
        told = self._guarantee.noise_multiplier
        done = None if spent is None else events.noise_multiplier_of(spent)
        # The aggregator keeps its noise multiplier in single precision.
        if done is not None and not math.isclose(done, told, rel_tol=1e-5):
            raise errors.RunError(
                f"round {number}: the aggregator's noise multiplier is {done:g}, {told:g} is "
                "accounted for; no epsilon holds"
            )

    def _columns(self, measured: Mapping[str, float]) -> dict[str, float]:
        row: dict[str, float] = {}
        if not self._guarantee.violations:
            row[columns(self._guarantee)[0]] = self._guarantee.epsilon_of(self._records)
        row |= {name: measured[name] for name in _MEASURED if name in measured}
        if measured.get("noise_norm"):
            row[_SIGNAL_TO_NOISE] = measured["signal_norm"] / measured["noise_norm"]
        return row


def measurements(aggregator: Any) -> dict[str, float]:
    """Returns what a differentially private aggregator measures in a round, by our names.

    Args:
      aggregator: Its measurements, as the process returns them.
    """
    query = aggregator.get("dp_query_metrics") if isinstance(aggregator, Mapping) else None
    if not isinstance(query, Mapping):
        return {}
    return {name: float(np.asarray(value)) for name, value in query.items()}


def spent_by(state: Any) -> dpa.DpEvent | None:
    """Returns what an aggregator's state says about its last round, None if it says nothing."""
    event = getattr(state, "dp_event", None)
    noise = getattr(event, "noise_multiplier", None)
    return None if noise is None else dpa.GaussianDpEvent(float(np.asarray(noise)))
