"""The noisy mean against closed forms, statistics and TensorFlow Privacy's own queries."""

import collections

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff
import tensorflow_privacy as tfp
from scipy import stats

from tff_nlp.errors import UserError
from tff_nlp.execution import streaming
from tff_nlp.privacy import clipped_mean, guarantee, mechanism, noise

SHAPES = {"a": (3, 2), "b": (4,)}
SPECS = collections.OrderedDict((k, tf.TensorSpec(v, tf.float32)) for k, v in SHAPES.items())
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


def query(clipping=None, noises=None, *, multiplier=0.0, denominator=4.0, specs=SPECS):
    return clipped_mean.ClippedMeanQuery(
        clipping or clipped_mean.Clipping(1.0),
        noises or noise.IndependentNoise((1, 2)),
        noise_multiplier=multiplier,
        denominator=denominator,
        specs=specs,
    )


def run(q, rounds, state=None):
    """Returns the results and the states of rounds, each a list of records."""
    state = q.initial_global_state() if state is None else state
    results, states = [], []
    for records in rounds:
        sample = q.initial_sample_state()
        params = q.derive_sample_params(state)
        for record in records:
            sample = q.accumulate_record(params, sample, record)
        result, state, _ = q.get_noised_result(sample, state)
        results.append(result)
        states.append(state)
    return results, states


def aggregate(factory, clients):
    value_type = tff.types.tensorflow_to_type(SPECS)
    process = factory.create(value_type)
    with tff.framework.get_context_stack().install(streaming.StreamingContext(["/CPU:0"])):
        return process.next(process.initialize(), clients)


def test_without_noise_and_clipping_it_is_the_plain_mean():
    clients = updates(5)
    ours = clipped_mean.ClippedMeanFactory(
        clipped_mean.Clipping(1e6),
        noise.IndependentNoise((1, 2)),
        noise_multiplier=0.0,
        denominator=5.0,
    )
    plain = aggregate(tff.aggregators.UnweightedMeanFactory(), clients).result
    # The sums are equal bit for bit, as the factor is exactly 1; TensorFlow may divide by a
    # constant through its reciprocal, which costs one unit in the last place.
    np.testing.assert_array_max_ulp(flat(aggregate(ours, clients).result), flat(plain), maxulp=1)


def test_clipping_is_the_closed_form_and_tensorflow_privacys():
    clients = updates(6)
    (result,), (state,) = run(query(clipped_mean.Clipping(2.0), denominator=6.0), [clients])
    norms = [np.linalg.norm(flat(c)) for c in clients]
    expected = sum(flat(c) * min(1, 2.0 / n) for c, n in zip(clients, norms, strict=True)) / 6
    np.testing.assert_allclose(flat(result), expected, rtol=1e-5, atol=1e-7)
    theirs, _, _ = _theirs(tfp.GaussianSumQuery(2.0, 0.0), clients)
    np.testing.assert_allclose(flat(result), flat(theirs) / 6, rtol=1e-5, atol=1e-7)
    assert float(state.clipped_share) == pytest.approx(np.mean(np.array(norms) > 2.0))
    assert float(state.signal_norm) == pytest.approx(np.linalg.norm(expected), rel=1e-5)


def _theirs(q, clients, state=None):
    state = q.initial_global_state() if state is None else state
    sample = q.initial_sample_state(clients[0])
    params = q.derive_sample_params(state)
    for client in clients:
        sample = q.accumulate_record(params, sample, client)
    return q.get_noised_result(sample, state)


def test_the_denominator_does_not_depend_on_who_came():
    one = updates(1)
    (result,), _ = run(query(clipped_mean.Clipping(1e6), denominator=10.0), [one])
    np.testing.assert_allclose(flat(result), flat(one[0]) / 10, rtol=1e-6)
    (nobody,), (state,) = run(query(multiplier=1.0), [[]])
    assert np.isfinite(flat(nobody)).all() and float(state.clipped_share) == 0


def test_the_noise_has_the_stated_deviation_and_is_fresh_in_every_round():
    multiplier, norm, cohort = 1.3, 0.7, 4.0
    q = query(clipped_mean.Clipping(norm), multiplier=multiplier, denominator=cohort, specs=LARGE)
    results, states = run(q, [[], []])
    first, second = (flat(r) for r in results)
    stddev = multiplier * norm / cohort
    low, high = stats.chi2.ppf([1e-6, 1 - 1e-6], len(first)) / len(first)
    for draw, state in ((first, states[0]), (second, states[1])):
        assert low < np.mean((draw / stddev) ** 2) < high
        assert float(state.noise_norm) == pytest.approx(np.linalg.norm(draw), rel=1e-5)
        assert stats.kstest(draw / stddev, "norm").pvalue > 1e-6
    assert abs(np.corrcoef(first, second)[0, 1]) < 6 / np.sqrt(len(first))
    # Tensors of one shape do not share their noise either.
    pair = flat(run(query(multiplier=1.0, specs=[LARGE[1]] * 2), [[]])[0][0]).reshape(2, -1)
    assert abs(np.corrcoef(*pair)[0, 1]) < 6 / np.sqrt(pair.shape[1])


