"""private/traces.jsonl: what each round's release shows of an audit's canaries, as it happened."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from tff_nlp import durable_files, errors
from tff_nlp.privacy import round_traces

NAME = "traces.jsonl"


@dataclasses.dataclass(frozen=True)
class Auditor:
    """What an audit has to know of a run to read its releases.

    Attributes:
      seed: The run's.
      clients: How many real clients there are; canaries are the positions after them.
      denominator: By which the sum over clients is divided.
      clipping_norm: L2 norm to which updates are clipped; None where it is measured, since it
        adapts.
    """

    seed: int
    clients: int
    denominator: float
    clipping_norm: float | None


class TraceLog:
    """One line of JSON per round. They name canaries, and so some of a round's cohort."""

    def __init__(self, path: pathlib.Path, auditor: Auditor) -> None:
        """Opens the log.

        Args:
          path: The file; made with the first round, in a folder that its owner alone reads.
          auditor: How to read a release.
        """
        self._path = path
        self._auditor = auditor
        self._traces: list[round_traces.Trace] = []

    @property
    def traces(self) -> Sequence[round_traces.Trace]:
        """The rounds so far."""
        return tuple(self._traces)

    def rewind(self, rounds: int) -> None:
        """Goes back to the last checkpoint; later rounds are computed again, with the same noise.

        Args:
          rounds: Rounds completed.

        Raises:
          UserError: If completed rounds are not there.
          WriteError: If the file cannot be written.
        """
        text = self._path.read_bytes() if self._path.exists() else b""
        lines = text.splitlines(keepends=True)[:rounds]
        try:
            self._traces = [_from_json(json.loads(line)) for line in lines]
        except (ValueError, KeyError, TypeError):
            self._traces = []
        if [t.round for t in self._traces] != list(range(1, rounds + 1)):
            raise errors.UserError(
                f"--output_dir: {self._path} should have a line for each of the {rounds} rounds of "
                "the last checkpoint, without which there is no audit; use another folder"
            )
        kept = b"".join(lines)
        if kept != text:
            durable_files.replace_text(self._path, kept.decode())

    def record(
        self,
        number: int,
        cohort: Sequence[int],
        released: Sequence[np.ndarray],
        clipping_norm: float | None,
    ) -> None:
        """Records a round and waits until it is on disk.

        Args:
          number: The round, from 1.
          cohort: Positions of the clients that came.
          released: The aggregator's result.
          clipping_norm: As measured; None if it was not.

        Raises:
          WriteError: If the file cannot be written.
        """
        auditor = self._auditor
        norm = auditor.clipping_norm or clipping_norm
        if norm is None:
            raise errors.RunError(f"round {number}: the aggregator measured no clipping norm")
        scale = np.float32(auditor.denominator / norm)
        trace = round_traces.trace(
            number,
            [scale * part for part in released],
            {int(c) - auditor.clients for c in cohort if c >= auditor.clients},
            {index for earlier in self._traces for index in earlier.canaries},
            auditor.seed,
        )
        with durable_files.writing(self._path):
            self._path.parent.mkdir(durable_files.PRIVATE_FOLDER, exist_ok=True)
        durable_files.append_text(self._path, f"{json.dumps(dataclasses.asdict(trace))}\n")
        self._traces.append(trace)


def _from_json(saved: dict[str, Any]) -> round_traces.Trace:
    lists = {name: tuple(saved[name]) for name in ("canaries", "squares")}
    return round_traces.Trace(**{**saved, **lists})
