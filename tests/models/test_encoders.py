"""Encoders by name: random, presets, folders."""

import json

import h5py
import keras_nlp
import numpy as np
import pytest
import tensorflow as tf

from tff_nlp.errors import UserError
from tff_nlp.models import encoders, pretrained
from tff_nlp.models.vocabulary import SPECIAL_TOKENS
from tff_nlp.models.words import WordRules

WORDS = [*SPECIAL_TOKENS, *"abcdefgh"]


@pytest.fixture
def preset(tmp_path):
    """Writes a preset's folder in KerasNLP's layout. KerasNLP's own writer needs Keras 3."""
    backbone = keras_nlp.models.BertBackbone(
        vocabulary_size=len(WORDS),
        num_layers=2,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        max_sequence_length=20,
    )
    tokenizer = keras_nlp.models.BertTokenizer(WORDS, lowercase=True)
    for value, name in ((backbone, "config.json"), (tokenizer, "tokenizer.json")):
        config = tf.keras.saving.serialize_keras_object(value)
        (tmp_path / name).write_text(json.dumps(config))
    (tmp_path / "metadata.json").write_text(json.dumps({"keras_version": "2.14.0"}))
    (tmp_path / "assets" / "tokenizer").mkdir(parents=True)
    tokenizer.save_assets(str(tmp_path / "assets" / "tokenizer"))
    backbone.save_weights(str(tmp_path / "model.weights.h5"))
    return tmp_path, backbone


def test_preset_folder(preset):
    folder, backbone = preset
    for name in (str(folder), f"preset:{folder}"):
        encoder = pretrained.load_encoder(name)
        for left, right in zip(backbone.get_weights(), encoder.backbone.get_weights(), strict=True):
            np.testing.assert_array_equal(left, right)
        assert encoder.tokenizer.vocabulary == tuple(WORDS)
        assert encoder.tokenizer.rules == WordRules(lowercase=True, strip_accents=False)
        assert encoder.pretrained


@pytest.mark.thorough
def test_gelu_of_a_preset_can_be_changed(preset):
    folder, backbone = preset
    inputs = {
        "token_ids": np.array([[2, 5, 6, 3]]),
        "segment_ids": np.zeros([1, 4], np.int32),
        "padding_mask": np.ones([1, 4], np.int32),
    }
    expected = backbone(inputs)["sequence_output"]
    kept = pretrained.load_encoder(str(folder)).backbone(inputs)["sequence_output"]
    np.testing.assert_array_equal(kept, expected)
    tanh = pretrained.load_encoder(str(folder), gelu="tanh").backbone(inputs)["sequence_output"]
    np.testing.assert_allclose(tanh, expected, atol=1e-6)
    exact = pretrained.load_encoder(str(folder), gelu="exact").backbone(inputs)["sequence_output"]
    assert (exact != tanh).numpy().any()
    with pytest.raises(UserError, match="gelu=relu: must be exact or tanh"):
        pretrained.load_encoder(str(folder), gelu="relu")


def test_preset_saved_by_a_later_keras(preset):
    """Keras 3.3 writes the names of the attention's parts without an underscore."""
    folder, backbone = preset
    with h5py.File(folder / "model.weights.h5", "r+") as file:
        for layer in ("transformer_encoder", "transformer_encoder_1"):
            attention = file[f"layers/{layer}/_self_attention_layer"]
            for part in ("query_dense", "key_dense", "value_dense", "output_dense"):
                attention.move("_" + part, part)
    before = (folder / "model.weights.h5").read_bytes()
    encoder = pretrained.load_encoder(str(folder))
    for left, right in zip(backbone.get_weights(), encoder.backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    assert (folder / "model.weights.h5").read_bytes() == before


def test_a_preset_with_absurd_sizes(preset):
    folder, _ = preset
    config = json.loads((folder / "config.json").read_text())
    config["config"]["hidden_dim"] = 10**9
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        UserError, match=r"config\.json describes [\d,]+ parameters, model\.weights"
    ):
        pretrained.load_encoder(str(folder))


def test_a_random_encoder_larger_than_memory_is_refused():
    with pytest.raises(UserError, match="encoder_width=100000000 encoder_layers=9: takes"):
        encoders.random(["a text"], width=10**8, layers=9, heads=1)


@pytest.mark.parametrize(("layers", "width"), [(1, 8), (3, 12)])
def test_parameters_are_counted_as_keras_does(layers, width):
    sizes = {
        "vocabulary_size": 40,
        "num_layers": layers,
        "hidden_dim": width,
        "intermediate_dim": 2 * width + 1,
        "max_sequence_length": 9,
        "num_heads": 2,
    }
    pooler = (width + 1) * width
    built = encoders.build_backbone(**sizes)
    assert encoders.count_parameters(**sizes) == built.count_params() - pooler


def test_damaged_preset(preset):
    folder, _ = preset
    (folder / "model.weights.h5").write_bytes(b"no" * 10_000)
    with pytest.raises(UserError, match="cannot load the KerasNLP preset") as error:
        pretrained.load_encoder(str(folder))
    assert "\n" not in str(error.value)


def test_preset_names_reach_keras_nlp(monkeypatch):
    asked = []

    def refuse(preset, *arguments, **keywords):
        asked.append(preset)
        raise ConnectionError("no\nnetwork")

    monkeypatch.setattr(keras_nlp.models.BertTokenizer, "from_preset", refuse)
    for name in ("bert_tiny_en_uncased", "preset:bert_tiny_en_uncased", "preset:kaggle://a/b/c/d"):
        with pytest.raises(UserError, match="cannot load the KerasNLP preset: no network"):
            pretrained.load_encoder(name)
    assert asked == ["bert_tiny_en_uncased"] * 2 + ["kaggle://a/b/c/d"]


def test_unknown_names(tmp_path):
    with pytest.raises(UserError, match="encoder=bert: neither .* bert_tiny_en_uncased"):
        pretrained.load_encoder("bert")
    with pytest.raises(UserError, match="config.json is missing"):
        pretrained.load_encoder(str(tmp_path))


def test_random_weights_have_berts_distribution(tiny, texts):
    encoder = tiny(width=64)
    assert not encoder.pretrained
    assert encoder.backbone.vocabulary_size == len(encoder.tokenizer.vocabulary)
    assert encoder.backbone.transformer_layers[0].dropout == 0.1
    kernels = np.concatenate([w.ravel() for w in encoder.backbone.get_weights() if w.ndim > 1])
    kernels = kernels[kernels != 0]
    # A normal distribution with deviation 0.02, truncated at two deviations, has 0.8796 times this
    # deviation. There are about 100,000 numbers. Allow five standard errors.
    assert abs(kernels.std() - 0.02 * 0.8796) < 2e-4
    assert np.abs(kernels).max() <= 0.04
    for weight in encoder.backbone.weights:
        if "gamma" in weight.name:
            assert (weight.numpy() == 1).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 30, "heads": 4}, "encoder_width=30: 4 heads do not divide it"),
        ({"layers": 0}, "encoder_layers=0"),
        ({"vocabulary_size": 3}, "vocabulary_size=3"),
    ],
)
def test_impossible_sizes(texts, arguments, message):
    with pytest.raises(UserError, match=message):
        encoders.random(texts, **arguments)
