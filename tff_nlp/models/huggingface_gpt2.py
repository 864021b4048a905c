"""Imports Hugging Face GPT-2 checkpoints: config.json, vocab.json, merges.txt, safetensors."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from tff_nlp.errors import UserError, setting
from tff_nlp.models import functional
from tff_nlp.models.byte_pair_vocabulary import VOCABULARY_FILE, read_byte_pairs
from tff_nlp.models.byte_pairs import BytePairTokenizer
from tff_nlp.models.checkpoint_files import CONFIG, WEIGHTS, Tensors, fraction, positive, read_json
from tff_nlp.models.decoders import Decoder, build_backbone
from tff_nlp.models.encoders import check_weights_hold

_GELUS = {"gelu_new": "tanh", "gelu_pytorch_tanh": "tanh", "gelu_fast": "tanh", "gelu": "exact"}

# Name of a size in config.json -> its name in GPT2Backbone.
_SIZES = {
    "vocab_size": "vocabulary_size",
    "n_layer": "num_layers",
    "n_head": "num_heads",
    "n_embd": "hidden_dim",
    "n_positions": "max_sequence_length",
}
# Settings that can have only one value in an imported model. This value is also their default.
_FIXED = {
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
    "tie_word_embeddings": True,
}
_HEAD = "lm_head.weight"


def load_folder(folder: str | pathlib.Path, *, name: str | None = None) -> Decoder:
    """Loads a Hugging Face GPT-2 checkpoint.

    Args:
      folder: Folder with config.json, vocab.json, merges.txt and model.safetensors.
      name: The decoder's name. None for the folder.

    Raises:
      UserError: If a file or tensor is missing, is damaged, or does not fit this kind of model.
    """
    folder = pathlib.Path(folder)
    name = str(folder) if name is None else name
    flag = setting("encoder", name)
    config = read_json(folder / CONFIG, flag)
    sizes = _sizes(config, flag)
    tokenizer = BytePairTokenizer(*read_byte_pairs(folder, flag))
    if len(tokenizer.vocabulary) > sizes["vocabulary_size"]:
        raise UserError(
            f"{flag}: {VOCABULARY_FILE} has {len(tokenizer.vocabulary)} tokens, {CONFIG} says "
            f"vocab_size {sizes['vocabulary_size']}"
        )
    tensors = Tensors(folder / WEIGHTS, flag, lambda stored: stored.removeprefix("transformer."))
    check_weights_hold(flag, folder / WEIGHTS, {**sizes, "num_segments": 0})
    backbone = build_backbone(
        gelu=_GELUS[config.get("activation_function", "gelu_new")],
        dropout=fraction(config, "resid_pdrop", 0.1, flag),
        embedding_dropout=fraction(config, "embd_pdrop", 0.1, flag),
        attention_dropout=fraction(config, "attn_pdrop", 0.1, flag),
        layer_norm_epsilon=fraction(config, "layer_norm_epsilon", 1e-5, flag),
        **sizes,
    )
    _load_weights(backbone, tensors, flag)
    return Decoder(name, backbone, tokenizer, pretrained=True)


def _sizes(config: dict[str, Any], flag: str) -> dict[str, int]:
    """Returns the sizes for GPT2Backbone, after checking that it can compute this model."""
    kind = config.get("model_type")
    if kind != "gpt2":
        raise UserError(f"{flag}: {CONFIG} has model_type {kind!r}; only 'gpt2' can be imported")
    activation = config.get("activation_function", "gelu_new")
    if activation not in _GELUS:
        raise UserError(
            f"{flag}: {CONFIG} has activation_function {activation!r}; it can be "
            f"{', '.join(_GELUS)}"
        )
    for key, due in _FIXED.items():
        if config.get(key, due) is not due:
            raise UserError(f"{flag}: {CONFIG} has {key} {config[key]!r}; it must be {due}")
    sizes = {ours: positive(config, theirs, flag) for theirs, ours in _SIZES.items()}
    inner = config.get("n_inner")
    sizes["intermediate_dim"] = (
        4 * sizes["hidden_dim"] if inner is None else positive(config, "n_inner", flag)
    )
    if sizes["hidden_dim"] % sizes["num_heads"]:
        raise UserError(
            f"{flag}: {CONFIG} has n_embd {sizes['hidden_dim']}, which n_head "
            f"{sizes['num_heads']} does not divide"
        )
    return sizes


def _load_weights(backbone: Any, tensors: Tensors, flag: str) -> None:
    table = (backbone.vocabulary_size, backbone.hidden_dim)
    values: dict[str, np.ndarray] = {
        "token_embedding/embeddings": tensors.read("wte.weight", table),
        "position_embedding/position_embeddings": tensors.read(
            "wpe.weight", (backbone.max_sequence_length, backbone.hidden_dim)
        ),
        **_norm(tensors, "layer_norm", "ln_f", backbone.hidden_dim),
    }
    if _HEAD in tensors and not np.array_equal(
        tensors.read(_HEAD, table), values["token_embedding/embeddings"]
    ):
        raise UserError(f"{flag}: {WEIGHTS}: {_HEAD} differs from wte.weight; it must be tied")
    for index in range(backbone.num_layers):
        values |= _layer(tensors, index, backbone.hidden_dim, backbone.intermediate_dim)
    for weight in functional.weights_of(backbone):
        # The attention weights have a separate axis for the heads.
        weight.variable.assign(values[weight.name].reshape(weight.variable.shape))


def _layer(tensors: Tensors, index: int, width: int, inner: int) -> Mapping[str, np.ndarray]:
    """Returns the weights of a layer. GPT-2's kernels are [in, out], like Keras's kernels."""
    ours, theirs = f"transformer_layer_{index}", f"h.{index}"
    attention = f"{ours}/self_attention"
    values = {
        **_norm(tensors, f"{ours}/self_attention_layer_norm", f"{theirs}.ln_1", width),
        **_norm(tensors, f"{ours}/feedforward_layer_norm", f"{theirs}.ln_2", width),
        **_dense(tensors, f"{attention}/attention_output", f"{theirs}.attn.c_proj", width, width),
        **_dense(
            tensors, f"{ours}/feedforward_intermediate_dense", f"{theirs}.mlp.c_fc", width, inner
        ),
        **_dense(tensors, f"{ours}/feedforward_output_dense", f"{theirs}.mlp.c_proj", inner, width),
    }
    # One kernel holds query, key and value side by side.
    joined = _dense(tensors, "", f"{theirs}.attn.c_attn", width, 3 * width)
    for kind, value in joined.items():
        for part, piece in zip(("query", "key", "value"), np.split(value, 3, -1), strict=True):
            values[f"{attention}/{part}{kind}"] = piece
    return values


def _dense(
    tensors: Tensors, ours: str, theirs: str, inputs: int, outputs: int
) -> dict[str, np.ndarray]:
    return {
        f"{ours}/kernel": tensors.read(f"{theirs}.weight", (inputs, outputs)),
        f"{ours}/bias": tensors.read(f"{theirs}.bias", (outputs,)),
    }


def _norm(tensors: Tensors, ours: str, theirs: str, width: int) -> dict[str, np.ndarray]:
    return {
        f"{ours}/gamma": tensors.read(f"{theirs}.weight", (width,)),
        f"{ours}/beta": tensors.read(f"{theirs}.bias", (width,)),
    }
