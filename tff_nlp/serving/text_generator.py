"""Continues texts with a saved model."""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tff_nlp import seeds
from tff_nlp.models.generation import check_max_new_tokens, check_sampling
from tff_nlp.models.vocabulary import as_bytes
from tff_nlp.serving import saved_models


@dataclasses.dataclass(frozen=True, eq=False)
class LoadedGenerator:
    """A loaded language model.

    Attributes:
      max_tokens: Maximum number of tokens of a prompt and its continuation together.
      max_new_tokens: Default maximum number of new tokens.
    """

    max_tokens: int
    max_new_tokens: int
    _model: Any = dataclasses.field(repr=False)

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int | None = None,
        top_p: float = 0.0,
        temperature: float = 1.0,
        seed: int = 0,
        batch_size: int = 16,
        done: Callable[[int], object] | None = None,
    ) -> list[str]:
        """Continues texts. The same arguments give the same texts.

        Args:
          prompts: Beginnings of the texts.
          max_new_tokens: Maximum number of new tokens per prompt. None for the model's default.
          top_p: Probability mass of top-p sampling, see `generation.sample`. 0 takes the most
            probable token at each position.
          temperature: The logits are divided by it before a token is drawn.
          seed: Seed of the draws.
          batch_size: Number of prompts at a time.
          done: Function that is called after each batch with its number of prompts.

        Returns:
          The continuation of each prompt, without the prompt itself.

        Raises:
          UserError: If a number is not possible.
          TypeError: If `prompts` is one string.
        """
        if isinstance(prompts, str):
            raise TypeError("prompts must be a sequence of strings, not one string")
        if max_new_tokens is None:
            max_new_tokens = self.max_new_tokens
        check_max_new_tokens(max_new_tokens, self.max_tokens)
        check_sampling(top_p, temperature)
        written: list[str] = []
        for start in range(0, len(prompts), batch_size):
            batch = as_bytes(prompts[start : start + batch_size])
            outputs = self._model.signatures["sample"](
                texts=tf.constant(batch, tf.string),
                max_new_tokens=tf.constant(max_new_tokens),
                top_p=tf.constant(top_p, tf.float32),
                temperature=tf.constant(temperature, tf.float32),
                seed=tf.constant(seeds.derive(seed, "generation", start), tf.int64),
            )
            written += [text.decode("utf-8") for text in outputs["text"].numpy()]
            if done is not None:
                done(len(batch))
        return written


def load(folder: str | pathlib.Path, *, flag: str = "model") -> LoadedGenerator:
    """Loads a language model that `export_text.export` wrote.

    Args:
      folder: Folder of the exported model.
      flag: Flag that named the folder, for messages.

    Raises:
      UserError: If the folder is missing or damaged, if it holds another kind of model, or if the
        model has changed since its run.
    """
    signatures = {"serving_default", "sample", "limits"}
    model = saved_models.load(pathlib.Path(folder), flag, "language model", signatures)
    limits = model.signatures["limits"]()
    return LoadedGenerator(int(limits["max_tokens"]), int(limits["max_new_tokens"]), model)
