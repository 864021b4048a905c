"""Decoders by name: random, presets, folders."""

import json

import keras_nlp
import numpy as np
import pytest
import tensorflow as tf

from tff_nlp.errors import UserError
from tff_nlp.models import decoders, encoders, functional, pretrained
from tff_nlp.models.byte_pairs import BytePairTokenizer

SIZES = {
    "num_layers": 2,
    "num_heads": 2,
    "hidden_dim": 16,
    "intermediate_dim": 32,
    "max_sequence_length": 20,
}


@pytest.fixture
def preset(tmp_path, texts):
    """Writes a preset's folder in KerasNLP's layout. KerasNLP's own writer needs Keras 3."""
    learned = BytePairTokenizer.train(texts, 270)
    ids = {token: number for number, token in enumerate(learned.vocabulary)}
    tokenizer = keras_nlp.models.GPT2Tokenizer(ids, [" ".join(pair) for pair in learned.merges])
    backbone = keras_nlp.models.GPT2Backbone(vocabulary_size=len(ids), **SIZES)
    for value, name in ((backbone, "config.json"), (tokenizer, "tokenizer.json")):
        config = tf.keras.saving.serialize_keras_object(value)
        (tmp_path / name).write_text(json.dumps(config))
    (tmp_path / "metadata.json").write_text(json.dumps({"keras_version": "2.14.0"}))
    (tmp_path / "assets" / "tokenizer").mkdir(parents=True)
    tokenizer.save_assets(str(tmp_path / "assets" / "tokenizer"))
    backbone.save_weights(str(tmp_path / "model.weights.h5"))
    return tmp_path, backbone, learned


def test_preset_folder(preset):
    folder, backbone, tokenizer = preset
    for name in (str(folder), f"preset:{folder}"):
        decoder = pretrained.load_decoder(name)
        for left, right in zip(backbone.get_weights(), decoder.backbone.get_weights(), strict=True):
            np.testing.assert_array_equal(left, right)
        assert decoder.tokenizer == tokenizer
        assert decoder.pretrained


def test_damaged_preset(preset):
    folder, _, _ = preset
    (folder / "model.weights.h5").write_bytes(b"no" * 10_000)
    with pytest.raises(UserError, match="cannot load the KerasNLP preset") as error:
        pretrained.load_decoder(str(folder))
    assert "\n" not in str(error.value)
    config = json.loads((folder / "config.json").read_text())
    config["config"]["hidden_dim"] = 10**9
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"config\.json describes [\d,]+ parameters"):
        pretrained.load_decoder(str(folder))


def test_an_encoder_preset_is_not_a_decoder(preset):
    with pytest.raises(UserError, match="cannot load the KerasNLP preset"):
        pretrained.load_encoder(str(preset[0]))


def test_presets_that_cannot_be_downloaded(monkeypatch):
    def unreachable(*_):
        raise OSError("no route\nto the hub")

    monkeypatch.setattr(keras_nlp.models.GPT2Tokenizer, "from_preset", unreachable)
    with pytest.raises(UserError, match="encoder=gpt2_base_en: cannot load the KerasNLP preset:"):
        pretrained.load_decoder("gpt2_base_en")
    with pytest.raises(UserError, match="encoder=gpt9: neither .* gpt2_base_en"):
        pretrained.load_decoder("gpt9")


def test_random_weights_have_gpt2s_distribution(texts):
    """Normal with standard deviation 0.02, divided by sqrt(2 * layers) for residual kernels."""
    decoder = decoders.random(texts, layers=3, width=64, heads=4, vocabulary_size=300, seed=5)
    assert decoder.backbone.vocabulary_size == len(decoder.tokenizer.vocabulary)
    assert not decoder.pretrained
    residual = 0
    for weight in functional.weights_of(decoder.backbone):
        value, kind = weight.variable.numpy(), weight.name.rpartition("/")[2]
        if kind == "gamma":
            assert (value == 1).all()
        elif kind in ("beta", "bias"):
            assert (value == 0).all()
        else:
            shrunk = "attention_output" in weight.name or "output_dense" in weight.name
            residual += shrunk
            deviation = 0.02 / 6**0.5 if shrunk else 0.02
            # The relative standard error of the deviation of n draws is 1 / sqrt(2 n). Allow five.
            assert abs(value.std() / deviation - 1) < 5 / (2 * value.size) ** 0.5, weight.name
            assert abs(value.mean()) < 5 * deviation / value.size**0.5
    assert residual == 6


def test_random_weights_depend_on_the_seed_alone(texts):
    def values(seed):
        sizes = {"layers": 1, "width": 8, "heads": 1, "vocabulary_size": 270}
        return decoders.random(texts, seed=seed, **sizes).backbone.get_weights()

    for one, two in zip(values(3), values(3), strict=True):
        np.testing.assert_array_equal(one, two)
    assert any((one != two).any() for one, two in zip(values(3), values(4), strict=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": 0}, "encoder_layers=0: must be 1 or more"),
        ({"width": 30, "heads": 4}, "encoder_width=30: 4 heads do not divide it"),
        ({"width": 10**8, "layers": 9, "heads": 1}, "encoder_width=100000000 .*: takes"),
        ({"vocabulary_size": 100}, "vocabulary_size=100: at least 257"),
        ({"dropout": 1.0}, "dropout=1.0: must be at least 0 and below 1"),
    ],
)
def test_impossible_sizes(arguments, message):
    with pytest.raises(UserError, match=message):
        decoders.random(["a text"], **arguments)


def test_parameters_are_counted_as_keras_does():
    sizes = {**SIZES, "vocabulary_size": 40}
    built = decoders.build_backbone(**sizes)
    assert encoders.count_parameters(**sizes, num_segments=0) == built.count_params()
