"""Quantized updates: unbiased, precise to one level, few bytes, and repeatable with a seed."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp import errors
from tff_nlp.aggregation import quantized_mean
from tff_nlp.execution import forms, ledger, streaming

SHAPES = ((7, 5), (3,), ())
SPECS = tuple(tf.TensorSpec(shape, tf.float32) for shape in SHAPES)
LEVELS = {8: 127, 4: 7}


@pytest.fixture(autouse=True)
def _streaming():
    with tff.framework.get_context_stack().install(streaming.StreamingContext(["/CPU:0"] * 2)):
        yield


def updates(count, seed=0):
    generator = np.random.default_rng(seed)
    return [
        tuple(np.float32(generator.standard_normal(shape)) for shape in SHAPES)
        for _ in range(count)
    ]


def process(bits, seed=0):
    return quantized_mean.QuantizedMeanFactory(bits, seed).create(
        tff.types.tensorflow_to_type(SPECS), tff.TensorType(np.float32)
    )


def mean(clients, weights, bits=8, seed=0, rounds=1):
    """Returns the results of successive rounds on the same updates."""
    aggregation = process(bits, seed)
    state, results = aggregation.initialize(), []
    for _ in range(rounds):
        output = aggregation.next(state, clients, weights)
        state = output.state
        results.append([np.asarray(part) for part in output.result])
    return results


@pytest.mark.parametrize("bits", quantized_mean.BITS)
def test_one_client_is_within_a_level_and_packed(bits):
    values = tf.constant(updates(1)[0][0])
    packed, step = quantized_mean.quantize(values, bits, tf.constant([1, 2]))
    assert packed.dtype == tf.uint8
    assert packed.shape == [35 if bits == 8 else 18]
    np.testing.assert_allclose(step, np.abs(values).max() / LEVELS[bits], rtol=1e-6)
    back = quantized_mean.dequantize(packed, step, bits, values.shape)
    # At most 127 levels, which float32 rounds by 2^-24 of themselves: 1e-5 of a level.
    assert np.abs(back - values).max() < step * 1.00001
    # The largest is a level itself.
    largest = np.unravel_index(np.abs(values).argmax(), values.shape)
    np.testing.assert_allclose(back.numpy()[largest], values.numpy()[largest], rtol=1e-6)


@pytest.mark.parametrize("bits", quantized_mean.BITS)
def test_rounding_is_unbiased(bits):
    """The mean over many seeds is the value within 5 standard errors, each at most half a level."""
    values, draws = tf.constant(updates(1)[0][0]), 4000

    @tf.function
    def back(seed):
        packed, step = quantized_mean.quantize(values, bits, seed)
        return quantized_mean.dequantize(packed, step, bits, values.shape)

    total = sum(back(tf.constant([5, n])).numpy().astype(float) for n in range(draws))
    bound = 5 * 0.5 * np.abs(values).max() / LEVELS[bits] / np.sqrt(draws)
    assert np.abs(total / draws - values).max() < bound


@pytest.mark.parametrize("bits", quantized_mean.BITS)
def test_zeros_stay_zeros(bits):
    for values in (np.zeros([4, 3]), np.array([0.0, 0.0, 2.0]), np.zeros([0, 3])):
        values = tf.constant(values, tf.float32)
        packed, step = quantized_mean.quantize(values, bits, tf.constant([1, 2]))
        np.testing.assert_array_equal(
            quantized_mean.dequantize(packed, step, bits, values.shape), values
        )


def test_the_mean_is_weighted():
    clients, weights = updates(3), [1.0, 5.0, 0.0]
    (ours,) = mean(clients, weights)
    for number, part in enumerate(ours):
        exact = (clients[0][number] + 5 * clients[1][number]) / 6
        level = max(np.abs(c[number]).max() for c in clients[:2]) / LEVELS[8]
        assert part.shape == exact.shape
        assert np.abs(part - exact).max() < level * 1.0001
    (nothing,) = mean(clients, [0.0, 0.0, 0.0])
    assert all((part == 0).all() for part in nothing)


def test_rounds_and_seeds_differ_and_repeat():
    clients, weights = updates(2), [1.0, 1.0]
    first, again = (mean(clients, weights, bits=4, rounds=2) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        for left, right in zip(one, other, strict=True):
            np.testing.assert_array_equal(left, right)
    assert np.any(first[0][0] != first[1][0])
    (elsewhere,) = mean(clients, weights, bits=4, seed=1)
    assert np.any(elsewhere[0] != first[0][0])


def test_equal_clients_apart_other_clients_round_differently():
    """Clients with even slightly different updates round independently of each other."""
    one = np.full([2000], 0.5, np.float32)
    one[0] = 1.0
    other = one.copy()
    other[0] = np.nextafter(np.float32(1.0), np.float32(0.0))
    specs = (tf.TensorSpec([2000], tf.float32),)
    aggregation = quantized_mean.QuantizedMeanFactory(8, 0).create(
        tff.types.tensorflow_to_type(specs), tff.TensorType(np.float32)
    )
    output = aggregation.next(aggregation.initialize(), [(one,), (other,)], [1.0, 1.0])
    # At 63.5 levels, two clients round in different directions half of the time.
    halves = np.asarray(output.result[0])[1:] * 2 * 127
    differ = np.isclose(halves, 127, atol=0.1).mean()
    # Nine standard deviations of 1,999 throws of a coin.
    assert 0.4 < differ < 0.6


@pytest.mark.parametrize(("bits", "size"), [(8, 39), (4, 18 + 2 + 1)])
def test_the_ledger_counts_the_packed_bytes(bits, size):
    found = ledger.of_form(forms.compile_round(process(bits).next))
    # The other bytes are one step per tensor and the client's weight.
    assert found.up == size + 3 * 4 + 4


def test_what_cannot_be_quantized_is_refused():
    with pytest.raises(errors.UserError, match="upload_bits=2"):
        quantized_mean.QuantizedMeanFactory(2, 0)
    with pytest.raises(TypeError, match="float32"):
        quantized_mean.QuantizedMeanFactory(8, 0).create(
            tff.TensorType(np.int32), tff.TensorType(np.float32)
        )
