"""All measurements of a shape. Each pass measures every contender once."""

import dataclasses
from collections.abc import Callable, Sequence

from benchmarks import children, shapes


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a shape is measured.

    Attributes:
      passes: How often every contender is measured. Each pass measures all contenders, so if the
        machine becomes slower or faster over time, it affects all of them.
      rounds: Number of measured rounds of a contender in one pass.
      warm_up: Number of rounds before them that are not measured.
      token_ids: Distribution of the token ids.
    """

    passes: int
    rounds: int
    warm_up: int
    token_ids: str


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The results of all passes.

    Attributes:
      measurements: Measurements of the contenders that succeeded in all passes.
      failures: A line about each contender that failed.
      too_large: A line about each contender that needs more memory than there is.
    """

    measurements: list[children.Measurement]
    failures: list[str]
    too_large: list[str]


def measure(
    shape: shapes.Shape, contenders: Sequence[str], plan: Plan, say: Callable[[str], None]
) -> Outcome:
    """Measures the contenders of a shape.

    A contender that fails or is too large is reported, and left out of later passes.

    Args:
      shape: The shape.
      contenders: Variants of `contenders.CONTEXTS`.
      plan: How the shape is measured.
      say: Function that is called with a line about each measurement.
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
