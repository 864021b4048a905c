"""The mean by integers of a fixed step, in the clear and under encryption, against NumPy."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp.aggregation.encryption import ckks, fixed_point_mean
from tff_nlp.execution import streaming

SPECS = (tf.TensorSpec([40, 30], tf.float32), tf.TensorSpec([], tf.float32))


def encrypted():
    holder = ckks.KeyHolder()
    return lambda clients, vectors: ckks.Round(holder, vectors)


@pytest.mark.parametrize("protocols", [None, encrypted])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
def test_the_mean_is_the_plain_mean_within_1e6(protocols, scale):
    generator = np.random.default_rng(0)
    clients = [
        tuple(np.float32(scale * generator.standard_normal(spec.shape)) for spec in SPECS)
        for _ in range(4)
    ]
    weights = np.float32([1, 7, 0, 320])
    aggregation = fixed_point_mean.FixedPointMeanFactory().create(
        tff.types.tensorflow_to_type(SPECS), tff.TensorType(np.float32)
    )
    context = streaming.StreamingContext(["/CPU:0"], protocols=protocols and protocols())
    with tff.framework.get_context_stack().install(context):
        output = aggregation.next(aggregation.initialize(), clients, list(weights))
        nothing = aggregation.next(output.state, clients, [0.0] * 4)
    for number, found in enumerate(output.result):
        parts = np.array([client[number] for client in clients], float)
        expected = np.tensordot(weights.astype(float), parts, 1) / weights.sum()
        # 1e-6, and the rounding of the result to float32.
        np.testing.assert_allclose(found, expected, atol=1e-6, rtol=1e-7)
    assert not np.any(nothing.result[0])


@pytest.mark.parametrize(("count", "weight"), [(2, 2e5), (300, 3e4), (200, 6e4)])
def test_large_weights_and_cohorts_do_not_wrap_around(count, weight):
    """A weight that is cut counts less in the sum and in the update."""
    aggregation = fixed_point_mean.FixedPointMeanFactory(count).create(
        tff.types.tensorflow_to_type(SPECS[1]), tff.TensorType(np.float32)
    )
    updates, weights = [0.01] * (count - 1) + [0.03], [weight] * (count - 1) + [1.0]
    with tff.framework.get_context_stack().install(streaming.StreamingContext(["/CPU:0"])):
        output = aggregation.next(aggregation.initialize(), updates, weights)
    assert output.result == pytest.approx(0.01, rel=1e-3)


def test_a_number_out_of_range_ends_at_the_largest():
    aggregation = fixed_point_mean.FixedPointMeanFactory().create(
        tff.types.tensorflow_to_type(SPECS[1]), tff.TensorType(np.float32)
    )
    with tff.framework.get_context_stack().install(streaming.StreamingContext(["/CPU:0"])):
        output = aggregation.next(aggregation.initialize(), [1e9, -1e9, 5.0], [1.0, 1.0, 1.0])
    assert output.result == pytest.approx(5 / 3)
