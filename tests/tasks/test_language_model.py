"""Language modelling as a task: its sums, and its training by our and by TFF's algorithms."""

import collections
import types

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.learning.conftest import assert_same_weights
from tff_nlp.execution import streaming
from tff_nlp.learning import client_work, composition, optimizers
from tff_nlp.learning.algorithms import fed_avg
from tff_nlp.learning.transforms.example_privacy import ExamplePrivacy
from tff_nlp.models import causal, decoders
from tff_nlp.tasks import language_model

TEXTS = ("to be or not to be", "that is the question", "the rest is silence") * 4
WORK = client_work.LocalWork(optimizers.ClientOptimizer("sgd", 0.1), weighting="uniform")


@pytest.fixture(scope="module")
def model():
    decoder = decoders.random(
        TEXTS, layers=1, width=16, heads=2, vocabulary_size=270, max_tokens=30, dropout=0.0, seed=3
    )
    return causal.build(decoder)


@pytest.fixture(autouse=True)
def _streaming():
    with tff.framework.get_context_stack().install(streaming.StreamingContext(["/CPU:0"])):
        yield


def padded(model, texts, width=30):
    flat, lengths = model.tokenizer.encode(list(texts), width)
    x = np.full([len(texts), width], model.tokenizer.pad_id, np.int32)
    for row, tokens in zip(x, np.split(flat, np.cumsum(lengths)[:-1]), strict=True):
        row[: len(tokens)] = tokens
    return x, lengths


def client(model, texts):
    x, _ = padded(model, texts)
    rows = collections.OrderedDict(x=x, y=np.zeros(len(x), np.int32))
    return tf.data.Dataset.from_tensor_slices(rows).batch(2)


def cohort(model):
    return [client(model, TEXTS[:3]), client(model, TEXTS[3:5]), client(model, TEXTS[5:10])]


def text_set(model, texts=TEXTS, width=30):
    x, lengths = padded(model, texts, width)
    return language_model.TextSet("test", len(x), lambda: [(x, np.arange(len(x)))], 100.0), lengths


def test_a_model_of_zeros_has_the_perplexity_of_its_vocabulary(model):
    task = language_model.language_model(model)
    trainable, frozen = task.initial_weights()
    nothing = types.SimpleNamespace(trainable=[0 * w for w in trainable], non_trainable=frozen)
    examples, lengths = text_set(model)
    found = task.score_set(nothing, examples)
    assert found.perplexity == pytest.approx(model.vocabulary_size, rel=1e-5)
    assert found.tokens == sum(lengths) - len(lengths)
    assert "no better than guessing" in found.warning()
    assert set(found.columns("test")) == set(examples.columns())


def test_padding_is_ignored_and_texts_are_weighted_by_tokens(model):
    task = language_model.language_model(model)
    weights, frozen = task.initial_weights()
    losses = []
    for width in (30, 24):
        x, lengths = padded(model, TEXTS[:3], width)
        found = task.losses(weights, frozen, task.inputs(tf.constant(x)), None)
        np.testing.assert_array_equal(found.weights, lengths - 1)
        losses.append(found.losses.numpy())
        # Keras's cross-entropy gives the same, text by text.
        logits = model.keras_model(x)
        for row, length, loss in zip(x, lengths, found.losses, strict=True):
            own = tf.keras.losses.sparse_categorical_crossentropy(
                row[1:length], logits[list(map(tuple, x)).index(tuple(row)), : length - 1], True
            )
            assert float(loss) == pytest.approx(float(tf.reduce_mean(own)), rel=1e-5)
    np.testing.assert_allclose(*losses, rtol=1e-5)


