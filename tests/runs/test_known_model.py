"""An attack on the gradient of a real network, from a tiny encoder."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp.models import classifier, encoders
from tff_nlp.models.adapters import adapter, lora
from tff_nlp.privacy.inversion import dager, span
from tff_nlp.runs.known_model import KnownModel

TEXTS = ["a good film about a dog", "bad plot and bad songs", "what a day", "dogs sing songs"]
WIDTH = 96


def build(low_rank=False, trainable="all"):
    """Returns a classifier with weights that are large enough for clear gradients."""
    encoder = encoders.random(
        TEXTS, layers=2, width=WIDTH, heads=4, vocabulary_size=300, max_tokens=24, dropout=0.0
    )
    kind = adapter.Adapter("lora", low_rank=lora.Lora(rank=4)) if low_rank else None
    model = classifier.build(encoder, 2, trainable=trainable, adapter=kind)
    generator = np.random.default_rng(0)
    values = [
        [tf.constant(w + 0.1 * generator.standard_normal(w.shape, np.float32)) for w in part]
        for part in model.initial_weights()
    ]
    return model, tff.learning.models.ModelWeights(*map(tuple, values))


def ids_of(model, text):
    pieces = model.tokenizer.pieces(tf.constant([text])).to_list()[0]
    return (model.tokenizer.cls_id, *pieces, model.tokenizer.sep_id)


def update_of(model, weights, texts):
    """The gradient of a batch, as a client with plain SGD sends it."""
    rows = [ids_of(model, text) for text in texts]
    length = max(map(len, rows))
    ids = np.array([row + (model.tokenizer.pad_id,) * (length - len(row)) for row in rows])
    mask = np.array([[True] * len(row) + [False] * (length - len(row)) for row in rows])
    with tf.GradientTape() as tape:
        tape.watch(weights.trainable)
        logits = model.logits(weights.trainable, weights.non_trainable, ids, mask, seed=None)
        labels = np.arange(len(texts)) % 2
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
    zero = tf.UnconnectedGradients.ZERO
    gradients = tape.gradient(loss, weights.trainable, unconnected_gradients=zero)
    return [tf.convert_to_tensor(part).numpy() for part in gradients]


@pytest.fixture(scope="module")
def whole():
    model, weights = build()
    return model, weights, KnownModel(model, weights, 24)


def seen_of(known, update):
    revealed = known.revealed_tokens(update)
    return dager.Seen(
        known.all_tokens if revealed is None else revealed,
        *(span.of(known.readers_of_layer(update, layer)) for layer in (0, 1)),
    )


def test_the_first_inputs_are_those_of_the_network(whole):
    model, weights, known = whole
    ids = np.array([[2, 9, 11], [2, 4, 30]], np.int32)
    inputs = model.layer_inputs(0, weights.trainable, weights.non_trainable, ids)
    for position in range(3):
        found = known.first_inputs(ids[:, position], position)
        np.testing.assert_allclose(found, inputs[:, position], atol=1e-5)
    assert known.second_inputs(ids).shape == (2, 3, WIDTH)


@pytest.mark.parametrize("texts", [TEXTS[:1], TEXTS[1:2], [TEXTS[0], TEXTS[2]]])
def test_texts_come_back_word_by_word(whole, texts):
    model, weights, known = whole
    seen = seen_of(known, update_of(model, weights, texts))
    assert set(seen.tokens) == {token for text in texts for token in ids_of(model, text)}
    found = dager.recover(seen, known, len(texts), seed=0)
    assert sorted(" ".join(known.words(text)) for text in found) == sorted(texts)


def test_without_the_table_all_tokens_are_tried():
    model, weights = build(trainable="no_embeddings")
    known = KnownModel(model, weights, 24)
    update = update_of(model, weights, TEXTS[:1])
    assert known.revealed_tokens(update) is None
    found = dager.recover(seen_of(known, update), known, 1, seed=0)
    assert [" ".join(known.words(text)) for text in found] == TEXTS[:1]


def test_the_head_alone_shows_nothing():
    model, weights = build(trainable="head")
    known = KnownModel(model, weights, 24)
    seen = seen_of(known, update_of(model, weights, TEXTS[:1]))
    assert seen.first is None and dager.recover(seen, known, 1, seed=0) == []


def test_lora_shows_no_more_than_its_rank():
    model, weights = build(low_rank=True, trainable="adapter")
    known = KnownModel(model, weights, 24)
    update = update_of(model, weights, TEXTS[:1])
    assert known.readers_of_layer(update, 0).shape == (WIDTH, 2 * 4)
    seen = seen_of(known, update)
    assert seen.first.rank <= 8
    # While B is 0, the gradient of A is 0.
    first = [
        tf.zeros_like(value) if name.endswith("lora_b") else value
        for name, value in zip(model.trainable_names, weights.trainable, strict=True)
    ]
    before = tff.learning.models.ModelWeights(tuple(first), weights.non_trainable)
    assert seen_of(known, update_of(model, before, TEXTS[:1])).first is None


def test_noise_hides_texts(whole):
    model, weights, known = whole
    generator = np.random.default_rng(0)
    update = update_of(model, weights, TEXTS[:1])
    noisy = [part + 0.1 * generator.standard_normal(part.shape) for part in update]
    assert len(known.revealed_tokens(noisy)) == len(known.all_tokens)
    found = dager.recover(seen_of(known, noisy), known, 1, seed=0)
    assert all(" ".join(known.words(text)) != TEXTS[0] for text in found)
