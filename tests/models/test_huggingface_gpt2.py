"""Imported GPT-2 checkpoints compute the same as in PyTorch. Damaged ones give a one-line error.

The stored numbers come from transformers 5.24 on torch 2.15, float32, on CPU:
`GPT2LMHeadModel` of gpt2_checkpoint.CONFIG with gpt2_checkpoint.tensors().
"""

import json

import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf

from tests.models import gpt2_checkpoint
from tff_nlp.errors import UserError
from tff_nlp.models import causal, generation, huggingface_gpt2, pretrained

TOKEN_IDS = np.array([[262, 7, 256, 29, 199, 263], [262, 5, 261, 263, 0, 0]], np.int32)
MASK = np.array([[True] * 6, [True] * 4 + [False] * 2])
# Logits of 6 of 264 tokens at the first 4 positions of each row.
PYTORCH = {
    "gelu": [
        [
            [1.271848, -0.463169, -0.92834, 0.683916, 0.253789, 1.006791],
            [-2.002287, 3.545299, 3.404484, -3.569199, -3.41373, 0.570441],
            [0.526252, -2.942262, -2.281908, 2.717503, 3.04908, -1.688726],
            [-1.142461, 3.093278, 2.681052, -2.983904, -3.093489, 1.144764],
        ],
        [
            [1.271848, -0.463169, -0.92834, 0.683916, 0.253789, 1.006791],
            [-4.574774, 4.052987, 4.986098, -4.572696, -3.467738, -1.794389],
            [-1.959978, 2.695744, 2.798082, -2.80816, -2.512473, -0.034519],
            [0.574453, 1.367388, 0.668465, -1.086504, -1.57284, 1.661444],
        ],
    ],
    "gelu_new": [
        [
            [1.27188, -0.463263, -0.92842, 0.684006, 0.253884, 1.006753],
            [-2.002376, 3.545363, 3.40457, -3.569274, -3.413781, 0.570394],
            [0.526379, -2.942283, -2.281982, 2.717548, 3.049077, -1.688605],
            [-1.142562, 3.093371, 2.681165, -2.984009, -3.09357, 1.144727],
        ],
        [
            [1.27188, -0.463263, -0.92842, 0.684006, 0.253884, 1.006753],
            [-4.574784, 4.05318, 4.986236, -4.572868, -3.467943, -1.794252],
            [-1.959835, 2.695701, 2.797984, -2.808091, -2.512455, -0.034399],
            [0.574418, 1.367458, 0.66853, -1.086574, -1.572908, 1.66146],
        ],
    ],
}
# Logits are up to 5.1. The tolerance is about ten float32 roundings of such numbers, because both
# sides round.
ROUNDING = 1e-5


@pytest.fixture
def write_checkpoint(tmp_path):
    """Writes the checkpoint with changes and returns its folder."""

    def write(*, config=None, tensors=None, tokens=gpt2_checkpoint.TOKENS):
        tensors = gpt2_checkpoint.tensors() if tensors is None else tensors
        (tmp_path / "config.json").write_text(json.dumps(gpt2_checkpoint.CONFIG | (config or {})))
        ids = {token: number for number, token in enumerate(tokens)}
        (tmp_path / "vocab.json").write_text(json.dumps(ids), encoding="utf-8")
        merges = "\n".join(["#version: 0.2", *gpt2_checkpoint.MERGES, ""])
        (tmp_path / "merges.txt").write_text(merges, encoding="utf-8")
        safetensors.numpy.save_file(
            {name: np.ascontiguousarray(value) for name, value in tensors.items()},
            tmp_path / "model.safetensors",
        )
        return tmp_path

    return write


def logits(decoder):
    model = causal.build(decoder)
    found = model.logits(*model.initial_weights(), TOKEN_IDS, MASK, seed=None).numpy()
    assert found.shape == (2, 6, 264)
    return found[:, :4, [0, 1, 97, 256, 262, 263]]


@pytest.mark.parametrize("activation", sorted(PYTORCH))
def test_logits_equal_pytorch(write_checkpoint, activation):
    folder = write_checkpoint(config={"activation_function": activation})
    decoder = huggingface_gpt2.load_folder(folder)
    np.testing.assert_allclose(logits(decoder), PYTORCH[activation], atol=ROUNDING)
    assert decoder.pretrained
    assert decoder.name == str(folder)
    ids, _ = decoder.tokenizer.encode(["the cat"], 12)
    tokens = [decoder.tokenizer.vocabulary[number] for number in ids[1:-1]]
    assert tokens == ["the", "Ġ", "cat"]


