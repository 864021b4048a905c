"""A saved language model takes texts and continues them in the same way as the model."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tff_nlp.errors import UserError
from tff_nlp.models import causal, decoders, generation
from tff_nlp.serving import export_text, predictor, saved_models, text_generator

TEXTS = ("The cat sat on the mat!", "A good film, not bad.", "外卖很好吃，下次再来。") * 5
PROMPTS = ["The cat", "", "外卖 👍", "\x00\x07 good\n", "good " * 50, "\ud800"]
SAMPLING = {"max_new_tokens": 7, "top_p": 0.9, "temperature": 1.5, "seed": 4}


@pytest.fixture(scope="module")
def model():
    decoder = decoders.random(
        TEXTS, layers=2, width=32, heads=2, vocabulary_size=280, max_tokens=20
    )
    return causal.build(decoder, trainable="top_1")


@pytest.fixture(scope="module")
def weights(model):
    """Weights that differ from the model's own, because an export must use the given ones."""
    generator = np.random.default_rng(1)
    return tuple(
        [w + generator.normal(0, 0.3, w.shape).astype(np.float32) for w in part]
        for part in model.initial_weights()
    )


@pytest.fixture(scope="module")
def saved(model, weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "model"
    fingerprint = export_text.export(
        folder, model, *weights, max_new_tokens=6, info={"encoder": "random"}
    )
    assert len(fingerprint) == 64
    return folder


@pytest.mark.thorough
def test_it_continues_texts_like_the_model(model, weights, saved):
    loaded = text_generator.load(saved)
    assert (loaded.max_tokens, loaded.max_new_tokens) == (20, 6)
    greedy = generation.generate(model, *weights, PROMPTS, max_new_tokens=6)
    assert loaded.generate(PROMPTS) == greedy
    drawn = generation.generate(model, *weights, PROMPTS, **SAMPLING)
    assert loaded.generate(PROMPTS, **SAMPLING) == drawn != greedy
    assert loaded.generate([]) == []
    counted = []
    loaded.generate(PROMPTS, batch_size=4, done=counted.append)
    assert counted == [4, 2]


def test_limits(saved):
    loaded = text_generator.load(saved)
    with pytest.raises(UserError, match="max_new_tokens=20"):
        loaded.generate(["x"], max_new_tokens=20)
    with pytest.raises(UserError, match="top_p=2"):
        loaded.generate(["x"], top_p=2)
    with pytest.raises(TypeError, match="one string"):
        loaded.generate("x")
    # A program that calls the graph directly gets at most what the model can do.
    outputs = loaded._model.signatures["sample"](
        texts=tf.constant(["x"]),
        max_new_tokens=tf.constant(1000),
        top_p=tf.constant(0.0),
        temperature=tf.constant(1.0),
        seed=tf.constant(0, tf.int64),
    )
    assert outputs["text"].shape == (1,)


@pytest.mark.slow
def test_fresh_process(model, weights, saved):
    info = json.loads((saved / saved_models.INFO_FILE).read_text("utf-8"))
    assert info["encoder"] == "random"
    assert (info["max_tokens"], info["max_new_tokens"]) == (20, 6)
    assert info["tokenizer"]["fingerprint"] == model.tokenizer.fingerprint
    code = "\n".join(info["serving_code"]) + (
        "\nimport sys, json;"
        "assert not [m for m in sys.modules if m.startswith(('tff_nlp', 'keras_nlp'))];"
        "texts = [t.encode('utf-8', 'replace') for t in json.loads(sys.argv[1])];"
        "out = model.signatures['serving_default'](texts=tf.constant(texts))['text'];"
        "print(json.dumps([t.decode() for t in out.numpy()]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(PROMPTS)],
        cwd=saved.parent,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"},
        capture_output=True,
        check=True,
        text=True,
    )
    expected = generation.generate(model, *weights, PROMPTS, max_new_tokens=6)
    assert json.loads(done.stdout.splitlines()[-1]) == expected


def test_other_kinds_of_models_are_refused(model, weights, saved, tmp_path):
    with pytest.raises(UserError, match="not a text classifier: no signature"):
        predictor.load(saved)
    tf.saved_model.save(tf.Module(), str(tmp_path))
    with pytest.raises(UserError, match="not a language model: no signature"):
        text_generator.load(tmp_path)
    with pytest.raises(UserError, match="max_new_tokens=20: must be at least 1 and below the 20"):
        export_text.export(tmp_path / "m", model, *weights, max_new_tokens=20)
    with pytest.raises(UserError, match="holds something that is not an exported model"):
        export_text.export(tmp_path, model, *weights, max_new_tokens=2)
