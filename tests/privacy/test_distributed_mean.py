"""The mean with noise from the clients: what clients send, what it reveals, and the release."""

import itertools

import numpy as np
import pytest
import scipy.linalg
import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp.errors import UserError
from tff_nlp.execution import streaming
from tff_nlp.privacy import distributed_mean
from tff_nlp.privacy.noise_secret import NoiseSecret

SPECS = (tf.TensorSpec([30, 20], tf.float32), tf.TensorSpec([9], tf.float32))
SIZE = 609
CLIENTS = 10
SECRET = NoiseSecret(bytes(range(32)))


def mean_of(noise=1.0, norm=1.0, bits=20):
    return distributed_mean.DistributedMean(
        noise_multiplier=noise, clipping_norm=norm, clients=CLIENTS, bits=bits, specs=SPECS
    )


def updates(scale=0.02):
    rng = np.random.default_rng(3)
    return [
        tuple(np.float32(scale * rng.normal(size=spec.shape)) for spec in SPECS)
        for _ in range(CLIENTS)
    ]


def flat(update):
    return np.concatenate([np.ravel(part) for part in update])


def sent_by(mean, clients, secret=SECRET, index=3):
    prepare = tf.function(mean.prepare)
    return [
        prepare(tf.constant(index), tf.constant(secret.key("client", index, number)), update)
        .numpy()
        .astype(np.int64)
        for number, update in enumerate(clients)
    ]


def test_the_transform_is_hadamards():
    values = np.float32(np.random.default_rng(1).normal(size=64))
    expected = scipy.linalg.hadamard(64) @ values / 8
    np.testing.assert_allclose(distributed_mean.hadamard(tf.constant(values)), expected, atol=1e-5)


def test_without_noise_it_is_the_mean_of_clipped_updates():
    mean, clients = mean_of(noise=0.0, norm=0.4), updates()
    total = sum(sent_by(mean, clients)) % mean.modulus
    released = flat(mean.release(tf.constant(total, tf.int32), tf.constant(3)))
    norms = [np.linalg.norm(flat(u)) for u in clients]
    assert min(norms) < 0.5 < max(norms)
    expected = np.mean(
        [flat(u) * min(1, 0.4 / n) for u, n in zip(clients, norms, strict=True)], axis=0
    )
    np.testing.assert_allclose(released, expected, atol=2e-5)


@pytest.mark.thorough
def test_the_sum_has_the_noise_of_all_clients():
    mean, clients = mean_of(noise=1.5), updates()
    draws = []
    for index in range(4):
        total = sum(sent_by(mean, clients, index=index)) % mean.modulus
        released = mean.release(tf.constant(total, tf.int32), tf.constant(index))
        draws.append(CLIENTS * flat(released) - np.sum([flat(u) for u in clients], axis=0))
    deviation = 1.5 * mean.grid.longest / mean.grid.scale
    assert np.std(draws) == pytest.approx(deviation, rel=5 / np.sqrt(2 * 4 * SIZE))
    assert np.abs(np.corrcoef(draws) - np.eye(4)).max() < 6 / np.sqrt(SIZE)


def test_what_a_client_sends_is_no_longer_than_the_noise_was_made_for():
    """This holds for updates that rounding makes longer, and for updates that are not finite."""
    mean = mean_of(noise=0.0, norm=1.0, bits=11)
    awkward = tuple(np.full(spec.shape, 7.0, np.float32) for spec in SPECS)
    broken = tuple(np.full(spec.shape, np.nan, np.float32) for spec in SPECS)
    for sent in sent_by(mean, [awkward, broken, *updates(0.2)]):
        centred = (sent + mean.modulus // 2) % mean.modulus - mean.modulus // 2
        assert np.sqrt(np.sum(centred.astype(float) ** 2)) <= mean.grid.longest


@pytest.mark.thorough
def test_shares_follow_from_the_clients_secrets_and_not_from_the_clock():
    """Otherwise the server could compute all shares by trying the microseconds of the round."""
    mean, clients = mean_of(), updates()
    first, again = sent_by(mean, clients), sent_by(mean, clients)
    np.testing.assert_array_equal(first, again)
    others = sent_by(mean, clients, NoiseSecret.fresh())
    assert all(np.mean(a == b) < 0.05 for a, b in zip(first, others, strict=True))
    # Clients that send the same update have different noise.
    alike = sent_by(mean, [clients[0]] * 4)
    assert all(np.mean(a == b) < 0.05 for a, b in itertools.combinations(alike, 2))


def test_no_key_sends_nothing():
    with pytest.raises(tf.errors.InvalidArgumentError, match="no key"):
        mean_of().prepare(tf.constant(0), tf.zeros([8], tf.uint32), updates()[0])


def process_of(clients=CLIENTS):
    factory = distributed_mean.DistributedMeanFactory(
        noise_multiplier=1.0, clipping_norm=1.0, clients=clients, bits=20
    )
    value = distributed_mean.KeyedUpdate(tf.TensorSpec([8], tf.uint32), SPECS)
    return factory.create(tff.types.tensorflow_to_type(value))


def test_the_server_receives_one_secure_sum_and_nothing_else():
    """A count of clipped clients, for example, would have no noise."""
    process = process_of()
    state_type, values_type = process.next.type_signature.parameter

    @tff.federated_computation(state_type, values_type)
    def next_round(state, values):
        output = process.next(state, values)
        return output.state, output.result

    form = tff.backends.mapreduce.get_map_reduce_form_for_computation(next_round)
    simple, bitwidth, limited, modular = form.work.type_signature.result
    for nothing in (simple, bitwidth, limited):
        assert not tf.nest.flatten(tff.types.type_to_tf_tensor_specs(nothing))
    (vector,) = tf.nest.flatten(tff.types.type_to_tf_tensor_specs(modular))
    assert vector.shape == [1024] and vector.dtype == tf.int32


@pytest.mark.thorough
def test_the_process_is_its_parts():
    process, mean, clients = process_of(), mean_of(), updates()
    values = [
        distributed_mean.KeyedUpdate(SECRET.key("client", 0, number), update)
        for number, update in enumerate(clients)
    ]
    with tff.framework.get_context_stack().install(streaming.StreamingContext(["/CPU:0"])):
        output = process.next(process.initialize(), values)
    total = sum(sent_by(mean, clients, index=0)) % mean.modulus
    expected = mean.release(tf.constant(total, tf.int32), tf.constant(0))
    np.testing.assert_allclose(flat(output.result), flat(expected), rtol=1e-5, atol=1e-7)
    assert int(output.state) == 1


@pytest.mark.parametrize("bits", [0, 23])
def test_bits_out_of_range_name_the_flag(bits):
    with pytest.raises(UserError, match=f"distributed_bits={bits}"):
        distributed_mean.DistributedMeanFactory(
            noise_multiplier=1.0, clipping_norm=1.0, clients=4, bits=bits
        )
