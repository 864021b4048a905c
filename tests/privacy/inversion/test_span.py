"""The span of a layer's inputs, against inputs that are known."""

import numpy as np
import pytest

from tff_nlp.privacy.inversion import span


def change(inputs, columns=40, seed=1):
    """The gradient of a matrix whose outputs have random gradients."""
    outputs = np.random.default_rng(seed).normal(size=(len(inputs), columns))
    return inputs.T @ outputs


def inputs(count, width=32):
    return np.random.default_rng(0).normal(size=(count, width))


def test_inputs_are_in_the_span_and_others_are_not():
    own = inputs(5)
    found = span.of(change(own))
    assert found.rank == 5
    assert found.distances(own).max() < 1e-10
    other = np.random.default_rng(2).normal(size=(100, 32))
    assert found.distances(other).min() > 0.5
    assert found.distances(np.stack([own, own + 0.01 * other[:5]]))[1].max() < 0.02


def test_rounding_of_the_weights_is_told_apart_from_inputs():
    weights = np.random.default_rng(3).normal(size=(32, 40)).astype(np.float32)
    gradient = 1e-3 * change(inputs(5)).astype(np.float32)
    found = span.of(weights - (weights - gradient))
    assert found.rank == 5 and found.distances(inputs(5)).max() < 0.01


def test_a_narrow_matrix_spans_as_much_as_it_has_columns():
    own = inputs(5)
    found = span.of(change(own, columns=3))
    assert found.rank == 3
    # Their space has only a part of the inputs.
    assert found.distances(own).max() > 0.1


@pytest.mark.parametrize("nothing", [np.zeros((32, 40)), np.zeros((32, 0))])
def test_nothing_is_no_span(nothing):
    assert span.of(nothing) is None


@pytest.mark.parametrize("count", [28, 31, 40, 200])
def test_too_many_inputs_are_not_found(count):
    """The lower half of the singular values is then more than rounding errors."""
    own = inputs(count)
    found = span.of(change(own, columns=100))
    assert found is None or found.distances(own).min() > 0.05


def test_noise_leaves_no_span():
    noise = np.random.default_rng(4).normal(size=(32, 40))
    found = span.of(change(inputs(5)) + 100 * noise)
    assert found is None or found.distances(inputs(5)).min() > 0.1
