"""Loads backbones and tokenizers from KerasNLP presets."""

import json
import pathlib
import shutil
import tempfile
from typing import Any

from tff_nlp.errors import UserError, setting, verbatim
from tff_nlp.models.encoders import Encoder, check_weights_hold, set_gelu, zero_variables
from tff_nlp.models.tokenizer import Tokenizer
from tff_nlp.models.words import WordRules

_WEIGHTS = "model.weights.h5"
_UNREADABLE = (
    OSError,
    KeyError,
    TypeError,
    RecursionError,
    UnicodeDecodeError,
    json.JSONDecodeError,
)
# Files of Keras 2 and early Keras 3 have an underscore before these names. Later files have none.
_LATE = tuple(f"_self_attention_layer/{part}_dense" for part in ("query", "key", "value", "output"))


def load_preset(preset: str, *, gelu: str | None = None) -> Encoder:
    """Loads a BERT from a KerasNLP preset.

    Built-in presets are downloaded from Kaggle at their first use.

    Args:
      preset: A built-in name, a handle ("kaggle://...") or a folder.
      gelu: "exact", "tanh", or None for KerasNLP's own.

    Raises:
      UserError: If the preset cannot be found, downloaded or read, or if it is not a BERT.
    """
    import keras_nlp

    models = keras_nlp.models
    backbone, tokenizer = load_parts(preset, models.BertBackbone, models.BertTokenizer)
    if gelu is not None:
        set_gelu(backbone, gelu)
    rules = WordRules(bool(tokenizer.lowercase), bool(tokenizer.strip_accents))
    vocabulary = tuple(tokenizer.get_vocabulary())
    return Encoder(preset, backbone, Tokenizer(vocabulary, rules), pretrained=True)


def load_parts(preset: str, backbone_class: Any, tokenizer_class: Any) -> tuple[Any, Any]:
    """Loads the backbone and the tokenizer of a KerasNLP preset.

    Args:
      preset: A built-in name, a handle or a folder.
      backbone_class: KerasNLP class of the backbone.
      tokenizer_class: KerasNLP class of the tokenizer.

    Raises:
      UserError: If the preset cannot be found, downloaded or read, or if it has another class.
    """
    from keras_nlp.src.utils import preset_utils

    _check_size(pathlib.Path(preset), setting("encoder", preset))
    try:
        tokenizer = tokenizer_class.from_preset(preset)
        with zero_variables():
            backbone = backbone_class.from_preset(preset, load_weights=False)
        # KerasNLP itself finds a preset's files with this function, but does not export it.
        _load_weights(backbone, preset_utils.get_file(preset, _WEIGHTS))
    except Exception as error:  # The download clients raise exceptions of many libraries.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{setting('encoder', preset)}: cannot load the KerasNLP preset: {verbatim(reason)}"
        ) from error
    rows = tokenizer.vocabulary_size()
    if rows > backbone.vocabulary_size:
        raise UserError(
            f"{setting('encoder', preset)}: the vocabulary has {rows} pieces, the token embedding "
            f"{backbone.vocabulary_size} rows"
        )
    return backbone, tokenizer


def _check_size(folder: pathlib.Path, flag: str) -> None:
    """Checks that the weights in a preset's folder are enough for its configuration."""
    weights = folder / _WEIGHTS
    if not weights.is_file():
        return
    try:
        sizes = json.loads((folder / "config.json").read_text(encoding="utf-8"))["config"]
        check_weights_hold(flag, weights, sizes)
    except _UNREADABLE as error:
        raise UserError(f"{flag}: config.json is damaged ({verbatim(error)})") from error


def _load_weights(backbone: Any, path: str) -> None:
    """Loads a weights file of Keras 2 or 3."""
    import h5py

    late: list[str] = []
    with h5py.File(path, "r") as file:
        file.visit(lambda name: late.append(name) if name.endswith(_LATE) else None)
    if not late:
        backbone.load_weights(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder) / _WEIGHTS
        shutil.copyfile(path, copy)
        with h5py.File(copy, "r+") as file:
            for name in late:
                parent, _, part = name.rpartition("/")
                file.move(name, f"{parent}/_{part}")
        backbone.load_weights(str(copy))
