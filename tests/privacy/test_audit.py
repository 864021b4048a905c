"""The estimate from canaries against dp_accounting, integrals and the Gaussian mechanism."""

import math

import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_mechanism
from scipy import stats

from tff_nlp.privacy import audit, audit_bounds


@pytest.mark.parametrize("difference", [-1e-12, 0.0, 1e-12])
@pytest.mark.parametrize(("noise", "delta"), [(0.05, 1e-5), (0.5, 1e-3), (1.0, 1e-5), (4.0, 1e-9)])
def test_equal_spreads_give_the_gaussian_mechanism(noise, delta, difference):
    """Equal or nearly equal spreads, for which the quadratic becomes linear."""
    epsilon = audit.gaussian_epsilon(0.0, noise, 1.0, noise + difference, delta)
    mechanism = privacy_loss_mechanism.GaussianPrivacyLoss(noise)
    assert mechanism.get_delta_for_epsilon(epsilon) == pytest.approx(delta, rel=1e-4)


def divergence(first, second, epsilon):
    """Returns the maximum of P(S) - e^epsilon Q(S) over S, by numerical integration."""
    ends = [law.mean() + side * 12 * law.std() for law in (first, second) for side in (-1, 1)]
    y = np.linspace(min(ends), max(ends), 400_001)
    return np.trapz(np.maximum(0, first.pdf(y) - math.exp(epsilon) * second.pdf(y)), y)


@pytest.mark.parametrize(
    "numbers",
    [(0.0, 1.0, 1.0, 2.0), (0.0, 1.0, 0.5, 0.7), (-1.0, 0.8, 1.0, 1.5), (0.0, 1.0, 0.0, 3.0)],
)
@pytest.mark.parametrize("delta", [1e-4, 0.05])
def test_unequal_spreads_against_integration(numbers, delta):
    epsilon = audit.gaussian_epsilon(*numbers, delta)
    first, second = stats.norm(*numbers[:2]), stats.norm(*numbers[2:])
    found = max(divergence(first, second, epsilon), divergence(second, first, epsilon))
    assert found == pytest.approx(delta, rel=1e-4)


def test_published_estimate():
    """google-research/federated, one_shot_epe: dimension 2000, mean and spread 2000^-1/2."""
    spread = 2000**-0.5
    assert audit.gaussian_epsilon(0, spread, spread, spread, 1e-2) == pytest.approx(
        2.317789, abs=1e-6
    )


def test_two_equal_laws_and_laws_without_spread():
    assert audit.gaussian_epsilon(1.0, 2.0, 1.0, 2.0, 1e-5) == 0
    assert audit.gaussian_epsilon(0.0, 1.0, 0.001, 1.0, 0.1) == 0
    assert audit.gaussian_epsilon(0.0, 1.0, 2.0, 0.0, 1e-5) == math.inf
    with pytest.raises(ValueError, match=r"delta 0"):
        audit.gaussian_epsilon(0, 1, 1, 1, 0.0)


def test_the_estimate_finds_the_epsilon_of_a_gaussian_mechanism():
    """Proposition of section 3: with many canaries, the estimate converges to the true epsilon."""
    dimension, noise, delta = 10**6, 1.5, 1e-3
    generator = np.random.default_rng(5)
    cosines = (1 / noise + generator.standard_normal(50_000)) / math.sqrt(dimension)
    found = audit.estimate(cosines, dimension, delta)
    true = audit.gaussian_epsilon(0, noise, 1, noise, delta)
    assert found.epsilon == pytest.approx(true, rel=0.03)
    assert 0.7 * true < found.lower < true
    assert found.mean * math.sqrt(dimension) == pytest.approx(1 / noise, abs=0.02)
    assert (found.canaries, found.delta, found.confidence) == (50_000, delta, 0.999)
    assert found.lower == audit_bounds.lower_bound(cosines, dimension, delta)


def test_the_largest_of_several_releases_is_compared_with_the_same_of_unsent_canaries():
    """Algorithm 2: canaries without effect give no epsilon, although the maxima are above 0."""
    generator = np.random.default_rng(6)
    scores = generator.standard_normal((2, 4000, 20)).max(axis=2) / 100
    found = audit.estimate(scores[0], 10_000, 1e-2, releases=20, unobserved=scores[1])
    assert found.epsilon < 0.2
    assert found.lower == 0
    # As one release, the same cosines would refute a mechanism that releases nothing.
    assert audit.estimate(scores[0], 10_000, 1e-2).lower > 1
    with pytest.raises(ValueError, match="20 releases: cosines of canaries that were not sent"):
        audit.estimate(scores[0], 10_000, 1e-2, releases=20)


def test_too_few_canaries():
    with pytest.raises(ValueError, match="1 canaries"):
        audit.estimate(np.array([0.1]), 1000, 1e-5)


def test_a_claim_below_the_bound_is_refuted():
    found = audit.Estimate(2.5, 1.25, 0.999, 1e-3, 20_000, 500, 0.007, 0.007)
    assert not found.refutes(1.25)
    assert found.refutes(1.2)