def test_prefix_head_masks_and_half_precision(write_checkpoint):
    tensors = {f"transformer.{k}": v for k, v in gpt2_checkpoint.tensors().items()}
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"]
    tensors["transformer.h.0.attn.bias"] = np.tril(np.ones([1, 1, 12, 12], np.uint8))
    tensors["transformer.h.0.attn.masked_bias"] = np.float32(-1e4)
    decoder = pretrained.load_decoder(str(write_checkpoint(tensors=tensors)))
    np.testing.assert_allclose(logits(decoder), PYTORCH["gelu_new"], atol=ROUNDING)
    half = {k: v.astype(np.float16) for k, v in gpt2_checkpoint.tensors().items()}
    decoder = pretrained.load_decoder(str(write_checkpoint(tensors=half)))
    np.testing.assert_allclose(logits(decoder), PYTORCH["gelu_new"], atol=2e-2)  # float16: 2^-11


def test_a_row_without_a_token_is_never_written(write_checkpoint):
    """The table has 264 rows for 263 tokens. Published tables also have extra rows."""
    tensors = gpt2_checkpoint.tensors()
    tensors["wte.weight"][263] = 100 * tensors["ln_f.bias"]
    model = causal.build(huggingface_gpt2.load_folder(write_checkpoint(tensors=tensors)))
    weights = model.initial_weights()
    # After the first two tokens of the second row, the extra row has the highest logit.
    assert tf.argmax(model.logits(*weights, TOKEN_IDS, MASK, seed=None)[1, 1]) == 263
    ids = generation.continue_ids(
        model,
        *weights,
        tf.ragged.constant([[262, 5]], tf.int32),
        max_new_tokens=tf.constant(5),
        top_p=tf.constant(0.0),
        temperature=tf.constant(1.0),
        seed=tf.constant([0, 0]),
    )
    assert ids.row_lengths().numpy().tolist() == [5]
    assert (ids.flat_values < 263).numpy().all()


def test_config_reaches_the_layers(write_checkpoint):
    backbone = huggingface_gpt2.load_folder(
        write_checkpoint(config={"layer_norm_epsilon": 0.5})
    ).backbone
    layer = backbone.transformer_layers[0]
    assert layer._feedforward_layer_norm.epsilon == backbone.layer_norm.epsilon == 0.5
    assert layer._self_attention_dropout.rate == layer._feedforward_dropout.rate == 0.1
    assert backbone.embeddings_dropout.rate == 0.2
    assert layer._self_attention_layer._dropout_layer.rate == 0.3


def without(name):
    return lambda tensors: {k: v for k, v in tensors.items() if k != name}


def changed(name, value):
    return lambda tensors: tensors | {name: value}


KERNEL = "h.1.attn.c_attn.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without(KERNEL), f"model.safetensors: tensor {KERNEL} is missing"),
        (without("ln_f.bias"), "tensor ln_f.bias is missing"),
        (
            changed(KERNEL, np.zeros((48, 16), np.float32)),
            rf"{KERNEL} has shape \[48, 16\], config.json says \[16, 48\]",
        ),
        (changed("wte.weight", np.zeros((263, 16), np.float32)), r"says \[264, 16\]"),
        (changed(KERNEL, np.zeros((16, 48), np.int64)), "is I64; save it as float32"),
        (changed(KERNEL, np.full((16, 48), np.inf, np.float32)), "not finite"),
        (
            changed("lm_head.weight", np.ones((264, 16), np.float32)),
            "lm_head.weight differs from wte.weight; it must be tied",
        ),
    ],
)
def test_wrong_tensors(write_checkpoint, change, message):
    folder = write_checkpoint(tensors=change(gpt2_checkpoint.tensors()))
    with pytest.raises(UserError, match=message) as error:
        huggingface_gpt2.load_folder(folder)
    assert str(error.value).startswith(f"encoder={folder}: model.safetensors")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "bert"}, "model_type 'bert'; only 'gpt2'"),
        ({"activation_function": "relu"}, "activation_function 'relu'"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx True"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings False; it must be True"),
        ({"n_embd": "16"}, "n_embd '16'; it must be a positive integer"),
        ({"n_inner": 0}, "n_inner 0; it must be a positive integer"),
        ({"n_head": 5}, "n_head 5 does not divide"),
        ({"attn_pdrop": 1}, "attn_pdrop 1; it must be at least 0 and below 1"),
        ({"vocab_size": 262}, "vocab.json has 263 tokens, config.json says vocab_size 262"),
        ({"n_embd": 10**6}, r"config.json describes [\d,]+ parameters, model.safetensors has room"),
    ],
)
def test_wrong_config(write_checkpoint, config, message):
    with pytest.raises(UserError, match=message):
        huggingface_gpt2.load_folder(write_checkpoint(config=config))


def test_damaged_and_missing_files(write_checkpoint):
    folder = write_checkpoint()
    weights = folder / "model.safetensors"
    data = weights.read_bytes()
    for size in (0, 5, 200, len(data) - 1):
        weights.write_bytes(data[:size])
        with pytest.raises(UserError, match="model.safetensors is damaged") as error:
            huggingface_gpt2.load_folder(folder)
        assert "\n" not in str(error.value)
    for name in ("model.safetensors", "merges.txt", "vocab.json", "config.json"):
        (folder / name).unlink()
        with pytest.raises(UserError, match=f"encoder=.*{name} is missing"):
            huggingface_gpt2.load_folder(folder)
