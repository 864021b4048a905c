"""A linear softmax model in TFF and in NumPy, with public rows, for algorithms that distil."""

import collections

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp.learning import distillation
from tff_nlp.tasks import foreign_model

FEATURES, CATEGORIES, PUBLIC = 4, 3, 7
# The batches of the public rows hold them in another order.
POSITIONS = (np.array([4, 0, 6]), np.array([1]), np.array([5, 2, 3]))
_RNG = np.random.default_rng(0)
START = _RNG.normal(size=(FEATURES, CATEGORIES)).astype(np.float32)
ROWS = _RNG.normal(size=(PUBLIC, FEATURES)).astype(np.float32)


def task(start=START):
    """The task of a model that reads as many features as its weights have rows."""
    spec = collections.OrderedDict(
        x=tf.TensorSpec([None, FEATURES], tf.float32), y=tf.TensorSpec([None], tf.int32)
    )

    @tf.function
    def predict(weights, x, training=True):
        return tf.matmul(x[:, : len(start)], weights[0][0])

    @tf.function
    def loss(output, label, sample_weight=None):
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(label, output))

    model = tff.learning.models.FunctionalModel(
        initial_weights=((start,), ()),
        predict_on_batch_fn=predict,
        loss_fn=loss,
        input_spec=spec,
    )
    return foreign_model.from_functional_model(model, categories=CATEGORIES)


def public():
    return distillation.PublicTexts([ROWS[p] for p in POSITIONS], POSITIONS)


def examples(seed, count):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, FEATURES)).astype(np.float32)
    return x, rng.integers(0, CATEGORIES, count).astype(np.int32)


def dataset(seed, count, *, size=4):
    x, y = examples(seed, count)
    return tf.data.Dataset.from_tensor_slices(collections.OrderedDict(x=x, y=y)).batch(size)


def softmax(logits):
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def step(weights, x, targets, rate):
    """One step of gradient descent on the mean cross-entropy with these probabilities."""
    return weights - rate * x.T @ (softmax(x @ weights) - targets) / len(x)


def train(weights, seed, count, rate, *, size=4):
    x, y = examples(seed, count)
    x = x[:, : len(weights)]
    targets = np.eye(CATEGORIES)[y]
    for start in range(0, count, size):
        rows = slice(start, start + size)
        weights = step(weights, x[rows], targets[rows], rate)
    return weights


def distil(weights, targets, rate, passes=1, batches=POSITIONS):
    for positions in batches * passes:
        weights = step(weights, ROWS[positions, : len(weights)], targets[positions], rate)
    return weights
