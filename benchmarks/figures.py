"""The reported figures of a shape and context, computed from the measurements of all passes."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import shapes
from benchmarks.children import Measurement


@dataclasses.dataclass(frozen=True)
class Figures:
    """The figures of one context.

    Attributes:
      shape: The shape.
      context: A key of `contenders.CONTEXTS`. For Ray: "ray_1" or "ray_2".
      variant: The contender that was measured. For the ceiling: the faster one.
      seconds: Seconds of every measured round, pass by pass.
      cpu_seconds_per_round: Processor time (user and system) of all its processes per round.
      peak_bytes: Peak memory, the largest of all passes.
      memory_measure: How the memory was measured, see `ProcessTree`.
      first_round_after: Seconds from the start of the process to the end of its first round. This
        is the median of the passes.
      other_variants: Examples per second of the variants that were slower.
    """

    shape: shapes.Shape
    context: str
    variant: str
    seconds: tuple[tuple[float, ...], ...]
    cpu_seconds_per_round: float
    peak_bytes: int
    memory_measure: str
    first_round_after: float
    other_variants: Mapping[str, float]

    @property
    def rates(self) -> list[float]:
        """Examples per second of every measured round."""
        return [self.shape.total_examples / s for one_pass in self.seconds for s in one_pass]

    @property
    def rate(self) -> float:
        """Median examples per second of all measured rounds."""
        return statistics.median(self.rates)

    def pass_rates(self) -> list[float]:
        """Returns the median examples per second of each pass."""
        return [self.shape.total_examples / statistics.median(p) for p in self.seconds]


def summarize(shape: shapes.Shape, measurements: Sequence[Measurement]) -> list[Figures]:
    """Returns the figures of a shape, one per context, in the order of the measurements."""
    by_contender: dict[str, list[Measurement]] = {}
    for measurement in measurements:
        by_contender.setdefault(measurement.contender, []).append(measurement)
    found: dict[str, Figures] = {}
    for contender, passes in by_contender.items():
        context = "ceiling" if contender.startswith("ceiling_") else contender
        new, old = _figures(shape, context, passes), found.get(context)
        if old is not None:
            fast, slow = (new, old) if new.rate > old.rate else (old, new)
            new = dataclasses.replace(fast, other_variants={slow.variant: slow.rate})
        found[context] = new
    return list(found.values())


def _figures(shape: shapes.Shape, context: str, passes: Sequence[Measurement]) -> Figures:
    rounds = sum(len(p.seconds) for p in passes)
    return Figures(
        shape,
        context,
        variant=passes[0].contender,
        seconds=tuple(p.seconds for p in passes),
        cpu_seconds_per_round=sum(p.cpu_seconds for p in passes) / rounds,
        peak_bytes=max(p.peak_bytes for p in passes),
        memory_measure=passes[0].memory_measure,
        first_round_after=statistics.median(p.first_round_after for p in passes),
        other_variants={},
    )


def find(figures: Sequence[Figures], context: str) -> Figures | None:
    """Returns the figures of a context, or None if it was not measured."""
    return next((f for f in figures if f.context == context), None)


def to_json(figures: Sequence[Figures]) -> list[dict[str, Any]]:
    """Returns the figures of one shape for --json. Values that were not measured are null."""
    fit, ceiling = find(figures, "fit"), find(figures, "ceiling")
    return [
        {
            "shape": f.shape.name,
            "context": f.context,
            "examples_per_second": f.rate,
            "ratio_to_fit": f.rate / fit.rate if fit else None,
            "peak_rss_bytes": f.peak_bytes,
            "memory_measure": f.memory_measure,
            "examples_per_second_min": min(f.rates),
            "examples_per_second_max": max(f.rates),
            "examples_per_second_by_pass": f.pass_rates(),
            "ratio_to_ceiling": f.rate / ceiling.rate if ceiling else None,
            "rounds": len(f.rates),
            "seconds_to_first_round": f.first_round_after,
            "cpu_seconds_per_round": f.cpu_seconds_per_round,
            "variant": f.variant,
            "examples_per_second_of_slower_variants": dict(f.other_variants),
        }
        for f in figures
    ]
