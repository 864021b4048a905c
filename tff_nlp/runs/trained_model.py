"""Loads the classifier of a finished run with its weights. Its texts are not needed."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tff_nlp import silence_libraries
from tff_nlp.errors import UserError, setting
from tff_nlp.models import classifier, encoders, huggingface, pretrained
from tff_nlp.models.adapters import folding
from tff_nlp.models.tokenizer import Tokenizer
from tff_nlp.models.vocabulary import load_vocabulary
from tff_nlp.models.words import WordRules
from tff_nlp.program import run_directory
from tff_nlp.runs import adapters, configs, saved_run
from tff_nlp.runs.configs.task_names import PAIRS
from tff_nlp.serving import plain_bert, saved_models


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedModel:
    """A classifier with its weights.

    Attributes:
      model: The network.
      trainable: Arrays in the order of the model's `trainable_names`.
      frozen: Arrays in the order of the model's `frozen_names`.
      config: The model's config. Low-rank factors are part of the weights.
      label_names: Names of the labels, in index order.
      strip_prefix: Prefix to remove once from the start of each text.
      seed: Seed of the run.
    """

    model: classifier.Classifier
    trainable: Sequence[np.ndarray]
    frozen: Sequence[np.ndarray]
    config: configs.ModelConfig
    label_names: tuple[str, ...]
    strip_prefix: str
    seed: int

    def weights(self) -> dict[str, np.ndarray]:
        """Returns the weights by name."""
        names = (*self.model.trainable_names, *self.model.frozen_names)
        return dict(zip(names, (*self.trainable, *self.frozen), strict=True))

    def plain(self) -> plain_bert.PlainBert:
        """Returns the classifier as a plain BERT.

        Raises:
          UserError: If there is an adapter in the network.
        """
        return plain_bert.of_classifier(
            self.model,
            self.trainable,
            self.frozen,
            pooling=self.config.pooling,
            label_names=self.label_names,
            max_tokens=self.config.max_tokens,
            strip_prefix=self.strip_prefix,
        )


def load(folder: pathlib.Path, config: Mapping[str, Any], cache_dir: str = "") -> TrainedModel:
    """Loads the classifier of a finished run.

    Args:
      folder: Folder of the run.
      config: The run's configuration, from `saved_run.read`.
      cache_dir: Value of `cache_dir`, for the corpus of a run whose vocabulary is in no file.

    Raises:
      UserError: If the encoder or the exported model cannot be read, or they do not fit together.
    """
    silence_libraries.import_keras_nlp()
    flags = saved_run.group(folder, configs.ModelConfig, config)
    exported = saved_run.model_of(folder)
    try:
        info = json.loads((exported / saved_models.INFO_FILE).read_text(encoding="utf-8"))
        label_names = tuple(map(str, info["label_names"]))
        strip_prefix = str(info["strip_prefix"])
        rules = WordRules(
            **{f.name: info["tokenizer"][f.name] for f in dataclasses.fields(WordRules)}
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{setting('run', folder)}: the {saved_models.INFO_FILE} of its model cannot be read "
            f"({type(error).__name__})"
        ) from error
    model = classifier.build(
        _encoder(folder, flags, rules, cache_dir),
        len(label_names),
        pooling=flags.pooling,
        trainable=flags.trainable,
        pairs=config["task"] == PAIRS,
        adapter=adapters.adapter_of(flags),
    )
    # The run folded its low-rank factors into the matrices, which also changed their order.
    model, _, _ = folding.fold(model, *model.initial_weights())
    trainable, frozen = saved_run.weights(folder, flags.encoder, model)
    return TrainedModel(
        model,
        trainable,
        frozen,
        flags,
        label_names,
        strip_prefix,
        int(config["seed"]),
    )


def _encoder(
    folder: pathlib.Path, flags: configs.ModelConfig, rules: WordRules, cache_dir: str
) -> encoders.Encoder:
    """Returns the encoder of a run, with weights of no meaning if it began at random."""
    if flags.encoder != "random":
        return pretrained.load_encoder(
            flags.encoder, decode_html_entities=flags.decode_html_entities
        )
    stored = folder / run_directory.MODEL / huggingface.VOCABULARY
    if stored.exists():
        vocabulary = load_vocabulary(stored, flag=setting("run", folder))
    else:
        # Older versions did not write the vocabulary, so it is learned from the texts once more.
        from tff_nlp.runs import text_classifier

        run = saved_run.load(folder, cache_dir)
        vocabulary = text_classifier.encoder(run.texts.train, flags, run.seed).tokenizer.vocabulary
    backbone = encoders.build_backbone(
        vocabulary_size=len(vocabulary),
        num_layers=flags.encoder_layers,
        num_heads=flags.encoder_heads,
        hidden_dim=flags.encoder_width,
        intermediate_dim=4 * flags.encoder_width,
        max_sequence_length=flags.max_tokens,
    )
    return encoders.Encoder("random", backbone, Tokenizer(vocabulary, rules), pretrained=False)
