"""Compares the measurements with targets."""

import dataclasses
from collections.abc import Iterator, Sequence

from benchmarks import shapes
from benchmarks.figures import Figures, find

# Minimum ratios of examples per second: for all shapes, and for single shapes.
_RATIOS = {
    ("streaming", "tff"): 3.0,
    ("ray_1", "streaming"): 0.9,
    # A round with clipping and noise may take 1.15 times as long.
    ("streaming_dp", "streaming"): 1 / 1.15,
}
_RATIOS_OF_SHAPE = {
    "tiny_10x64": {("streaming", "fit"): 1.10},
    "tiny_40x16": {("streaming", "fit"): 0.95, ("streaming", "tff"): 5.0},
    "minilm_10x32": {("streaming", "fit"): 0.95},
}
# Rounds of this size are too short to compare contenders.
_SIZE_FOR_TESTS = "micro"
# Maximum memory of the streaming context: size of the model -> (minimum number of clients, bytes).
_MEMORY = {"tiny": (1, 1.5e9), "minilm": (1, 3e9), "base": (100, 8 * 2**30)}
# Maximum ratio of the memory of a cohort and of a cohort with a hundredth of its clients.
_COHORT_RATIO, _COHORT_FACTOR = 1.1, 100
# Maximum seconds from the start of the process to the end of the first streaming round, BERT-tiny.
# This target applies only to rounds with at most this number of examples.
_FIRST_ROUND, _FIRST_ROUND_EXAMPLES = 30.0, 640


@dataclasses.dataclass(frozen=True)
class Verdict:
    """One target, and whether the measurement meets it.

    Attributes:
      subject: What was measured.
      measured: The measured figure, as text.
      target: The target, as text.
      met: Whether the figure meets the target.
    """

    subject: str
    measured: str
    target: str
    met: bool

    def __str__(self) -> str:
        return (
            f"{'met   ' if self.met else 'missed'} {self.subject}: {self.measured} ({self.target})"
        )


def judge(figures: Sequence[Figures]) -> list[Verdict]:
    """Returns the verdicts on all measurements that have a target.

    Args:
      figures: Figures of all shapes and contexts.
    """
    by_shape: dict[shapes.Shape, list[Figures]] = {}
    for f in figures:
        if f.shape.size_name != _SIZE_FOR_TESTS:
            by_shape.setdefault(f.shape, []).append(f)
    verdicts = [v for shape, found in by_shape.items() for v in _of_ratios(shape, found)]
    streaming = [f for f in figures if f.context == "streaming"]
    verdicts += [verdict for f in streaming for verdict in _of_streaming(f)]
    return verdicts + list(_of_cohorts(streaming))


def _of_ratios(shape: shapes.Shape, figures: Sequence[Figures]) -> Iterator[Verdict]:
    least_ratios = {**_RATIOS, **_RATIOS_OF_SHAPE.get(shape.name, {})}
    for (one, other), least in least_ratios.items():
        first, second = find(figures, one), find(figures, other)
        if first and second:
            ratio = first.rate / second.rate
            yield Verdict(
                f"{shape.name}: {one} / {other}",
                f"{ratio:.2f}",
                f"at least {least:.3g}",
                ratio >= least,
            )


def _of_streaming(figures: Figures) -> Iterator[Verdict]:
    shape = figures.shape
    clients, most = _MEMORY.get(shape.size_name, (0, 0.0))
    if most and shape.clients >= clients:
        yield Verdict(
            f"{shape.name}: peak memory of streaming",
            f"{figures.peak_bytes / 1e9:.2f} GB",
            f"under {most / 1e9:.3g} GB",
            figures.peak_bytes < most,
        )
    if shape.size_name == "tiny" and shape.total_examples <= _FIRST_ROUND_EXAMPLES:
        yield Verdict(
            f"{shape.name}: first streaming round",
            f"after {figures.first_round_after:.1f} s",
            f"under {_FIRST_ROUND:g} s",
            figures.first_round_after < _FIRST_ROUND,
        )


def _of_cohorts(streaming: Sequence[Figures]) -> Iterator[Verdict]:
    by_shape: dict[shapes.Shape, Figures] = {f.shape: f for f in streaming}
    for many in by_shape:
        for few in by_shape:
            same = (many.size_name, many.examples) == (few.size_name, few.examples)
            if same and many.clients == _COHORT_FACTOR * few.clients:
                ratio = by_shape[many].peak_bytes / by_shape[few].peak_bytes
                yield Verdict(
                    f"peak memory of streaming, {many.name} / {few.name}",
                    f"{ratio:.2f}",
                    f"at most {_COHORT_RATIO:g}",
                    ratio <= _COHORT_RATIO,
                )
