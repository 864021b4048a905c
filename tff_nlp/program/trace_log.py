"""private/traces.jsonl records what each round's release reveals about the canaries of an audit."""

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
    """What an audit must know about a run to read its releases.

    Attributes:
      seed: Seed of the run.
      clients: Number of real clients. Canaries have the positions after them.
      denominator: Number by which the sum over clients is divided.
      clipping_norm: L2 norm to which updates are clipped. None if it adapts and is measured in each
        round.
    """

    seed: int
    clients: int
    denominator: float
    clipping_norm: float | None


class TraceLog:
    """A file with one line of JSON per round. It is private: it names canaries in the cohort."""

    def __init__(self, path: pathlib.Path, auditor: Auditor) -> None:
        """Opens the log.

        Args:
          path: The file. It is made with the first round, in a folder that only its owner can read.
          auditor: What is needed to read a release.
        """
        self._path = path
        self._auditor = auditor
        self._traces: list[round_traces.Trace] = []

    @property
    def traces(self) -> Sequence[round_traces.Trace]:
        """The traces of the rounds so far."""
        return tuple(self._traces)

    def rewind(self, rounds: int) -> None:
        """Removes the rounds after the last checkpoint.

        They are computed again with the same noise.

        Args:
          rounds: Number of completed rounds.

        Raises:
          UserError: If completed rounds are missing.
          WriteError: If the file cannot be written.
        """
        try:
            lines = durable_files.whole_lines(self._path)
            traces = [_from_json(json.loads(line)) for line in lines[:rounds]]
        except (ValueError, KeyError, TypeError):
            lines, traces = [], None
        if traces is None or [t.round for t in traces] != list(range(1, rounds + 1)):
            raise errors.UserError(
                f"`output_dir`: {errors.verbatim(self._path)} should have a line for each of the "
                f"{rounds} rounds of the last checkpoint, or they cannot be audited; use another "
                "folder"
            )
        self._traces = traces
        if len(lines) > rounds:
            kept = "".join(f"{line}\n" for line in lines[:rounds])
            durable_files.replace_text(self._path, kept)

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
          cohort: Positions of the clients that took part.
          released: The aggregator's result.
          clipping_norm: The measured clipping norm, or None if it was not measured.

        Raises:
          RunError: If the clipping norm is unknown.
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
