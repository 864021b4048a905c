"""The input of a measuring process, and its report."""

import dataclasses
import json
import time
from collections.abc import Callable
from typing import TextIO

from benchmarks import shapes


@dataclasses.dataclass(frozen=True)
class Task:
    """One measurement.

    Attributes:
      contender: A variant of `contenders.CONTEXTS`.
      shape_name: Name of the shape.
      rounds: Number of rounds, including the warm-up.
      token_ids: Distribution of the token ids.
      began: Start time of the process by `time.monotonic`, which is the same in all processes.
    """

    contender: str
    shape_name: str
    rounds: int
    token_ids: str
    began: float

    @property
    def shape(self) -> shapes.Shape:
        """The shape."""
        return shapes.parse(self.shape_name)

    def to_json(self) -> str:
        """Returns the task as JSON, which `from_json` reads."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Task":
        """Returns the task that `to_json` wrote."""
        return cls(**json.loads(text))


# A function that is called after each round with the seconds of the round.
Report = Callable[[float], None]


def reporter(task: Task, stream: TextIO) -> Report:
    """Returns a report that writes a line of JSON per round, with the seconds since `began`."""

    def report(seconds: float) -> None:
        line = {"seconds": seconds, "since_start": time.monotonic() - task.began}
        print(json.dumps(line), file=stream, flush=True)

    return report


def time_rounds(task: Task, run_round: Callable[[int], None], report: Report) -> None:
    """Runs and reports the rounds of a task.

    Args:
      task: The task.
      run_round: Function that takes the number of a round, and returns at the end of this round.
      report: Function that is called with the seconds of each round.
    """
    for number in range(task.rounds):
        began = time.perf_counter()
        run_round(number)
        report(time.perf_counter() - began)
