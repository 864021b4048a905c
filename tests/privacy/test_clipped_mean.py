"""The noisy mean against closed forms, statistics and TensorFlow Privacy's queries."""

import collections
import math

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff
import tensorflow_privacy as tfp
from scipy import stats

from tff_nlp.aggregation.compression import coding, random_k, rounding, signs, top_k
from tff_nlp.errors import UserError
from tff_nlp.execution import streaming
from tff_nlp.privacy import clipped_mean, guarantee, mechanism, noise
from tff_nlp.privacy.noise_secret import NoiseSecret

SHAPES = {"a": (3, 2), "b": (4,)}
SPECS = collections.OrderedDict((k, tf.TensorSpec(v, tf.float32)) for k, v in SHAPES.items())
SECRET = NoiseSecret(bytes(range(32)))
LARGE = [tf.TensorSpec([150, 100], tf.float32), tf.TensorSpec([5000], tf.float32)]


def updates(count, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    return [
        collections.OrderedDict(
            (k, np.float32(scale * rng.normal(size=v))) for k, v in SHAPES.items()
        )
        for _ in range(count)
    ]


def flat(update):
    return np.concatenate([np.ravel(part) for part in tf.nest.flatten(update)])


def mean_of(clipping=None, noises=None, *, multiplier=0.0, denominator=4.0, specs=SPECS):
    return clipped_mean.ClippedMean(
        clipping or clipped_mean.Clipping(1.0),
        noises or noise.IndependentNoise(),
        noise_multiplier=multiplier,
        denominator=denominator,
        specs=specs,
    )


def run(mean, rounds, state=None, *, first=0, key=lambda number: SECRET.key("round", number)):
    """Returns the results, the states and the measurements of rounds, each a list of records."""
    state = mean.initial_state() if state is None else state
    results, states, measured = [], [], []
    release = tf.function(mean.release)
    for number, records in enumerate(rounds, start=first):
        total = mean.zero()
        for record in records:
            total = mean.add(total, mean.prepare(state.clipping_norm, record))
        state = mechanism.with_key(state, tf.constant(key(number)))
        result, state, facts = release(total, state)
        results.append(result)
        states.append(state)
        measured.append({name: float(value) for name, value in facts.items()})
    return results, states, measured


def aggregate(factory, clients):
    value_type = tff.types.tensorflow_to_type(SPECS)
    process = factory.create(value_type)
    with tff.framework.get_context_stack().install(streaming.StreamingContext(["/CPU:0"])):
        state = mechanism.with_key(process.initialize(), SECRET.key("round", 0))
        return process.next(state, clients)


def test_without_noise_and_clipping_it_is_the_plain_mean():
    clients = updates(5)
    ours = clipped_mean.ClippedMeanFactory(
        clipped_mean.Clipping(1e3), noise.IndependentNoise(), noise_multiplier=0.0, denominator=5.0
    )
    plain = aggregate(tff.aggregators.UnweightedMeanFactory(), clients)
    # Our clipping factor is exactly 1. TFF adds in float32.
    np.testing.assert_allclose(
        flat(aggregate(ours, clients).result), flat(plain.result), rtol=1e-6, atol=1e-9
    )


def test_clipping_is_the_closed_form_and_tensorflow_privacys():
    clients = updates(6)
    (result,), _, (found,) = run(mean_of(clipped_mean.Clipping(2.0), denominator=6.0), [clients])
    norms = [np.linalg.norm(flat(c)) for c in clients]
    expected = sum(flat(c) * min(1, 2.0 / n) for c, n in zip(clients, norms, strict=True)) / 6
    np.testing.assert_allclose(flat(result), expected, rtol=1e-5, atol=1e-7)
    theirs, _, _ = _theirs(tfp.GaussianSumQuery(2.0, 0.0), clients)
    np.testing.assert_allclose(flat(result), flat(theirs) / 6, rtol=1e-5, atol=1e-7)
    assert found["clipped_share"] == pytest.approx(np.mean(np.array(norms) > 2.0))
    assert found["signal_norm"] == pytest.approx(np.linalg.norm(expected), rel=1e-5)


def _theirs(q, clients, state=None):
    state = q.initial_global_state() if state is None else state
    sample = q.initial_sample_state(clients[0])
    params = q.derive_sample_params(state)
    for client in clients:
        sample = q.accumulate_record(params, sample, client)
    return q.get_noised_result(sample, state)


def test_the_denominator_does_not_depend_on_who_came():
    one = updates(1)
    (result,), _, _ = run(mean_of(clipped_mean.Clipping(1e3), denominator=10.0), [one])
    np.testing.assert_allclose(flat(result), flat(one[0]) / 10, rtol=1e-6)
    (nobody,), _, (found,) = run(mean_of(multiplier=1.0), [[]])
    assert np.isfinite(flat(nobody)).all() and found["clipped_share"] == 0


def test_the_noise_has_the_stated_deviation_and_is_fresh_in_every_round():
    multiplier, norm, cohort = 1.3, 0.7, 4.0
    mean = mean_of(
        clipped_mean.Clipping(norm), multiplier=multiplier, denominator=cohort, specs=LARGE
    )
    results, _, measured = run(mean, [[], []])
    first, second = (flat(r) for r in results)
    stddev = multiplier * norm / cohort
    low, high = stats.chi2.ppf([1e-6, 1 - 1e-6], len(first)) / len(first)
    for draw, found in ((first, measured[0]), (second, measured[1])):
        assert low < np.mean((draw / stddev) ** 2) < high
        assert found["noise_norm"] == pytest.approx(np.linalg.norm(draw), rel=1e-5)
        # The noise is on a grid of about a sixteenth of its standard deviation.
        spread = np.random.default_rng(1).uniform(-1, 1, len(draw)) / 64
        assert stats.kstest(draw / stddev + spread, "norm").pvalue > 1e-6
    assert abs(np.corrcoef(first, second)[0, 1]) < 6 / np.sqrt(len(first))
    # Two tensors of the same shape also have different noise.
    pair = flat(run(mean_of(multiplier=1.0, specs=[LARGE[1]] * 2), [[]])[0][0]).reshape(2, -1)
    assert abs(np.corrcoef(*pair)[0, 1]) < 6 / np.sqrt(pair.shape[1])


def test_the_same_secret_repeats_another_differs_and_a_saved_state_goes_on():
    rounds = [updates(3, seed) for seed in range(4)]
    whole, states, _ = run(mean_of(multiplier=1.0), rounds)
    again, _, _ = run(mean_of(multiplier=1.0), rounds)
    resumed, _, _ = run(mean_of(multiplier=1.0), rounds[2:], states[1], first=2)
    other = NoiseSecret.fresh()
    others, _, _ = run(mean_of(multiplier=1.0), rounds, key=lambda n: other.key("round", n))
    for a, b in zip([*whole, *whole[2:]], [*again, *resumed], strict=True):
        np.testing.assert_array_equal(flat(a), flat(b))
    assert all(not np.allclose(flat(a), flat(b)) for a, b in zip(whole, others, strict=True))


def test_a_round_without_a_key_of_its_own_releases_nothing():
    """This holds for the first round, and for a second round with the key of the first."""
    mean = mean_of(multiplier=1.0)
    _, (state,), _ = run(mean, [updates(2)])
    assert not np.any(state.key)
    for unkeyed in (mean.initial_state(), state):
        result, _, _ = mean.release(mean.zero(), unkeyed)
        assert np.isnan(flat(result)).all()


def test_the_key_reaches_no_client():
    factory = clipped_mean.ClippedMeanFactory(
        clipped_mean.Clipping(1.0), noise.IndependentNoise(), noise_multiplier=1.0, denominator=4.0
    )
    process = factory.create(tff.types.tensorflow_to_type(SPECS))
    state_type, values_type = process.next.type_signature.parameter

    @tff.federated_computation(state_type, values_type)
    def next_round(state, values):
        output = process.next(state, values)
        return output.state, output.result

    form = tff.backends.mapreduce.get_map_reduce_form_for_computation(next_round)
    sent = tff.types.type_to_tf_tensor_specs(form.prepare.type_signature.result)
    assert {spec.dtype for spec in tf.nest.flatten(sent)} == {tf.float32}
    assert sum(spec.shape.num_elements() for spec in tf.nest.flatten(sent)) == 1


def test_noise_does_not_follow_from_one_number_of_32_bits():
    """The noise depends on the whole key: flipping any of its 256 bits gives independent noise.

    If it depended on 32 bits only, a search of 4 minutes would find them.
    """
    key = SECRET.key("round", 0)
    first = noise.standard_normals(tf.constant(key), [[2000]])[0].numpy()
    for word in range(8):
        for bit in (0, 31):
            other = key.copy()
            other[word] ^= np.uint32(1 << bit)
            drawn = noise.standard_normals(tf.constant(other), [[2000]])[0].numpy()
            assert abs(np.corrcoef(first, drawn)[0, 1]) < 6 / np.sqrt(2000)


def test_sums_are_exact_in_every_order_and_no_update_is_longer_than_the_norm():
    clients = updates(40, scale=3.0)
    mean = mean_of(clipped_mean.Clipping(0.7), denominator=40.0)
    norm = mean.initial_state().clipping_norm
    sent = [mean.prepare(norm, client) for client in clients]
    totals = []
    for order in (range(40), reversed(range(40))):
        total = mean.zero()
        for index in order:
            total = mean.add(total, sent[index])
        totals.append(np.concatenate([np.ravel(part) for part in total.update]))
    np.testing.assert_array_equal(*totals)
    exact = [
        math.fsum(column) for column in np.transpose([flat(s.update) for s in sent]).astype(float)
    ]
    np.testing.assert_array_equal(totals[0], exact)
    lengths = [math.sqrt(math.fsum(float(x) ** 2 for x in flat(s.update))) for s in sent]
    assert max(lengths) <= float(norm) and max(lengths) > 0.7 * (1 - 1e-5)


def test_released_sums_lie_on_a_grid_that_hides_the_low_digits_of_what_was_added():
    grid = 0.5 / 16  # the noise's deviation is .9
    results, _, _ = run(
        mean_of(clipped_mean.Clipping(0.9), multiplier=1.0, denominator=1.0), [updates(3)]
    )
    np.testing.assert_array_equal(flat(results[0]) % grid, 0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_update_that_is_not_finite_counts_as_zeros(value):
    good, bad = updates(2)
    bad["a"][1, 1] = value
    results, _, measured = run(mean_of(clipped_mean.Clipping(1e3), denominator=4.0), [[good, bad]])
    np.testing.assert_allclose(flat(results[0]), flat(good) / 4, rtol=1e-6)
    assert measured[0]["clipped_share"] == 0.5


def test_the_adaptive_norm_follows_tensorflow_privacys():
    clients = updates(8, scale=2.0)
    clipping = clipped_mean.Clipping(1.0, target_quantile=0.6, learning_rate=0.3)
    _, states, _ = run(mean_of(clipping, denominator=8.0), [clients] * 6)
    theirs = tfp.QuantileAdaptiveClipSumQuery(
        initial_l2_norm_clip=1.0,
        noise_multiplier=0.0,
        target_unclipped_quantile=0.6,
        learning_rate=0.3,
        clipped_count_stddev=0.0,
        expected_num_records=8,
        geometric_update=True,
    )
    state = theirs.initial_global_state()
    for ours in states:
        _, state, _ = _theirs(theirs, clients, state)
        norm = float(state.sum_state.l2_norm_clip)
        assert float(ours.clipping_norm) == pytest.approx(norm, rel=1e-5)


def test_the_count_of_adaptive_clipping_has_its_noise():
    stddev, rate, cohort = 3.0, 0.2, 100.0
    clipping = clipped_mean.Clipping(
        1.0, target_quantile=0.5, learning_rate=rate, count_stddev=stddev
    )
    draws, following = [], tf.function(clipping.next)
    for number in range(400):
        key = tf.constant(SECRET.key("round", number))
        new = following(tf.constant(1.0), tf.zeros([]), cohort, key)
        draws.append(np.log(float(new)) / rate * cohort)  # balanced: only noise changes the norm
    low, high = stats.chi2.ppf([1e-6, 1 - 1e-6], len(draws)) / len(draws)
    assert low < np.mean(np.square(draws)) / stddev**2 < high


def test_the_parts_of_adaptive_clippings_noise_cost_what_is_stated():
    built = mechanism.build_aggregator(
        mechanism.Mechanism(guarantee.ADAPTIVE_CLIPPING, 1.2, 100, clipping_norm=0.5)
    )
    assert float(aggregate(built, updates(2)).measurements["noise_multiplier"]) == pytest.approx(
        1.2, rel=1e-6
    )


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("efficient", "restart_every"),
    [
        (False, None),
        pytest.param(True, None, marks=pytest.mark.slow),
        pytest.param(False, 3, marks=pytest.mark.slow),
        (True, 3),
    ],
)
def test_the_tree_is_tensorflow_privacys(efficient, restart_every):
    """Here the nodes of both trees come from one key, instead of one key per round."""
    rounds, key = [updates(2, seed) for seed in range(8)], SECRET.key("tree")
    tree = noise.TreeNoise(0.9 * 2.0, efficient=efficient, restart_every=restart_every)
    mean = mean_of(clipped_mean.Clipping(2.0), tree, multiplier=0.9, denominator=1.0)
    ours, _, _ = run(mean, rounds, key=lambda number: key)
    theirs = tfp.TreeResidualSumQuery(
        record_specs=SPECS,
        noise_generator=noise.NodeNoise(0.9 * 2.0, SPECS, tf.constant(key)),
        clip_fn=lambda record, norm: tf.clip_by_global_norm(record, norm)[0],
        clip_value=2.0,
        use_efficient=efficient,
    )
    if restart_every:
        theirs = tfp.RestartQuery(theirs, tfp.restart_query.PeriodicRoundRestartIndicator(3))
    state = theirs.initial_global_state()
    for records, mean in zip(rounds, ours, strict=True):
        result, state, _ = _theirs(theirs, records, state)
        # Our results are on a grid of 1/16.
        np.testing.assert_allclose(flat(mean), flat(result), rtol=0, atol=1 / 32 + 1e-5)


@pytest.mark.thorough
def test_a_trees_noise_on_all_rounds_is_that_of_its_nodes():
    mean = mean_of(
        clipped_mean.Clipping(1.0),
        noise.TreeNoise(2.0, efficient=False),
        multiplier=2.0,
        denominator=1.0,
        specs=LARGE,
    )
    results, _, _ = run(mean, [[]] * 7)
    so_far = np.cumsum([flat(r) for r in results], axis=0)
    for rounds, total in enumerate(so_far, start=1):
        nodes = rounds.bit_count()  # complete subtrees that make up the first rounds
        assert np.std(total) == pytest.approx(2.0 * np.sqrt(nodes), rel=0.04)


@pytest.mark.parametrize(
    ("values", "flag"),
    [
        ({"norm": 0.0}, "clipping_norm"),
        ({"norm": float("nan")}, "clipping_norm"),
        ({"norm": 1.0, "target_quantile": 1.0}, "target_quantile"),
        ({"norm": 1.0, "learning_rate": 0.0}, "clipping_learning_rate"),
        ({"norm": 1.0, "count_stddev": -1.0}, "clipped_count_stddev"),
    ],
)
def test_clipping_out_of_range_names_the_flag(values, flag):
    with pytest.raises(UserError, match=flag):
        clipped_mean.Clipping(**values)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "codec", [random_k.RandomK(0.3), rounding.Rounding(4), top_k.TopK(0.5), signs.Signs()]
)
def test_with_a_codec_the_server_clips_what_it_has_decoded(codec):
    """Random numbers, made larger, are longer than the norm before they are clipped."""
    coded, clients = coding.Coding(codec, 0, error_feedback=False), updates(3, scale=0.3)
    factory = clipped_mean.ClippedMeanFactory(
        clipped_mean.Clipping(1.0),
        noise.IndependentNoise(),
        noise_multiplier=0.0,
        denominator=1.0,
        coding=coded,
    )
    assert factory.properties.clips_decoded
    total = np.zeros(10)
    for client in clients:
        decoded = np.concatenate([np.ravel(part) for part in coded.decode(coded.encode(client))])
        length = np.linalg.norm(decoded)
        total += decoded * min(1.0, 1.0 / length)
        alone = flat(aggregate(factory, [client]).result)
        assert np.linalg.norm(alone) <= 1.0
        np.testing.assert_allclose(alone, decoded * min(1.0, 1.0 / length), atol=1e-5)
    np.testing.assert_allclose(flat(aggregate(factory, clients).result), total, atol=1e-5)


def test_clients_that_add_the_noise_send_no_codec():
    with pytest.raises(UserError, match="sends integers already"):
        mechanism.build_aggregator(
            mechanism.Mechanism(guarantee.DISTRIBUTED, 1.0, 10), coding.Coding(signs.Signs(), 0)
        )
