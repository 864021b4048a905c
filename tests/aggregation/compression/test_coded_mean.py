"""Encoded updates: their weighted mean, their bytes, and random numbers that can be repeated."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp.aggregation.compression import coded_mean, coding, rounding, signs, top_k
from tff_nlp.execution import forms, ledger, streaming

SHAPES = ((7, 5), (3,), ())
SPECS = tuple(tf.TensorSpec(shape, tf.float32) for shape in SHAPES)


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


def factory(codec, seed=0):
    return coded_mean.CodedMeanFactory(coding.Coding(codec, seed))


def process(bits, seed=0):
    return factory(rounding.Rounding(bits), seed).create(
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


def test_the_mean_is_weighted():
    clients, weights = updates(3), [1.0, 5.0, 0.0]
    (ours,) = mean(clients, weights)
    for number, part in enumerate(ours):
        exact = (clients[0][number] + 5 * clients[1][number]) / 6
        level = max(np.abs(c[number]).max() for c in clients[:2]) / 127
        assert part.shape == exact.shape
        assert np.abs(part - exact).max() < level * 1.0001
    (nothing,) = mean(clients, [0.0, 0.0, 0.0])
    assert all((part == 0).all() for part in nothing)


def test_seeds_differ_and_repeat():
    clients, weights = updates(2), [1.0, 1.0]
    first, again = (mean(clients, weights, bits=4, rounds=2) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        for left, right in zip(one, other, strict=True):
            np.testing.assert_array_equal(left, right)
    (elsewhere,) = mean(clients, weights, bits=4, seed=1)
    assert np.any(elsewhere[0] != first[0][0])


def test_equal_clients_apart_other_clients_round_differently():
    """Clients with even slightly different updates round independently of each other."""
    one = np.full([2000], 0.5, np.float32)
    one[0] = 1.0
    other = one.copy()
    other[0] = np.nextafter(np.float32(1.0), np.float32(0.0))
    specs = (tf.TensorSpec([2000], tf.float32),)
    aggregation = factory(rounding.Rounding(8)).create(
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


def test_the_ledger_counts_bits_and_positions():
    for codec, size in ((signs.Signs(), 5 + 3 * 4), (top_k.TopK(0.1), 4 * 4 + 4 + 1)):
        aggregation = factory(codec).create(
            tff.types.tensorflow_to_type(SPECS), tff.TensorType(np.float32)
        )
        found = ledger.of_form(forms.compile_round(aggregation.next))
        assert found.up == size + 4 and not found.lower_bound


def test_an_encoded_update_is_added_up_as_it_is():
    coded = coding.Coding(top_k.TopK(0.3), 0)
    clients = [coded.encode(update) for update in updates(2)]
    encoded_type = tff.types.tensorflow_to_type(
        tf.nest.map_structure(lambda part: tf.TensorSpec(part.shape, part.dtype), clients[0])
    )
    assert coding.is_encoded(encoded_type)
    aggregation = coded_mean.CodedMeanFactory(coded).create(
        encoded_type, tff.TensorType(np.float32)
    )
    output = aggregation.next(aggregation.initialize(), clients, [1.0, 3.0])
    parts = zip(*(coded.decode(client) for client in clients), output.result, strict=True)
    for one, other, found in parts:
        np.testing.assert_allclose(found, (one + 3 * other) / 4, rtol=1e-6)


def test_only_floats_are_encoded():
    with pytest.raises(TypeError, match="float32"):
        factory(rounding.Rounding(8)).create(tff.TensorType(np.int32), tff.TensorType(np.float32))
