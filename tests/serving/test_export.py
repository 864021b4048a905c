"""A saved model takes texts and gives the same predictions as the classifier."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tff_nlp.errors import UserError, WriteError
from tff_nlp.models import classifier, encoders
from tff_nlp.serving import export, predictor, saved_models

TEXTS = ("The cat sat on the mat!", "A good film, not bad.", "外卖很好吃，下次再来。") * 5
ODD = [
    "",
    " \n\t ",
    "good\nfilm\r\nnot bad",
    "👍🏽 good 👎",
    "外卖很好吃 film",
    "good " * 500,
    "x" * 5000,
    "Café naïve",
    "[CLS] [SEP] [PAD]",
    "\x00\x07 good",
    "\ud800 lone",
    "good\0film, not bad",
    "cafe\u0301 \ufeffgood\x85film",
    "good film",
]
LABELS = ("schlecht", "gut", "好")
# The rounding error of two layers from tests/models/test_classifier.py, for logits up to 3.
ROUNDING = 1e-6
MAX_TOKENS = 12


@pytest.fixture(scope="module")
def model():
    encoder = encoders.random(
        TEXTS, layers=2, width=32, heads=2, vocabulary_size=120, max_tokens=16
    )
    return classifier.build(encoder, 3, trainable="top_1")


@pytest.fixture(scope="module")
def weights(model):
    """Weights that differ from the Keras model's own, because an export must use the given ones."""
    trainable, frozen = model.initial_weights()
    generator = np.random.default_rng(1)
    noise = [generator.normal(0, 0.3, w.shape).astype(np.float32) for w in trainable]
    changed = [w + n for w, n in zip(trainable, noise, strict=True)]
    # The labels have similar probabilities, so that different texts get different labels.
    changed[-1] = np.array([1.2, -0.8, 0.0], np.float32)
    return changed, frozen


@pytest.fixture(scope="module")
def saved(model, weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "model"
    export.export(folder, model, *weights, LABELS, MAX_TOKENS, info={"encoder": "random"})
    return folder


@pytest.fixture(scope="module")
def loaded(saved):
    return predictor.load(saved)


def expected(model, weights, texts):
    """Predicts each text alone, with `Tokenizer.encode` and `Classifier.logits`."""
    rows = []
    for text in texts:
        ids, _ = model.tokenizer.encode([text], MAX_TOKENS)
        logits = model.logits(*weights, ids[None], np.ones([1, len(ids)], bool), seed=None)
        rows.append(tf.nn.softmax(logits)[0].numpy())
    return np.stack(rows)


def test_saved_model_equals_the_classifier(model, weights, saved, loaded):
    right = expected(model, weights, ODD)
    assert len(set(right.argmax(axis=1))) > 1
    result = loaded.predict(ODD, batch_size=5)
    np.testing.assert_allclose(result.probabilities, right, atol=ROUNDING)
    assert result.labels == tuple(LABELS[i] for i in right.argmax(axis=1))
    outputs = tf.saved_model.load(str(saved)).signatures["serving_default"](
        texts=tf.constant(["good film", "bad"])
    )
    assert sorted(outputs) == ["label", "probabilities"]
    assert outputs["label"].numpy()[0].decode() == result.labels[-1]


def test_text_after_a_nul_is_read(loaded):
    """NUL counts as a blank, as in the readers of corpora."""
    texts = ["good film\0 but not bad", "good film", "good film  but not bad"]
    cut, short, blank = loaded.predict(texts).probabilities
    np.testing.assert_allclose(cut, blank, atol=ROUNDING)
    assert not np.allclose(cut, short, atol=1e-4)


def test_token_counts(model, loaded):
    texts = ["good film", "good " * 50, "", "good \U0001f993"]
    counts = loaded.count_tokens(texts, batch_size=2)
    whole = model.tokenizer.whole_lengths(texts) - 2
    assert (counts.texts, counts.texts_cut) == (4, 1)
    assert counts.tokens == whole.sum()
    assert counts.tokens_dropped == whole.max() - (MAX_TOKENS - 2)
    assert counts.tokens_unknown == 1


@pytest.mark.thorough
def test_a_prefix_is_stripped_as_loading_does(model, weights, tmp_path):
    prefixed = tmp_path / "model"
    export.export(prefixed, model, *weights, LABELS, MAX_TOKENS, strip_prefix="=(good")
    found = predictor.load(prefixed).predict(
        ["=(good film", "\u3000\x1c=(good film", "x=(good film"]
    )
    right = expected(model, weights, ["film", "film", "x=(good film"])
    np.testing.assert_allclose(found.probabilities, right, atol=ROUNDING)


def test_no_texts_and_one_string(loaded):
    assert loaded.label_names == LABELS
    empty = loaded.predict([])
    assert (empty.labels, empty.probabilities.shape) == ((), (0, 3))
    with pytest.raises(TypeError, match="one string"):
        loaded.predict("good")


def test_info(model, saved):
    info = json.loads((saved / saved_models.INFO_FILE).read_text("utf-8"))
    assert info["label_names"] == list(LABELS)
    assert info["max_tokens"] == MAX_TOKENS
    assert info["tokenizer"]["fingerprint"] == model.tokenizer.fingerprint
    assert info["encoder"] == "random"
    assert info["tokenizer"]["style"] == "unicode"
    assert (info["tokenizer"]["lowercase"], info["tokenizer"]["strip_accents"]) == (True, False)


@pytest.mark.thorough
def test_fresh_process(model, weights, saved, serve_in_fresh_process):
    alone, probabilities = serve_in_fresh_process(saved, ODD)
    assert any(name in alone for name in (repr(label.encode()) for label in LABELS))
    probabilities = json.loads(probabilities)
    np.testing.assert_allclose(probabilities, expected(model, weights, ODD), atol=ROUNDING)


@pytest.mark.thorough
def test_export_replaces_an_older_one_only(model, weights, saved, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "model")
    stale = tmp_path / ".model.partial"
    stale.mkdir()
    (stale / "half").write_text("written")
    export.export(folder, model, *weights, ("x", "y", "z"), MAX_TOKENS)
    assert predictor.load(folder).label_names == ("x", "y", "z")
    assert not stale.exists()
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter.txt").write_text("precious")
    with pytest.raises(UserError, match="thesis holds something that is not an exported model"):
        export.export(other, model, *weights, LABELS, MAX_TOKENS)
    with pytest.raises(UserError, match="chapter.txt is a file"):
        export.export(other / "chapter.txt", model, *weights, LABELS, MAX_TOKENS)
    with pytest.raises(WriteError, match=r"model: cannot be written \(Not a directory\)"):
        export.export(other / "chapter.txt" / "model", model, *weights, LABELS, MAX_TOKENS)
    assert (other / "chapter.txt").read_text() == "precious"


def test_a_full_disk_gives_one_line(model, weights, tmp_path, limited_files):
    limited_files(10_000)
    with pytest.raises(WriteError) as caught:
        export.export(tmp_path / "model", model, *weights, LABELS, MAX_TOKENS)
    limited_files(None)
    assert str(caught.value).startswith(f"{tmp_path / 'model'}: cannot be written (")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_wrong_arguments(model, weights, tmp_path):
    with pytest.raises(ValueError, match="3 labels, 2 names"):
        export.export(tmp_path / "m", model, *weights, ("a", "b"), MAX_TOKENS)
    with pytest.raises(UserError, match="max_tokens=17: the encoder reads 2 to 16"):
        export.export(tmp_path / "m", model, *weights, LABELS, 17)
    assert not list(tmp_path.iterdir())
