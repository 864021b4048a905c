import numpy as np
import pytest
import tensorflow as tf

from tests.aggregation.robust import brute_force
from tff_nlp.aggregation.robust import (
    bulyan,
    centered_clipping,
    coordinates,
    geometric_median,
    krum,
)


def _updates(clients, seed):
    return np.random.default_rng(seed).normal(size=[clients, 6])


def _apply(rule, updates, *arguments):
    """Applies a rule to the updates as two tensors, and returns one vector."""
    updates = np.asarray(updates, np.float32)
    stack = (tf.constant(updates[:, :2]), tf.constant(updates[:, 2:].reshape(-1, 2, 2)))
    return np.concatenate([np.ravel(part) for part in rule(stack, *arguments)])


def _cut(vector):
    vector = np.asarray(vector, np.float32)
    return (tf.constant(vector[:2]), tf.constant(vector[2:].reshape(2, 2)))


COUNTING = [
    (krum.krum, brute_force.krum, 2, 3),
    (krum.multi_krum, brute_force.multi_krum, 2, 3),
    (coordinates.trimmed_mean, brute_force.trimmed_mean, 2, 1),
    (bulyan.bulyan, brute_force.bulyan, 4, 3),
]
OTHERS = [
    (coordinates.median, brute_force.median),
    (geometric_median.geometric_median, brute_force.geometric_median),
    (
        lambda stack: centered_clipping.centered_clipping(stack, _cut(np.full(6, 0.1)), None),
        lambda updates: brute_force.centered_clipping(updates, np.full(6, 0.1)),
    ),
    (
        lambda stack: centered_clipping.centered_clipping(stack, _cut(np.zeros(6)), 0.5),
        lambda updates: brute_force.centered_clipping(updates, np.zeros(6), 0.5),
    ),
]
NAMES = ["krum", "multi_krum", "trimmed_mean", "bulyan"]


@pytest.mark.parametrize("attackers", [0, 1, 2])
@pytest.mark.parametrize(("rule", "oracle", "factor", "rest"), COUNTING, ids=NAMES)
def test_counting_rules_equal_brute_force(rule, oracle, factor, rest, attackers):
    for extra in (0, 1, 4):
        updates = _updates(factor * attackers + rest + extra, seed=extra)
        found = _apply(rule, updates, tf.constant(attackers))
        np.testing.assert_allclose(found, oracle(updates, attackers), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(("rule", "oracle"), OTHERS, ids=["median", "geometric", "auto", "fixed"])
def test_other_rules_equal_brute_force(rule, oracle):
    for clients in (1, 4, 7):
        updates = _updates(clients, seed=clients)
        # Nelder-Mead ends within about 1e-5 of the geometric median.
        np.testing.assert_allclose(_apply(rule, updates), oracle(updates), atol=5e-5)


@pytest.mark.parametrize("outlier", [1e6, 1e30])
def test_outliers_do_not_move_the_result(outlier):
    honest = _updates(9, seed=3)
    updates = np.concatenate([honest[:4], np.full([2, 6], outlier), honest[4:]])
    span = np.abs(honest).max()
    for rule in (krum.krum, krum.multi_krum, coordinates.trimmed_mean, bulyan.bulyan):
        assert np.abs(_apply(rule, updates, tf.constant(2))).max() <= span
    for rule, _ in OTHERS:
        assert np.abs(_apply(rule, updates)).max() <= 3 * span


def test_the_order_of_clients_does_not_matter():
    updates, order = _updates(11, seed=5), np.random.default_rng(0).permutation(11)
    for rule, *_ in COUNTING:
        first, second = (_apply(rule, rows, tf.constant(2)) for rows in (updates, updates[order]))
        np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-6)
    for rule, _ in OTHERS:
        first, second = (_apply(rule, rows) for rows in (updates, updates[order]))
        np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-5)


def test_equal_updates_stay():
    for rule, *_ in COUNTING:
        np.testing.assert_allclose(_apply(rule, np.ones([11, 6]), tf.constant(2)), 1)
    for rule in (coordinates.median, geometric_median.geometric_median):
        np.testing.assert_allclose(_apply(rule, np.ones([4, 6])), 1)


def test_krum_adds_up_squared_norms_over_all_weights():
    # With norms that are not squared, or added up by weight, another update would win.
    updates = np.zeros([5, 6])
    updates[1:4, 0] = 3
    updates[0], updates[4] = 0, 2
    scores = brute_force.krum_scores(updates, 1)
    assert len(set(np.round(scores, 6))) > 1
    np.testing.assert_allclose(
        _apply(krum.krum, updates, tf.constant(1)), brute_force.krum(updates, 1)
    )