def test_the_same_seed_repeats_another_differs_and_a_saved_state_goes_on():
    rounds = [updates(3, seed) for seed in range(4)]
    q = query(multiplier=1.0)
    whole, states = run(q, rounds)
    again, _ = run(query(multiplier=1.0), rounds)
    resumed, _ = run(q, rounds[2:], states[1])
    other, _ = run(query(noises=noise.IndependentNoise((1, 3)), multiplier=1.0), rounds)
    for a, b in zip([*whole, *whole[2:]], [*again, *resumed], strict=True):
        np.testing.assert_array_equal(flat(a), flat(b))
    assert all(not np.allclose(flat(a), flat(b)) for a, b in zip(whole, other, strict=True))


def test_the_adaptive_norm_follows_tensorflow_privacys():
    clients = updates(8, scale=2.0)
    clipping = clipped_mean.Clipping(1.0, target_quantile=0.6, learning_rate=0.3)
    _, states = run(query(clipping, denominator=8.0), [clients] * 6)
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
        1.0, target_quantile=0.5, learning_rate=rate, count_stddev=stddev, seed=(5, 6)
    )
    state = query(clipping, denominator=cohort).initial_global_state()
    draws = []
    for index in range(400):
        new = clipping.next(state.clipping_norm, tf.zeros([]), cohort, tf.constant(index))
        draws.append(np.log(float(new)) / rate * cohort)  # balanced: only noise moves the norm
    low, high = stats.chi2.ppf([1e-6, 1 - 1e-6], len(draws)) / len(draws)
    assert low < np.mean(np.square(draws)) / stddev**2 < high


def test_the_parts_of_adaptive_clippings_noise_cost_what_is_stated():
    built = mechanism.build_aggregator(
        mechanism.Mechanism(guarantee.ADAPTIVE_CLIPPING, 1.2, 100, clipping_norm=0.5), seed=1
    )
    process = built.create(tff.types.tensorflow_to_type(SPECS))
    with tff.framework.get_context_stack().install(streaming.StreamingContext(["/CPU:0"])):
        state = process.next(process.initialize(), updates(2)).state
    assert float(state.dp_event.noise_multiplier) == pytest.approx(1.2, rel=1e-6)


@pytest.mark.parametrize("efficient", [True, False])
@pytest.mark.parametrize("restart_every", [None, 3])
def test_the_tree_is_tensorflow_privacys(efficient, restart_every):
    rounds = [updates(2, seed) for seed in range(8)]
    tree = noise.TreeNoise(11, 0.9 * 2.0, efficient=efficient, restart_every=restart_every)
    ours, _ = run(query(clipped_mean.Clipping(2.0), tree, multiplier=0.9, denominator=1.0), rounds)
    theirs = tfp.TreeResidualSumQuery.build_l2_gaussian_query(
        2.0, 0.9, SPECS, noise_seed=11, use_efficient=efficient
    )
    if restart_every:
        theirs = tfp.RestartQuery(theirs, tfp.restart_query.PeriodicRoundRestartIndicator(3))
    state = theirs.initial_global_state()
    for records, mean in zip(rounds, ours, strict=True):
        result, state, _ = _theirs(theirs, records, state)
        np.testing.assert_allclose(flat(mean), flat(result), rtol=1e-4, atol=1e-5)


def test_a_trees_noise_on_all_rounds_is_that_of_its_nodes():
    q = query(
        clipped_mean.Clipping(1.0),
        noise.TreeNoise(3, 2.0, efficient=False),
        multiplier=2.0,
        denominator=1.0,
        specs=LARGE,
    )
    results, _ = run(q, [[]] * 7)
    so_far = np.cumsum([flat(r) for r in results], axis=0)
    for rounds, total in enumerate(so_far, start=1):
        nodes = rounds.bit_count()  # complete subtrees that make up the first rounds
        assert np.std(total) == pytest.approx(2.0 * np.sqrt(nodes), rel=0.04)


@pytest.mark.parametrize(
    ("values", "flag"),
    [
        ({"norm": 0.0}, "--clipping_norm"),
        ({"norm": float("nan")}, "--clipping_norm"),
        ({"norm": 1.0, "target_quantile": 1.0}, "--target_quantile"),
        ({"norm": 1.0, "learning_rate": 0.0}, "--clipping_learning_rate"),
    ],
)
def test_clipping_out_of_range_names_the_flag(values, flag):
    with pytest.raises(UserError, match=flag):
        clipped_mean.Clipping(**values)
