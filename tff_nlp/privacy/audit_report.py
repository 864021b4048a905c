"""The report of a canary audit: the verdict on a claimed epsilon, and which faults it finds."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.optimize
import scipy.stats

from tff_nlp.privacy import audit, audit_bounds, round_audit
from tff_nlp.privacy.round_traces import Trace

# Relative precision of a canary's length, because updates are in single precision.
_ROUNDING = 1e-4


@dataclasses.dataclass(frozen=True)
class Report:
    """The result of an audit, compared with the claimed epsilon.

    The bounds share the error probability. Each has the confidence `found.confidence`, and all
    together have `confidence`.

    Attributes:
      found: Bound on epsilon from the final weights.
      claimed: The accountant's epsilon at the same delta; infinite without a guarantee.
      finds_trace: About how many times larger the canaries' mean cosine in the final weights would
        have to be to refute the claim. None if no value would refute it.
      noise: Bound on the noise from the rounds; None if it was not tested.
      counts: Bound on the weight of a client from the rounds; None if it was not tested.
      confidence: Probability, at least, that a run that keeps its claim is not refuted.
    """

    found: audit.Estimate
    claimed: float
    finds_trace: float | None
    noise: round_audit.NoiseBound | None
    counts: round_audit.CountBound | None
    confidence: float

    @property
    def refutations(self) -> tuple[str, ...]:
        """The reasons why the run is not as stated, one per bound that shows it."""
        reasons = []
        if self.found.refutes(self.claimed):
            reasons.append(
                f"{self.found.lower:.3f} > epsilon {self.claimed:.3f}: the run does not keep what "
                "the accountant promises"
            )
        if self.noise is not None and self.noise.at_most < 1:
            reasons.append(
                f"the noise is at most {self.noise.at_most:.3f} of what is stated "
                f"({self.noise.where})"
            )
        if self.counts is not None and self.counts.at_least > 1 + _ROUNDING:
            reasons.append(
                f"a client counts at least {self.counts.at_least:.3f} times as much as it may"
            )
        return tuple(reasons)

    @property
    def refuted(self) -> bool:
        """Whether the run cannot be as stated."""
        return bool(self.refutations)

    def line(self) -> str:
        """Returns the verdict, the bounds and the limits of the audit in one line."""
        facts = (
            f"{self.found.canaries} canaries, confidence {self.confidence:g}, delta "
            f"{self.found.delta:.3g}; estimate {self.found.epsilon:.3f}"
        )
        verdict = "; ".join(self.refutations)
        if not verdict:
            verdict = "; ".join(
                [f"{self.found.lower:.3f} <= epsilon <= {self.claimed:.3f}", *self._bounds()]
            )
        return ". ".join(filter(None, [f"audit {verdict} ({facts})", self._limits()]))

    def to_json(self) -> dict[str, Any]:
        """Returns the audit as JSON values. Tests that were not done are None."""
        return {
            **dataclasses.asdict(self.found),
            "claimed": self.claimed if math.isfinite(self.claimed) else None,
            "refuted": self.refuted,
            "finds_trace": self.finds_trace,
            "noise_at_most": self.noise.at_most if self.noise else None,
            "noise_where": self.noise.where if self.noise else None,
            "finds_noise_below": self.noise.finds_below if self.noise else None,
            "counts_at_least": self.counts.at_least if self.counts else None,
            "newcomers": self.counts.newcomers if self.counts else None,
            "finds_counts_above": self.counts.finds_above if self.counts else None,
            "confidence_of_all": self.confidence,
            "line": self.line(),
        }

    def _bounds(self) -> list[str]:
        bounds = []
        if self.noise is not None:
            bounds.append(f"noise at most {self.noise.at_most:.2f} of what is stated")
        if self.counts is not None:
            bounds.append(f"a client counts at least {self.counts.at_least:.2f} times")
        return bounds

    def _limits(self) -> str:
        """Returns the faults that the audit finds with probability `POWER`, and those it misses."""
        finds, misses = [], []
        if self.noise is not None and self.noise.finds_below is not None:
            finds.append(f"noise below {self.noise.finds_below:.2f} of what is stated")
        elif self.noise is not None:
            misses.append("noise that is left out altogether")
        if self.counts is not None and self.counts.finds_above is not None:
            finds.append(f"clients that count more than {self.counts.finds_above:.2f} times")
        elif self.counts is not None:
            misses.append("clients that count too much")
        if self.finds_trace is not None:
            finds.append(
                f"canaries that stand out {self.finds_trace:.1f} times as much in the final weights"
            )
        elif math.isfinite(self.claimed):
            misses.append("canaries that stand out in the final weights")
        limits = [f"It finds {', or '.join(finds)}"] if finds else []
        return ". ".join(limits + ([f"It misses {', or '.join(misses)}"] if misses else []))


def report(
    cosines: np.ndarray,
    sizes: Sequence[int],
    delta: float,
    claimed: float,
    traces: Sequence[Trace] = (),
    *,
    noise_multiplier: float | None = None,
    confidence: float = audit_bounds.CONFIDENCE,
) -> Report:
    """Audits a run by its final weights and its rounds.

    Args:
      cosines: Cosine of each canary with the change of the weights in training, float64[canaries].
      sizes: Number of values in each tensor of an update.
      delta: Probability with which epsilon may fail, between 0 and 1.
      claimed: The accountant's epsilon at this delta; infinite without a guarantee.
      traces: Traces of the rounds; empty if they were not recorded.
      noise_multiplier: Noise multiplier on the sum of updates, if the noise is Gaussian and
        independent between rounds. Otherwise None, and the noise is not tested.
      confidence: Probability, at least, that a run that keeps its claim is not refuted.
    """
    tests_noise = bool(traces) and bool(noise_multiplier)
    each = 1 - (1 - confidence) / (1 + bool(traces) + tests_noise)
    found = audit.estimate(cosines, sum(sizes), delta, confidence=each)
    noise = None
    if tests_noise and noise_multiplier is not None:
        noise = round_audit.noise_bound(traces, sizes, noise_multiplier, each)
    return Report(
        found=found,
        claimed=claimed,
        finds_trace=_needed_trace(found, claimed),
        noise=noise,
        counts=round_audit.count_bound(traces, sizes, each),
        confidence=confidence,
    )


def _needed_trace(found: audit.Estimate, claimed: float) -> float | None:
    """Returns the factor on the canaries' mean cosine that would refute the claim, or None."""
    if not (math.isfinite(claimed) and found.mean > 0):
        return None
    shares = (np.arange(found.canaries) + 0.5) / found.canaries
    # The canaries with the observed spread, but with a mean as low as `POWER` allows.
    typical = scipy.stats.norm.ppf(shares)
    unlucky = typical - scipy.stats.norm.ppf(round_audit.POWER) / math.sqrt(found.canaries)

    def excess(times: float) -> float:
        cosines = times * found.mean + found.standard_deviation * unlucky
        lower = audit_bounds.lower_bound(
            cosines, found.dimension, found.delta, confidence=found.confidence
        )
        return lower - claimed

    most = 1 / found.mean
    if excess(most) <= 0:
        return None
    return float(scipy.optimize.brentq(excess, 0.0, most, xtol=1e-3)) if excess(0.0) < 0 else 0.0
