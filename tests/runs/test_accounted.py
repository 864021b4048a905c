"""Epsilons of published tables, against the privacy loss of the Gaussian mechanism."""

import numpy as np
import pytest
from scipy import optimize, stats

from tff_nlp.runs import accounted


def exact_epsilon(noise, delta):
    """Returns the exact epsilon of a Gaussian mechanism (Balle and Wang 2018, theorem 8)."""

    def excess(epsilon):
        a, b = 1 / (2 * noise), epsilon * noise
        return stats.norm.cdf(a - b) - np.exp(epsilon) * stats.norm.cdf(-a - b) - delta

    return optimize.brentq(excess, 0, 400)


def test_unsampled_steps_have_the_epsilon_of_one_gaussian():
    # The plan has no sampling either, so the noise is that of 4 steps, and 16 steps are taken.
    arguments = {"sampling_probability": 1.0, "delta": 1e-5}
    planned = accounted.epsilon_without_sampling(3.0, planned_steps=4, steps=4, **arguments)
    assert planned == pytest.approx(3.0, abs=0.01)
    noise = optimize.brentq(lambda z: exact_epsilon(z / 2, 1e-5) - planned, 1, 20)
    taken = accounted.epsilon_without_sampling(3.0, planned_steps=4, steps=16, **arguments)
    exact = exact_epsilon(noise / 4, 1e-5)
    # Renyi divergences give an upper bound, a little above the exact value.
    assert exact * 0.97 < taken < exact * 1.25


def test_a_plan_with_sampling_has_too_little_noise_for_all_rows():
    found = accounted.epsilon_without_sampling(
        15.0, sampling_probability=0.013, planned_steps=232, steps=45, delta=4e-4
    )
    assert found > 100
