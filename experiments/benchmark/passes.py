"""All measurements of a shape: every contender once, then every one again, in turn."""

import dataclasses
from collections.abc import Callable, Sequence

from experiments.benchmark import children, shapes


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a shape is measured.

    Attributes:
      passes: How often every contender is measured. A pass goes through all of them, so that a
        machine that becomes slower or faster meanwhile does so for all.
      rounds: Measured rounds of a contender in one pass.
      warm_up: Rounds before them.
      token_ids: Distribution of the token ids.
    """

    passes: int
    rounds: int
    warm_up: int
    token_ids: str


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What the passes gave.

    Attributes:
      measurements: Of the contenders that always ran through.
      failures: A line about each contender that failed.
      too_large: A line about each contender that the memory does not suffice for.
    """

    measurements: list[children.Measurement]
    failures: list[str]
    too_large: list[str]


def measure(
    shape: shapes.Shape, contenders: Sequence[str], plan: Plan, say: Callable[[str], None]
) -> Outcome:
    """Measures the contenders of a shape.

    A contender that fails or is too large is told, and left out of later passes.

    Args:
      shape: What a round trains.
      contenders: Names of `contenders.VARIANTS`.
      plan: How often.
      say: Is told a line about each measurement.
    """
    measured: dict[str, list[children.Measurement]] = {name: [] for name in contenders}
    failures: list[str] = []
    too_large: list[str] = []
    for number in range(plan.passes):
        for name in contenders:
            if name not in measured:
                continue
            where = f"{shape.name}, pass {number + 1} of {plan.passes}, {name}"
            try:
                done = children.measure(name, shape.name, plan.token_ids, plan.rounds, plan.warm_up)
            except (children.MeasurementError, children.TooLargeError) as error:
                del measured[name]
                say(f"{where}: {error}")
                lines = too_large if isinstance(error, children.TooLargeError) else failures
                lines.append(f"{shape.name}, {name}: {error}")
                continue
            measured[name].append(done)
            rates = sorted(shape.total_examples / seconds for seconds in done.seconds)
            say(
                f"{where}: {rates[len(rates) // 2]:,.1f} examples/s, "
                f"{done.peak_bytes / 1e9:.2f} GB, "
                f"first round after {done.first_round_after:.1f} s"
            )
    done_by_all = [done for passes in measured.values() for done in passes]
    return Outcome(done_by_all, failures, too_large)
