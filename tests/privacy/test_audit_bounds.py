"""Lower bounds against published values, scipy's exact tests and closed forms."""

import math

import numpy as np
import pytest
from scipy import stats

from tff_nlp.privacy import audit_bounds


@pytest.mark.parametrize(("dimension", "expected"), [(200, 1.394838), (2000, 1.3880321)])
def test_published_bound_with_jeffreys_interval(dimension, expected):
    """google-research/federated, one_shot_epe: 100 canaries, alpha = delta = 0.01."""
    spread = dimension**-0.5
    cosines = np.random.default_rng(0xBAD5EED).normal(loc=spread, scale=spread, size=100)
    bounds = audit_bounds.closed_form_bounds(
        cosines, dimension, 1e-2, alpha=1e-2, interval=audit_bounds.JEFFREYS
    )
    assert bounds.max() == pytest.approx(expected, rel=1e-6)
    # The bound that keeps its confidence is lower.
    assert 0.5 < audit_bounds.lower_bound(cosines, dimension, 1e-2, confidence=0.99) < expected


@pytest.mark.parametrize(
    ("false_alarms", "copies", "expected"),
    [(0, 1, 4.541915810224092), (0, 2, 2.27095790511), (500, 1, 0.0)],
)
def test_published_bound_of_a_threshold(false_alarms, copies, expected):
    """tensorflow-privacy, research/audit_2020: 500 and 500 runs, alpha 0.01."""
    found = audit_bounds.threshold_bound(
        500, 500, false_alarms, 500, confidence=0.99, copies=copies
    )
    assert found == pytest.approx(expected, abs=1e-10)


def test_a_threshold_with_delta_and_in_the_other_direction():
    low = stats.binomtest(60, 100).proportion_ci(0.98, "exact").low
    high = stats.binomtest(5, 100).proportion_ci(0.98, "exact").high
    found = audit_bounds.threshold_bound(60, 100, 5, 100, delta=0.01, confidence=0.98)
    assert found == pytest.approx(math.log((low - 0.01) / high))
    # Rarely missed members give a larger bound than frequent false alarms allow.
    low = stats.binomtest(60, 100).proportion_ci(0.98, "exact").low
    missed = stats.binomtest(1, 100).proportion_ci(0.98, "exact").high
    found = audit_bounds.threshold_bound(99, 100, 40, 100, confidence=0.98)
    assert found == pytest.approx(math.log(low / missed))
    with pytest.raises(ValueError, match="2 copies"):
        audit_bounds.threshold_bound(60, 100, 5, 100, delta=0.01, copies=2)


@pytest.mark.parametrize("successes", [0, 1, 37, 100])
def test_success_rates_are_clopper_and_pearsons(successes):
    exact = stats.binomtest(successes, 100, alternative="greater").proportion_ci(0.95, "exact")
    found = audit_bounds.success_rate(successes, 100, 0.05, audit_bounds.CLOPPER_PEARSON)
    assert found == pytest.approx(exact.low, abs=1e-12)


def test_the_law_of_unsent_canaries_in_few_dimensions():
    """In 2 and 3 dimensions, a coordinate of a unit vector has an elementary distribution."""
    t = np.array([-0.9, -0.2, 0.0, 0.3, 0.999])
    found = np.exp(audit_bounds.log_null_survival(t, 2))
    np.testing.assert_allclose(found, np.arccos(t) / np.pi, rtol=1e-9)
    found = np.exp(audit_bounds.log_null_survival(t, 3))
    np.testing.assert_allclose(found, (1 - t) / 2, rtol=1e-9)


def test_the_law_of_unsent_canaries_has_no_jump_and_no_end():
    t = np.linspace(-0.1, 0.12, 9)
    below, above = (audit_bounds.log_null_survival(t, d) for d in (999, 1000))
    np.testing.assert_allclose(below, above, rtol=0.03, atol=1e-3)
    # The logarithm is finite even if the probability underflows.
    assert audit_bounds.log_null_survival(np.array([0.98]), 900)[0] == pytest.approx(-435, rel=0.01)
    assert audit_bounds.log_null_survival(np.array([0.5]), 10**6)[0] < -1e5


def boundary(generator, count, epsilon, dimension):
    """Returns cosines of a mechanism with exactly this epsilon at every threshold.

    It is randomized response on the distribution of unsent canaries: for sent canaries, the upper
    part is e^epsilon times as likely, and the lower part e^-epsilon times.
    """
    share = 1 / (1 + math.exp(epsilon))
    above = generator.random(count) > share
    tails = generator.random(count) * np.where(above, share, 1 - share)
    return stats.norm(scale=dimension**-0.5).isf(tails + np.where(above, 0, share))


@pytest.mark.parametrize("confidence", [0.9, 0.99])
def test_the_bound_keeps_its_confidence_where_it_is_tightest(confidence):
    """A mechanism with exactly the claimed epsilon is not refuted more often than allowed."""
    generator, epsilon, trials = np.random.default_rng(3), 1.5, 500
    wrong = sum(
        audit_bounds.lower_bound(
            boundary(generator, 200, epsilon, 5000), 5000, 0.0, confidence=confidence
        )
        > epsilon
        for _ in range(trials)
    )
    assert stats.binomtest(wrong, trials, 1 - confidence, alternative="greater").pvalue > 1e-3
    # With a smaller claimed epsilon, nearly all runs would be refuted.
    found = audit_bounds.lower_bound(boundary(generator, 2000, epsilon, 5000), 5000, 0.0)
    assert found > 0.8 * epsilon


def test_the_best_of_all_thresholds_does_not_keep_the_confidence():
    """`lower_bound` divides alpha, because the published method fails more often than 0.01."""
    generator, epsilon, trials = np.random.default_rng(4), 1.5, 400
    wrong = sum(
        audit_bounds.closed_form_bounds(
            boundary(generator, 200, epsilon, 5000),
            5000,
            0.0,
            alpha=0.01,
            interval=audit_bounds.JEFFREYS,
        ).max()
        > epsilon
        for _ in range(trials)
    )
    assert stats.binomtest(wrong, trials, 0.01, alternative="greater").pvalue < 1e-6


def test_more_releases_allow_larger_cosines():
    cosines = np.full(50, 0.05)
    one = audit_bounds.lower_bound(cosines, 10_000, 1e-5)
    assert one - audit_bounds.lower_bound(cosines, 10_000, 1e-5, releases=10) == pytest.approx(
        math.log(10)
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cosines": np.array([])}, "no cosines"),
        ({"delta": 1.0}, "delta 1.0"),
        ({"alpha": 0.0}, "alpha 0.0"),
        ({"releases": 0}, "0 releases"),
    ],
)
def test_numbers_out_of_range(changes, words):
    values = {"cosines": np.ones(3) / 9, "dimension": 5000, "delta": 0.0, "alpha": 0.1, **changes}
    with pytest.raises(ValueError, match=words):
        audit_bounds.closed_form_bounds(**values)