@pytest.mark.slow
def test_tffs_fed_avg_gives_the_same_as_ours(model):
    task = language_model.language_model(model)
    theirs = tff.learning.algorithms.build_unweighted_fed_avg(
        task.functional_model(),
        tff.learning.optimizers.build_sgdm(0.1),
        tff.learning.optimizers.build_sgdm(1.0),
    )
    ours = fed_avg.fed_avg(task, WORK)
    state, expected = composition.initial_state(ours, task), theirs.initialize()
    for _ in range(2):
        output, other = ours.next(state, cohort(model)), theirs.next(expected, cohort(model))
        state, expected = output.state, other.state
    weights = [
        [np.asarray(w) for w in p.get_model_weights(s).trainable]
        for p, s in ((ours, state), (theirs, expected))
    ]
    assert_same_weights(model, *weights)
    found, known = (o.metrics["client_work"]["train"] for o in (output, other))
    assert float(found["perplexity"]) == pytest.approx(float(known["perplexity"]), rel=1e-4)
    assert float(found["perplexity"]) == pytest.approx(np.exp(float(found["loss"])), rel=1e-5)


@pytest.mark.slow
def test_right_predictions_are_counted_in_tffs_graphs(model):
    """In these graphs, "==" compares objects instead of values."""
    task = language_model.language_model(model)
    # The rate is so small that the weights do not change.
    local = client_work.LocalWork(optimizers.ClientOptimizer("sgd", 1e-12))
    process = fed_avg.fed_avg(task, local)
    weights = model.initial_weights()[0]
    # A bias towards one token, through the last layer norm's offset along its embedding.
    shift = next(i for i, n in enumerate(model.trainable_names) if n == "layer_norm/beta")
    table = next(w for w, n in zip(weights, model.trainable_names, strict=True) if "token" in n)
    space = int(model.tokenizer.encode(["a b"], 10)[0][2])
    weights[shift] = 100 * table[space]
    state = process.set_model_weights(
        process.initialize(), tff.learning.models.ModelWeights(tuple(weights), ())
    )
    x, _ = padded(model, TEXTS[:3])
    real = x[:, 1:] != model.tokenizer.pad_id
    logits = model.logits(weights, [], x, x != model.tokenizer.pad_id, seed=None).numpy()[:, :-1]
    right = (logits.argmax(-1) == x[:, 1:]) & real
    assert right.sum() > 0
    found = process.next(state, [client(model, TEXTS[:3])]).metrics["client_work"]["train"]
    assert float(found["accuracy"]) == pytest.approx(right.sum() / real.sum())


@pytest.mark.thorough
def test_clients_are_weighted_by_tokens(model):
    task = language_model.language_model(model)
    local = client_work.LocalWork(optimizers.ClientOptimizer("sgd", 0.1))
    process = fed_avg.fed_avg(task, local)
    state = composition.initial_state(process, task)
    texts = (TEXTS[:1], TEXTS[:3])
    moved = []
    for members in ((0,), (1,), (0, 1)):
        after = process.next(state, [client(model, texts[m]) for m in members]).state
        moved.append(np.asarray(process.get_model_weights(after).trainable[-1]))
    tokens = [sum(padded(model, t)[1] - 1) for t in texts]
    mean = (tokens[0] * moved[0] + tokens[1] * moved[1]) / sum(tokens)
    np.testing.assert_allclose(moved[2], mean, atol=1e-6)


@pytest.mark.slow
def test_dp_sgd_without_noise_equals_training_without_privacy(model):
    task = language_model.language_model(model)
    privacy = ExamplePrivacy(clipping_norm=1e3, noise_multiplier=0.0, expected_batch_size=2)
    from tff_nlp.learning import client_input

    private = fed_avg.fed_avg(
        task,
        client_work.LocalWork(
            optimizers.ClientOptimizer("sgd", 0.1), weighting="uniform", example_privacy=privacy
        ),
    )
    # All texts have the same length, so weighting by tokens and by examples is the same.
    texts = TEXTS[:1] * 4
    data = client(model, texts)
    keyed = client_input.with_values(data, noise_key=np.arange(8, dtype=np.uint32))
    plain = fed_avg.fed_avg(task, WORK)
    ends = []
    for process, brought in ((private, keyed), (plain, data)):
        state = process.next(composition.initial_state(process, task), [brought]).state
        ends.append([np.asarray(w) for w in process.get_model_weights(state).trainable])
    for one, other in zip(*ends, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
