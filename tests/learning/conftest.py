"""A tiny BERT, made-up clients, and the streaming context for the tests of this room."""

import collections
import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp.execution import streaming
from tff_nlp.learning import composition
from tff_nlp.learning.algorithms import fed_avg
from tff_nlp.models import classifier, encoders
from tff_nlp.tasks import classification

TEXTS = (
    "the cat sat on the mat and the dog ran after a red ball",
    "a good movie with bad actors but the plot was not boring at all",
    "good food, bad service, never again; we waited one hour",
) * 3
LABELS = 3
SIZES = {"layers": 1, "width": 32, "heads": 2, "max_tokens": 16}


def tiny_classifier(*, dropout=0.0, trainable="all", pooling="mean"):
    encoder = encoders.random(TEXTS, vocabulary_size=150, dropout=dropout, **SIZES)
    return classifier.build(encoder, LABELS, trainable=trainable, pooling=pooling)


@pytest.fixture(scope="session")
def model():
    return tiny_classifier()


@pytest.fixture(scope="session")
def context():
    return streaming.StreamingContext(["/CPU:0"] * 2)


@pytest.fixture(autouse=True)
def _streaming(context):
    with tff.framework.get_context_stack().install(context):
        yield


@pytest.fixture
def oracle():
    yield Oracle
    # Keras has one kind of layer at a time: what TFF builds in a graph of its own turns each class
    # that it uses away from eager layers, until the next one is built eagerly.
    tiny_classifier()


def client_rows(model, seed, examples, tokens=None):
    """Returns int32[examples, 10] padded token ids and int32[examples] labels."""
    rng = np.random.default_rng(seed)
    tokens = np.arange(5, len(model.tokenizer.vocabulary)) if tokens is None else tokens
    x = rng.choice(tokens, (examples, 10)).astype(np.int32)
    for row, length in zip(x, rng.integers(3, 11, examples), strict=True):
        row[length:] = model.tokenizer.pad_id
    return x, rng.integers(0, LABELS, examples).astype(np.int32)


def batches(x, y, *, size=4, epochs=1):
    """Returns the rows as a data set of batches, the last one of an epoch partial."""
    rows = tf.data.Dataset.from_tensor_slices(collections.OrderedDict(x=x, y=y))
    return rows.batch(size).repeat(epochs)


def client(model, seed, examples=10, **arguments):
    return batches(*client_rows(model, seed, examples), **arguments)


def cohort(model, **arguments):
    """Clients of 10, 7, 4 and 13 examples."""
    return [client(model, s, n, **arguments) for s, n in enumerate((10, 7, 4, 13))]


def begin(model, local=None, *, algorithm=fed_avg.fed_avg, **arguments):
    """Returns a process and the state of its first round."""
    task = classification.classification(model)
    process = algorithm(task, local, **arguments)
    return process, composition.initial_state(process, task)


def train(model, local, rounds, data, *, algorithm=fed_avg.fed_avg, **arguments):
    """Returns the process, the state and the metrics after some rounds on the same clients."""
    process, state = begin(model, local, algorithm=algorithm, **arguments)
    metrics = []
    for _ in range(rounds):
        output = process.next(state, data)
        state = output.state
        metrics.append(output.metrics)
    return process, state, metrics


def trainable(process, state):
    return [np.asarray(w) for w in process.get_model_weights(state).trainable]


@dataclasses.dataclass(frozen=True)
class Oracle:
    """The same classifier as a Keras model that TFF builds in its own graph."""

    model: classifier.Classifier
    trainable: str = "all"

    def model_fn(self):
        backbone = encoders.build_backbone(
            vocabulary_size=len(self.model.tokenizer.vocabulary),
            num_layers=SIZES["layers"],
            num_heads=SIZES["heads"],
            hidden_dim=SIZES["width"],
            intermediate_dim=4 * SIZES["width"],
            dropout=0.0,
            max_sequence_length=SIZES["max_tokens"],
        )
        encoder = encoders.Encoder("copy", backbone, self.model.tokenizer, False)
        copy = classifier.build(encoder, LABELS, trainable=self.trainable)
        ids = tf.keras.Input([None], dtype=tf.int32)
        network = copy._network(classifier.PaddedInputs(self.model.tokenizer.pad_id)(ids))
        return tff.learning.models.from_keras_model(
            tf.keras.Model(ids, network),
            loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            input_spec=collections.OrderedDict(
                x=tf.TensorSpec([None, None], tf.int32), y=tf.TensorSpec([None], tf.int32)
            ),
            metrics=[tf.keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        )

    def train(self, process, rounds, data):
        """Returns the trainable weights and the last metrics of a TFF process."""
        weights = tff.learning.models.ModelWeights(*self.model.initial_weights())
        state = process.set_model_weights(process.initialize(), weights)
        for _ in range(rounds):
            output = process.next(state, data)
            state = output.state
        final = [np.asarray(w) for w in process.get_model_weights(state).trainable]
        return final, output.metrics


def assert_same_weights(model, ours, theirs, *, tolerance=2e-5):
    """Compares weights with how far they moved: float precision, not small steps, must agree.

    The tolerance is that of 300 roundings one after the other (by 2^-24 each) that all go one way.
    """
    initial, _ = model.initial_weights()
    moved = max(float(np.abs(w - w0).max()) for w, w0 in zip(ours, initial, strict=True))
    assert moved > 1e-3
    for name, one, other in zip(model.trainable_names, ours, theirs, strict=True):
        worst = float(np.abs(one - other).max())
        assert worst <= tolerance * max(moved, 1.0), f"{name}: {worst} of {moved}"
