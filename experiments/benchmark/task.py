"""What a measuring process is told, and how it says what it measured."""

import dataclasses
import json
import time
from collections.abc import Callable
from typing import TextIO

from experiments.benchmark import shapes


@dataclasses.dataclass(frozen=True)
class Task:
    """One measurement.

    Attributes:
      contender: A name of `contenders.VARIANTS`.
      shape_name: What a round trains.
      rounds: How many rounds, warm-up included.
      token_ids: Distribution of the token ids.
      began: When the process was started, by `time.monotonic`, which all processes share.
    """

    contender: str
    shape_name: str
    rounds: int
    token_ids: str
    began: float

    @property
    def shape(self) -> shapes.Shape:
        """What a round trains."""
        return shapes.parse(self.shape_name)

    def to_json(self) -> str:
        """Returns the task as `from_json` reads it."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Task":
        """Returns the task that `to_json` wrote."""
        return cls(**json.loads(text))


# Is called after each round with the seconds that it took.
Report = Callable[[float], None]


def reporter(task: Task, stream: TextIO) -> Report:
    """Returns what writes a line of JSON per round to a stream, with the seconds since `began`."""

    def report(seconds: float) -> None:
        line = {"seconds": seconds, "since_start": time.monotonic() - task.began}
        print(json.dumps(line), file=stream, flush=True)

    return report


def time_rounds(task: Task, run_round: Callable[[int], None], report: Report) -> None:
    """Runs and reports the rounds of a task.

    Args:
      task: How many rounds.
      run_round: Runs the round of a number and returns when it is over.
      report: Is told the seconds.
    """
    for number in range(task.rounds):
        began = time.perf_counter()
        run_round(number)
        report(time.perf_counter() - began)
