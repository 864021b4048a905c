"""Discrete Gaussian noise and its grid, against closed forms."""

import math

import numpy as np
import pytest

from tff_nlp.errors import UserError
from tff_nlp.privacy import discrete_gaussian


def probabilities(stddev):
    """Returns the steps and their exact probabilities, from numbers of 63 bits."""
    law = [0, *discrete_gaussian.thresholds(stddev).tolist(), 2**63]
    most = (len(law) - 2) // 2
    chances = np.array([b - a for a, b in zip(law[:-1], law[1:], strict=True)], float) / 2**63
    return np.arange(-most, most + 1), chances


@pytest.mark.parametrize("stddev", [3.0, 17.3, 400.0])
def test_the_law_is_the_discrete_gaussians(stddev):
    steps, found = probabilities(stddev)
    weights = np.exp(-(steps.astype(float) ** 2) / (2 * stddev**2))
    # The theta function sums over all integers. Poisson's summation gives a closed form.
    total = stddev * math.sqrt(2 * math.pi) * (1 + 2 * math.exp(-2 * (math.pi * stddev) ** 2))
    np.testing.assert_allclose(found, weights / total, rtol=1e-9, atol=2**-62)
    np.testing.assert_array_equal(found, found[::-1])
    assert (np.diff(discrete_gaussian.thresholds(stddev)) >= 0).all()
    assert 8.5 * stddev < steps[-1] < 9.5 * stddev + 1


def test_the_noise_is_in_proportion_to_the_longest_vector():
    """So epsilon does not depend on the bits; coarse grids have more noise."""
    for bits in (12, 16, 20):
        grid = discrete_gaussian.plan(1.0, 0.5, 150, 1024, bits)
        assert grid.stddev * math.sqrt(150) == pytest.approx(grid.longest)
        assert grid.longest >= grid.scale * 0.5
        assert 6 * math.sqrt(150) * grid.stddev <= 2 ** (bits - 1)
    assert discrete_gaussian.plan(1.0, 0.5, 150, 1024, 12).stretch > 1.05


@pytest.mark.parametrize(
    ("noise", "clients", "dimension", "bits", "advice"),
    [
        # Otherwise the stated epsilon would be too small: .608 instead of 4.23 and 135, or 5.30
        # instead of 46.
        (8.0, 100, 2**25, 16, "take 19 or more"),
        (8.0, 100, 2**25, 12, "take 19 or more"),
        (1.0, 150, 1024, 8, "take 11 or more"),
        (500.0, 10_000, 2**27, 20, "fewer parameters or take more clients"),
    ],
)
def test_too_few_bits_are_refused(noise, clients, dimension, bits, advice):
    with pytest.raises(UserError, match=f"distributed_bits={bits}: .*{advice}"):
        discrete_gaussian.plan(noise, 1.0, clients, dimension, bits)
