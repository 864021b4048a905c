"""DP-SGD inside a client, against gradients of examples taken one by one with Keras."""

import collections
import functools

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tests.learning.conftest import batches, client_rows, tiny_classifier
from tff_nlp import errors
from tff_nlp.learning import client_update, client_work
from tff_nlp.learning.example_privacy import ExamplePrivacy
from tff_nlp.learning.optimizers import ClientOptimizer

RATE = 0.5
SEED = (1, 2)


@functools.cache
def _traced(model, privacy):
    optimizer = ClientOptimizer("sgd", RATE)
    training = client_update.LocalTraining(optimizer, example_privacy=privacy)
    update = client_update.build_client_update(model, training)
    weights, frozen = (tuple(map(tf.constant, w)) for w in model.initial_weights())

    spec = tf.data.DatasetSpec(client_work.BATCH_SPEC)

    @tf.function(input_signature=[spec, tf.TensorSpec([2], tf.int32)])
    def run(dataset, seed):
        return update(weights, frozen, dataset, tf.constant(RATE), seed)

    return run


def update_of(model, data, privacy, seed=SEED):
    """Returns what a client sends after SGD with the rate 1/2, one array per weight."""
    deltas, sums = _traced(model, privacy)(data, tf.constant(seed, tf.int32))
    return [d.numpy() for d in deltas], sums


def one_by_one(model, x, y, norm):
    """Returns the sum of the clipped gradients, and the norms before clipping."""
    network = model.keras_model
    total, norms = [np.zeros(v.shape) for v in network.trainable_variables], []
    for tokens, label in zip(x, y, strict=True):
        with tf.GradientTape() as tape:
            logits = network(tokens[tf.newaxis], training=False)
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits([label], logits)
        gradients = tape.gradient(loss, network.trainable_variables)
        gradients = [tf.convert_to_tensor(g).numpy() for g in gradients]
        norms.append(np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in gradients)))
        total = [t + g * min(1.0, norm / norms[-1]) for t, g in zip(total, gradients, strict=True)]
    return total, np.array(norms)


@pytest.mark.parametrize("trainable", ["all", "no_embeddings", "head"])
def test_a_step_is_the_mean_of_gradients_clipped_one_by_one(trainable):
    model = tiny_classifier(trainable=trainable)
    x, y = client_rows(model, 3, 9)
    _, norms = one_by_one(model, x, y, np.inf)
    norm = float(np.median(norms))  # so that some are clipped and some are not
    expected, _ = one_by_one(model, x, y, norm)
    deltas, _ = update_of(model, batches(x, y, size=9), ExamplePrivacy(norm, 0.0, 12))
    for ours, total in zip(deltas, expected, strict=True):
        np.testing.assert_allclose(ours, RATE * total / 12, rtol=2e-4, atol=2e-6)


def test_without_noise_and_clipping_it_is_plain_training(model):
    x, y = client_rows(model, 4, 8)
    private, _ = update_of(model, batches(x, y, size=4), ExamplePrivacy(1e9, 0.0, 4))
    plain, _ = update_of(model, batches(x, y, size=4), None)
    for ours, theirs in zip(private, plain, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-6)


NOISY = ExamplePrivacy(clipping_norm=0.3, noise_multiplier=1.7, expected_batch_size=5)


def empty(count=1):
    """Batches that Poisson sampling left without examples."""
    rows = collections.OrderedDict(x=np.zeros([count, 0, 1], np.int32), y=np.zeros([count, 0]))
    data = tf.data.Dataset.from_tensor_slices(rows)
    return data.map(lambda e: collections.OrderedDict(x=e["x"], y=tf.cast(e["y"], tf.int32)))


def test_a_batch_of_nobody_is_noise_of_the_stated_deviation_on_every_weight(model):
    (deltas, sums), (again, _) = (update_of(model, empty(), NOISY) for _ in range(2))
    other, _ = update_of(model, empty(), NOISY, seed=(1, 3))
    noise, repeated, fresh = (
        np.concatenate([np.ravel(d) for d in u]) for u in (deltas, again, other)
    )
    np.testing.assert_array_equal(noise, repeated)
    assert abs(np.corrcoef(noise, fresh)[0, 1]) < 6 / np.sqrt(len(noise))
    stddev = RATE * NOISY.noise_multiplier * NOISY.clipping_norm / NOISY.expected_batch_size
    low, high = stats.chi2.ppf([1e-6, 1 - 1e-6], len(noise)) / len(noise)
    assert low < np.mean((noise / stddev) ** 2) < high
    # Also on the rows of tokens that the client does not have, which would tell that it has not.
    assert np.count_nonzero(deltas[model.token_embedding] == 0) == 0
    assert int(sums["num_examples"]) == 0 and float(sums["non_finite"]) == 0


def test_the_noise_of_steps_is_independent(model):
    (one, _), (two, _) = (update_of(model, empty(n), NOISY) for n in (1, 2))
    first = np.concatenate([np.ravel(d) for d in one])
    both = np.concatenate([np.ravel(d) for d in two])
    # Clients differ by their data, and both of these have none: the second has the first's step.
    assert abs(np.corrcoef(first, both - first)[0, 1]) < 6 / np.sqrt(len(first))
    assert np.std(both) == pytest.approx(np.sqrt(2) * np.std(first), rel=0.05)


@pytest.mark.parametrize(
    ("values", "flag"),
    [
        ((0.0, 1.0, 4), "--clipping_norm"),
        ((1.0, -1.0, 4), "--noise_multiplier"),
        ((1.0, float("nan"), 4), "--noise_multiplier"),
        ((1.0, 1.0, 0), "--batch_size"),
    ],
)
def test_values_out_of_range_name_the_flag(values, flag):
    with pytest.raises(errors.UserError, match=flag):
        ExamplePrivacy(*values)
