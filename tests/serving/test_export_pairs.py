"""A saved model of pairs takes two texts and gives the same predictions as the classifier."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tff_nlp.models import classifier, encoders
from tff_nlp.serving import export, predictor, saved_models

TEXTS = ("The cat sat on the mat!", "A good film, not bad.", "外卖很好吃，下次再来。") * 5
PAIRS = [
    ("good film", "bad film"),
    ("bad film", "good film"),
    ("good " * 500, "film"),
    ("cat", "mat " * 500),
    ("", "好吃"),
    ("[SEP] good", "\x00 film 👍🏽"),
]
LABELS = ("different", "same")
MAX_TOKENS = 12
# As in test_export.py.
ROUNDING = 1e-6


@pytest.fixture(scope="module")
def model():
    encoder = encoders.random(
        TEXTS, layers=2, width=32, heads=2, vocabulary_size=120, max_tokens=16
    )
    return classifier.build(encoder, 2, pairs=True)


@pytest.fixture(scope="module")
def weights(model):
    generator = np.random.default_rng(1)
    trainable, frozen = model.initial_weights()
    noise = [generator.normal(0, 0.3, w.shape).astype(np.float32) for w in trainable]
    changed = [w + n for w, n in zip(trainable, noise, strict=True)]
    changed[-1] = np.zeros(2, np.float32)
    return changed, frozen


@pytest.fixture(scope="module")
def saved(model, weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "model"
    export.export(folder, model, *weights, LABELS, MAX_TOKENS, strip_prefix="RE:")
    return folder


@pytest.fixture(scope="module")
def loaded(saved):
    return predictor.load(saved)


def expected(model, weights, pairs):
    """Predicts each pair alone, with `Tokenizer.encode` and `Classifier.logits`."""
    rows = []
    for first, second in pairs:
        ids, _ = model.tokenizer.encode([first], MAX_TOKENS, [second])
        end = ids.tolist().index(model.tokenizer.sep_id) + 1
        segments = (np.arange(len(ids)) >= end).astype(np.int32)
        mask = np.ones([1, len(ids)], bool)
        logits = model.logits(*weights, ids[None], mask, seed=None, segment_ids=segments[None])
        rows.append(tf.nn.softmax(logits)[0].numpy())
    return np.stack(rows)


@pytest.mark.thorough
def test_saved_model_equals_the_classifier(model, weights, loaded):
    right = expected(model, weights, PAIRS)
    assert loaded.reads_pairs and loaded.label_names == LABELS
    found = loaded.predict(PAIRS, batch_size=4)
    np.testing.assert_allclose(found.probabilities, right, atol=ROUNDING)
    assert found.labels == tuple(LABELS[i] for i in right.argmax(axis=1))
    assert np.abs(right[0] - right[1]).max() > 1e-3  # The order matters.
    assert loaded.predict([]).probabilities.shape == (0, 2)


def test_token_counts(loaded):
    counts = loaded.count_tokens([("good film", "film"), ("good " * 50, "film \U0001f993")])
    assert (counts.texts, counts.texts_cut, counts.tokens) == (2, 1, 3 + 52)
    assert counts.tokens_dropped == 52 - (MAX_TOKENS - 3)
    assert counts.tokens_unknown == 1


def test_a_prefix_is_stripped_from_both(model, weights, loaded):
    found = loaded.predict([("RE:good", " RE: film"), ("good", "RE film")])
    right = expected(model, weights, [("good", "film"), ("good", "RE film")])
    np.testing.assert_allclose(found.probabilities, right, atol=ROUNDING)


def test_the_wrong_kind_of_texts(loaded):
    with pytest.raises(TypeError, match="reads pairs of texts; the texts given are single texts"):
        loaded.predict(["good", "film"])
    with pytest.raises(TypeError, match="each has a first and a second one"):
        loaded.predict([("good", "film", "bad")])
    with pytest.raises(TypeError, match="one string"):
        loaded.predict("good")


def test_info_names_the_inputs(saved):
    info = json.loads((saved / saved_models.INFO_FILE).read_text("utf-8"))
    assert info["inputs"] == ["texts", "second_texts"]
    assert info["label_names"] == list(LABELS)
    assert any("second_texts=tf.constant([" in line for line in info["serving_code"])


@pytest.mark.slow
def test_fresh_process(model, weights, saved, serve_in_fresh_process):
    alone, probabilities = serve_in_fresh_process(saved, PAIRS)
    assert any(repr(label.encode()) in alone for label in LABELS)
    found = json.loads(probabilities)
    np.testing.assert_allclose(found, expected(model, weights, PAIRS), atol=ROUNDING)
