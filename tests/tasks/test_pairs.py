"""Sentence pairs: gradients (also private ones) and rounds equal those of Keras and TFF."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.learning import conftest as berts
from tff_nlp.execution import streaming
from tff_nlp.learning import client_batches, client_work, composition, local_training, optimizers
from tff_nlp.learning.algorithms import fed_avg
from tff_nlp.learning.transforms import example_privacy, transform
from tff_nlp.models import classifier, encoders
from tff_nlp.privacy.noise_secret import NoiseSecret
from tff_nlp.tasks import classification, pairs

RATE = 0.5
WORDS = " ".join(berts.TEXTS).split()


@pytest.fixture(autouse=True)
def _streaming():
    with tff.framework.get_context_stack().install(streaming.StreamingContext(["/CPU:0"])):
        yield


@pytest.fixture(scope="module")
def model():
    encoder = encoders.random(berts.TEXTS, vocabulary_size=150, dropout=0.0, **berts.SIZES)
    return classifier.build(encoder, berts.LABELS, pairs=True)


def rows(model, seed, count):
    """Returns int32[count, length] ids of random pairs and int32[count] labels."""
    rng = np.random.default_rng(seed)

    def texts():
        return [" ".join(rng.choice(WORDS, size)) for size in rng.integers(1, 9, count)]

    flat, lengths = model.tokenizer.encode(texts(), berts.SIZES["max_tokens"], texts())
    x = tf.RaggedTensor.from_row_lengths(flat, lengths).to_tensor(model.tokenizer.pad_id).numpy()
    return x, rng.integers(0, berts.LABELS, count).astype(np.int32)


def keras_gradients(model, x, y):
    network = model.keras_model
    with tf.GradientTape() as tape:
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y, network(x, training=False))
        loss = tf.reduce_mean(losses)
    found = tape.gradient(loss, network.trainable_variables)
    return [tf.convert_to_tensor(gradient).numpy() for gradient in found]


def update(task, data, *, sparse=True, privacy=None):
    """Returns the update that a client sends after steps of SGD with learning rate 1/2."""
    weights, frozen = (tuple(map(tf.constant, w)) for w in task.initial_weights())
    key = NoiseSecret(bytes(range(32))).key("client", 0, 0)
    gradient_of = local_training.batch_gradient
    if privacy is not None:
        gradient_of = example_privacy.private_gradient(task, tf.constant(key), privacy)

    @tf.function(input_signature=[tf.data.DatasetSpec(task.batch_spec)])
    def run(dataset):
        deltas, _ = local_training.train(
            task,
            optimizers.ClientOptimizer("sgd", RATE),
            weights,
            frozen,
            client_batches.read(task, dataset),
            learning_rate=tf.constant(RATE),
            round_seed=tf.constant([1, 2]),
            transform=transform.chain([]),
            gradient_of=gradient_of,
            sparse=sparse and privacy is None,
        )
        return deltas

    return [delta.numpy() for delta in run(data)]


@pytest.mark.parametrize("sparse", [True, False])
def test_a_step_is_that_of_keras(model, sparse):
    """The sparse table renumbers token ids. Segment ids must come from the original ids."""
    x, y = rows(model, 1, 6)
    assert model.tokenizer.segment_ids(x).numpy().any()
    task = pairs.pairs(model)
    assert task.name == "pairs" and task.table.ids == "ids"
    expected = keras_gradients(model, x, y)
    segments = model.trainable_names.index("segment_embedding/embeddings")
    assert np.abs(expected[segments]).min(axis=1).max() > 0  # Both rows train.
    found = update(task, berts.batches(x, y, size=6), sparse=sparse)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, RATE * theirs, rtol=2e-4, atol=2e-6)


@pytest.mark.thorough
def test_private_steps_clip_pairs_one_by_one(model):
    x, y = rows(model, 2, 7)
    alone = [keras_gradients(model, x[i : i + 1], y[i : i + 1]) for i in range(len(x))]
    norms = [np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in one)) for one in alone]
    norm = float(np.median(norms))  # So that some are clipped and some are not.
    clipped = [[g * min(1.0, norm / n) for g in one] for one, n in zip(alone, norms, strict=True)]
    privacy = example_privacy.ExamplePrivacy(norm, 0.0, 9)
    found = update(pairs.pairs(model), berts.batches(x, y, size=7), privacy=privacy)
    for ours, *parts in zip(found, *clipped, strict=True):
        np.testing.assert_allclose(ours, RATE * sum(parts) / 9, rtol=2e-4, atol=2e-6)


@pytest.mark.slow
def test_tffs_algorithm_gives_the_same_as_ours(model):
    task = pairs.pairs(model)
    data = [berts.batches(*rows(model, seed, n)) for seed, n in enumerate((10, 7, 4))]
    sgd = tff.learning.optimizers.build_sgdm
    theirs = tff.learning.algorithms.build_weighted_fed_avg(
        task.functional_model(), sgd(0.1), sgd(1.0)
    )
    ours = fed_avg.fed_avg(task, client_work.LocalWork(optimizers.ClientOptimizer("sgd", 0.1)))
    state, own = theirs.initialize(), composition.initial_state(ours, task)
    for _ in range(2):
        output, found = theirs.next(state, data), ours.next(own, data)
        state, own = output.state, found.state
    expected = [np.asarray(w) for w in theirs.get_model_weights(state).trainable]
    berts.assert_same_weights(model, berts.trainable(ours, own), expected)
    accuracies = [o.metrics["client_work"]["train"]["accuracy"] for o in (output, found)]
    assert float(accuracies[0]) == pytest.approx(float(accuracies[1]), rel=1e-5)


def test_prediction_is_that_of_keras(model):
    x, _ = rows(model, 3, 5)
    weights = tff.learning.models.ModelWeights(*model.initial_weights())
    found = classification.predictor(model)(weights)(x)
    np.testing.assert_allclose(found, model.keras_model(x, training=False), atol=1e-6)


def test_parts_shared_with_classification(model):
    task = pairs.pairs(model, logit_adjustment=0.5)
    assert "`logit_adjustment`=0.5" in task.dependence
    same = {"batch_spec", "metrics", "report", "sum_specs", "table", "trainable_names"}
    single = classification.classification(model)
    for field in dataclasses.fields(task):
        if field.name in same:
            assert getattr(task, field.name) == getattr(single, field.name), field.name
    with pytest.raises(ValueError, match="reads single texts: build it with pairs=True"):
        pairs.pairs(berts.tiny_classifier())
