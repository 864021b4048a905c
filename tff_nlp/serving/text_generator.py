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
      max_tokens: The most tokens that a prompt and what follows on it may have.
      max_new_tokens: How many tokens it writes where nothing else is asked for.
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
        """Continues texts; the same arguments give the same texts.

        Args:
          prompts: How the texts begin.
          max_new_tokens: The most tokens to write for each; the model's own number if None.
          top_p: 0 takes the most probable token at each place; else tokens are drawn, see
            `generation.sample`.
          temperature: The logits are divided by it before a token is drawn.
          seed: The seed of what is drawn.
          batch_size: Prompts at a time.
          done: Is called after each batch with its number of prompts.

        Returns:
          What follows on each prompt, without it.

        Raises:
          UserError: If a number is not possible.
          TypeError: If the prompts are one string.
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


def load(folder: str | pathlib.Path, *, flag: str = "--model") -> LoadedGenerator:
    """Loads what `export_text.export` wrote.

    Args:
      folder: The exported model.
      flag: What an error message starts with.

    Raises:
      UserError: If the folder is missing, damaged, holds another kind of model, or one that is no
        longer what its run wrote.
    """
    signatures = {"serving_default", "sample", "limits"}
    model = saved_models.load(pathlib.Path(folder), flag, "language model", signatures)
    limits = model.signatures["limits"]()
    return LoadedGenerator(int(limits["max_tokens"]), int(limits["max_new_tokens"]), model)
