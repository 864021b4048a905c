import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.aggregation.robust import brute_force
from tff_nlp import errors
from tff_nlp.aggregation.robust import names, robust_mean
from tff_nlp.execution import streaming, worker

SPECS = (tf.TensorSpec([2], tf.float32), tf.TensorSpec([2, 2], tf.float32))
ORACLES = {
    names.KRUM: brute_force.krum,
    names.MULTI_KRUM: brute_force.multi_krum,
    names.TRIMMED_MEAN: brute_force.trimmed_mean,
    names.BULYAN: brute_force.bulyan,
    names.MEDIAN: lambda updates, _: brute_force.median(updates),
    names.GEOMETRIC_MEDIAN: lambda updates, _: brute_force.geometric_median(updates),
    names.MEAN: lambda updates, _: updates.mean(axis=0),
}


def _process(factory, specs=SPECS):
    types = (tff.types.tensorflow_to_type(specs), tff.TensorType(np.float32))
    return factory.create(*types)


def _cut(vector):
    vector = np.asarray(vector, np.float32)
    return vector[:2], vector[2:].reshape(2, 2)


def _joined(parts):
    return np.concatenate([np.ravel(part) for part in parts])


@pytest.fixture(scope="module", autouse=True)
def context():
    with tff.framework.get_context_stack().install(streaming.StreamingContext(["/CPU:0"] * 2)):
        yield


@pytest.mark.parametrize("rule", ORACLES)
def test_the_result_is_that_of_the_rule_whatever_clients_weigh(rule):
    updates = np.random.default_rng(1).normal(size=[8, 6])
    process = _process(robust_mean.RobustMeanFactory(rule, attackers=1))
    weights = [float(10**number) for number in range(8)]
    output = process.next(process.initialize(), [_cut(u) for u in updates], weights)
    np.testing.assert_allclose(
        _joined(output.result), ORACLES[rule](updates, 1), rtol=1e-4, atol=5e-5
    )
    assert output.measurements["compared_updates"] == 8


def test_the_same_in_tffs_worker():
    updates = [_cut(row) for row in np.random.default_rng(5).normal(size=[5, 6])]
    process = _process(robust_mean.RobustMeanFactory(names.CENTERED_CLIPPING))
    ours = process.next(process.initialize(), updates, [1.0] * 5)
    with tff.framework.get_context_stack().install(worker.worker_context()):
        theirs = process.next(process.initialize(), updates, [1.0] * 5)
    np.testing.assert_allclose(_joined(ours.result), _joined(theirs.result), rtol=1e-5, atol=1e-6)


def test_updates_that_were_not_finite_do_not_count():
    # They have the weight 0, and their numbers are zeros.
    updates = np.random.default_rng(2).normal(size=[5, 6]) + 10
    process = _process(robust_mean.RobustMeanFactory(names.MEDIAN))
    sent = [*updates, np.zeros(6), np.zeros(6)]
    output = process.next(process.initialize(), [_cut(u) for u in sent], [1.0] * 5 + [0.0] * 2)
    np.testing.assert_allclose(_joined(output.result), np.median(updates, axis=0), rtol=1e-5)
    assert output.measurements["compared_updates"] == 5


@pytest.mark.parametrize("rule", names.COMPARING)
def test_rounds_with_few_clients_have_a_finite_result(rule):
    process = _process(robust_mean.RobustMeanFactory(rule, attackers=2))
    for clients in (0, 1, 2, 3):
        updates = [_cut(np.ones(6))] * clients
        output = process.next(process.initialize(), updates, [1.0] * clients)
        np.testing.assert_allclose(_joined(output.result), np.full(6, float(clients > 0)))


def test_the_center_begins_at_the_last_result():
    updates = np.random.default_rng(3).normal(size=[2, 5, 6])
    process = _process(robust_mean.RobustMeanFactory(names.CENTERED_CLIPPING, radius=0.7))
    state, center = process.initialize(), np.zeros(6)
    for cohort in updates:
        output = process.next(state, [_cut(u) for u in cohort], [1.0] * 5)
        state, center = output.state, brute_force.centered_clipping(cohort, center, 0.7)
        np.testing.assert_allclose(_joined(output.result), center, rtol=1e-5, atol=1e-6)


def test_attackers_that_change_little_replace_their_updates():
    updates = np.random.default_rng(4).normal(size=[6, 6])
    factory = robust_mean.RobustMeanFactory(names.MEAN, little_is_enough=1.5)
    marked = robust_mean.MarkedUpdate(tf.TensorSpec([], tf.bool), SPECS)
    process = _process(factory, marked)
    sent = [
        robust_mean.MarkedUpdate(number < 2, _cut(update)) for number, update in enumerate(updates)
    ]
    output = process.next(process.initialize(), sent, [1.0] * 6)
    honest = updates[2:]
    little = honest.mean(axis=0) - 1.5 * honest.std(axis=0)
    expected = (honest.sum(axis=0) + 2 * little) / 6
    np.testing.assert_allclose(_joined(output.result), expected, rtol=1e-4, atol=1e-5)


def test_more_updates_than_memory_are_refused():
    factory = robust_mean.RobustMeanFactory(names.KRUM, clients=10, max_bytes=959)
    with pytest.raises(errors.UserError, match="aggregator=krum: it holds 4 copies of all updates"):
        _process(factory)
    _process(robust_mean.RobustMeanFactory(names.KRUM, clients=10, max_bytes=960))


def test_an_unknown_rule_is_refused():
    with pytest.raises(errors.UserError, match="aggregator=mode: choose one of krum, "):
        robust_mean.RobustMeanFactory("mode")


@pytest.mark.parametrize(
    ("rule", "clients", "most"),
    [("krum", 10, 3), ("bulyan", 10, 1), ("bulyan", 11, 2), ("median", 10, 4)],
)
def test_the_bounds_are_those_of_the_papers(rule, clients, most):
    # Krum: n >= 2 f + 3, Bulyan: n >= 4 f + 3, medians: n > 2 f.
    assert names.most_attackers(rule, clients) == most
    assert names.attackers_of(rule, clients, most) == most
    with pytest.raises(errors.UserError, match=f"byzantine_clients={most + 1}: .*take {most} or"):
        names.attackers_of(rule, clients, most + 1)
    assert names.attackers_of(rule, clients, None) == min(most, 2)


def test_too_few_clients_for_a_rule_are_refused():
    with pytest.raises(errors.UserError, match="clients_per_round=2: aggregator=krum needs 3"):
        names.attackers_of("krum", 2, None)
