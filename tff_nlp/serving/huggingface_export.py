"""Writes a plain BERT as a folder that Hugging Face's transformers loads.

BERT's own classifier reads the first token through a tanh layer. That is the pooling "pooler". The
other poolings are written such that transformers computes the same:

- "mean": the head is linear, so the mean of its outputs for all tokens is its output for the mean
  of the tokens. The folder holds a BertForTokenClassification. Its user computes the mean, as the
  model card says.
- "cls": tanh(x / s) s is x for a large s, so the pooler is a diagonal matrix 1 / s.
"""

import pathlib
from typing import Any

import numpy as np

from tff_nlp.errors import UserError, setting
from tff_nlp.models import huggingface
from tff_nlp.models.checkpoint_files import CONFIG, WEIGHTS
from tff_nlp.models.vocabulary import CLS, MASK, PAD, SEP, UNKNOWN
from tff_nlp.serving import exported_folder, formats, model_card, tokenizer_json
from tff_nlp.serving.plain_bert import HEAD, PlainBert

_ACTIVATIONS = {"exact": "gelu", "tanh": "gelu_pytorch_tanh"}
# The outputs of a layer norm are below about 10, where tanh(x / 4096) * 4096 is x up to a factor
# of 1 - 2e-6. A power of two rounds nothing.
_LINEAR = 4096.0
_SPECIAL = {
    "cls_token": CLS,
    "mask_token": MASK,
    "pad_token": PAD,
    "sep_token": SEP,
    "unk_token": UNKNOWN,
}


def write(folder: pathlib.Path, bert: PlainBert, precision: str, facts: model_card.Facts) -> None:
    """Writes config.json, model.safetensors, the tokenizer's files and a model card, README.md.

    Args:
      folder: An existing folder.
      bert: The classifier.
      precision: "float32" or "float16", the type of the weights.
      facts: What the model card says about the run.

    Raises:
      UserError: If half floats cannot hold this pooling.
    """
    import safetensors.numpy

    if bert.pooling == "cls" and precision == formats.FLOAT16:
        raise UserError(
            f"{setting('precision', precision)}: half floats are too coarse for `pooling`=cls; "
            f"take {formats.FLOAT32}"
        )
    tensors = {
        name if name.startswith(HEAD) else f"bert.{name}": np.ascontiguousarray(
            value.astype(precision)
        )
        for name, value in _with_pooler(bert).items()
    }
    safetensors.numpy.save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    exported_folder.write_json(folder / CONFIG, _config(bert, precision))
    exported_folder.write_vocabulary(folder, bert.tokenizer)
    described = tokenizer_json.describe(bert.tokenizer, bert.max_tokens, knows_special=True)
    exported_folder.write_json(folder / tokenizer_json.FILE, described)
    exported_folder.write_json(folder / "tokenizer_config.json", _tokenizer_config(bert))
    exported_folder.write_json(folder / "special_tokens_map.json", _SPECIAL)
    card = model_card.text(bert, facts, _architecture(bert))
    (folder / "README.md").write_text(card, encoding="utf-8")


def _with_pooler(bert: PlainBert) -> dict[str, np.ndarray]:
    """Returns the tensors of the architecture."""
    tensors = dict(bert.tensors)
    if bert.pooling == "cls":
        tensors["pooler.dense.weight"] = np.eye(bert.width, dtype=np.float32) / _LINEAR
        tensors["pooler.dense.bias"] = np.zeros(bert.width, np.float32)
        tensors[f"{HEAD}.weight"] = tensors[f"{HEAD}.weight"] * _LINEAR
    return tensors


def _architecture(bert: PlainBert) -> str:
    return f"BertFor{'Token' if bert.pooling == 'mean' else 'Sequence'}Classification"


def _config(bert: PlainBert, precision: str) -> dict[str, Any]:
    def rows(name: str) -> int:
        return bert.tensors[name].shape[0]

    labels = dict(enumerate(bert.label_names))
    return {
        "architectures": [_architecture(bert)],
        "model_type": "bert",
        "vocab_size": rows("embeddings.word_embeddings.weight"),
        "hidden_size": bert.width,
        "num_hidden_layers": bert.layers,
        "num_attention_heads": bert.heads,
        "intermediate_size": rows("encoder.layer.0.intermediate.dense.weight"),
        "max_position_embeddings": rows("embeddings.position_embeddings.weight"),
        "type_vocab_size": rows("embeddings.token_type_embeddings.weight"),
        "position_embedding_type": "absolute",
        "hidden_act": _ACTIVATIONS[bert.gelu],
        "layer_norm_eps": bert.epsilon,
        "pad_token_id": bert.tokenizer.pad_id,
        "id2label": {str(number): name for number, name in labels.items()},
        "label2id": {name: number for number, name in labels.items()},
        "dtype": precision,
    }


def _tokenizer_config(bert: PlainBert) -> dict[str, Any]:
    rules = bert.tokenizer.rules
    return {
        # The class that takes tokenizer.json as it is.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "do_lower_case": rules.lowercase,
        "strip_accents": rules.strip_accents,
        "tokenize_chinese_chars": rules.split_chinese,
        "model_max_length": bert.max_tokens,
        "model_input_names": list(huggingface.INPUTS),
        # A text that contains "[SEP]" has no special token in it.
        "split_special_tokens": True,
        **_SPECIAL,
    }
