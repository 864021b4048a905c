"""Language modelling: the next token of each text, cross-entropy per token, perplexity."""

import collections
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tff_nlp.models import causal, next_token
from tff_nlp.tasks import padded_texts, prediction
from tff_nlp.tasks import task as tasks

# int32[batch, length] padded token ids; what stands in "y" is not read: a text is its own target.
BATCH_SPEC = collections.OrderedDict(
    x=tf.TensorSpec([None, None], tf.int32), y=tf.TensorSpec([None], tf.int32)
)
_SUMS = {"num_correct": tf.TensorSpec([], tf.float32)}
REPORT = tasks.Report(
    headline="perplexity",
    higher_is_better=False,
    panels=(
        tasks.Panel(
            "cross-entropy (nats per token)",
            (tasks.Curve("train_loss", "while training"), tasks.Curve("test_loss", "test")),
        ),
        tasks.Panel(
            "perplexity",
            (
                tasks.Curve("test_perplexity", "test"),
                tasks.Curve("clients_perplexity", "clients"),
                tasks.Curve("held_out_perplexity", "held-out clients"),
            ),
            baseline="unigram",
        ),
    ),
)


def language_model(model: causal.CausalModel) -> tasks.Task:
    """Returns the task of a causal language model.

    A client weighs by its tokens, and so does every mean.

    Args:
      model: The model.
    """
    return tasks.Task(
        name="language_model",
        batch_spec=BATCH_SPEC,
        trainable_names=model.trainable_names,
        frozen_names=model.frozen_names,
        weight_specs=model.weight_specs,
        initial_weights=model.initial_weights,
        inputs=lambda x: padded_texts.masked(x, model.tokenizer.pad_id),
        predict=lambda trainable, frozen, inputs, seed: (
            model.logits(list(trainable), list(frozen), inputs["ids"], inputs["mask"], seed=seed),
            inputs["ids"],
            inputs["mask"],
        ),
        score=lambda output, y, statistics: score(*output),
        sum_specs=_SUMS,
        finalize=finalize,
        metrics=("perplexity", "accuracy"),
        score_set=scorer(model),
        report=REPORT,
        one_example=padded_texts.one_text,
    )


def score(logits: tf.Tensor, ids: tf.Tensor, mask: tf.Tensor) -> tasks.Losses:
    """Returns the mean loss per token of each text, and how many tokens were predicted.

    Args:
      logits: float32[batch, length, vocabulary].
      ids: int32[batch, length].
      mask: bool[batch, length], false where there is padding.
    """
    found = next_token.score(logits, ids, mask)
    tokens = tf.reduce_sum(found.weights, axis=1)
    losses = tf.math.divide_no_nan(tf.reduce_sum(found.losses, axis=1), tokens)
    return tasks.Losses(losses, tokens, {"num_correct": tf.reduce_sum(found.right)})


def finalize(sums: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns "perplexity" and "accuracy" of the next tokens from the sums."""
    tokens = sums["weight_sum"]
    return collections.OrderedDict(
        perplexity=tf.exp(tf.math.divide_no_nan(sums["loss_sum"], tokens)),
        accuracy=tf.math.divide_no_nan(sums["num_correct"], tokens),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class TextSet:
    """Texts to score a language model on.

    Attributes:
      name: "test", "clients" or "held_out".
      examples: How many texts there are.
      batches: Gives the texts anew at every call, as `prediction.Batches`.
      baseline: Perplexity of guessing by how often each token stands in the training texts.
    """

    name: str
    examples: int
    batches: prediction.Batches
    baseline: float

    def __len__(self) -> int:
        return self.examples

    def columns(self) -> list[str]:
        """Returns the names of the set's columns in metrics.csv."""
        return [f"{self.name}_{column}" for column in ("perplexity", "accuracy", "loss")]


@dataclasses.dataclass(frozen=True)
class LanguageScores:
    """How well a model predicts the tokens of an evaluation set.

    Attributes:
      examples: Number of texts.
      tokens: Number of tokens that were predicted.
      loss: Mean cross-entropy per token, in nats.
      perplexity: exp(loss).
      accuracy: Share of tokens that the model took for the most probable one.
      baseline: Perplexity of guessing by how often each token stands in the training texts.
    """

    examples: int
    tokens: int
    loss: float
    perplexity: float
    accuracy: float
    baseline: float

    def columns(self, name: str) -> Mapping[str, float]:
        """Returns the numbers of `TextSet.columns`, for the set of this name."""
        return {
            f"{name}_perplexity": self.perplexity,
            f"{name}_accuracy": self.accuracy,
            f"{name}_loss": self.loss,
        }

    def warning(self) -> str | None:
        """Returns a plain sentence if the model has learned nothing that counting does not give."""
        if self.perplexity < self.baseline:
            return None
        return (
            f"perplexity {self.perplexity:.1f} is no better than guessing by how often each token "
            f"stands in the training texts, {self.baseline:.1f}"
        )


def scorer(model: causal.CausalModel) -> Callable[[Any, TextSet], LanguageScores]:
    """Returns the function that scores weights on a set of texts."""
    trainable, frozen = (list(specs) for specs in model.weight_specs())

    @tf.function(input_signature=[trainable, frozen, tf.TensorSpec([None, None], tf.int32)])
    def sums(trainable: Any, frozen: Any, ids: tf.Tensor) -> tf.Tensor:
        mask = padded_texts.masked(ids, model.tokenizer.pad_id)["mask"]
        logits = model.logits(trainable, frozen, ids, mask, seed=None)
        found = next_token.score(logits, ids, mask)
        parts = (found.losses, found.weights, found.right)
        return tf.stack([tf.reduce_sum(part, axis=1) for part in parts], axis=1)

    def score_set(weights: Any, examples: TextSet) -> LanguageScores:
        trained, fixed = (
            [tf.convert_to_tensor(w) for w in part]
            for part in (weights.trainable, weights.non_trainable)
        )
        found = prediction.predict_all(
            examples, lambda ids: sums(trained, fixed, tf.constant(ids)).numpy(), 3
        )
        loss, tokens, right = found.astype(np.float64).sum(axis=0)
        return LanguageScores(
            examples=len(examples),
            tokens=int(tokens),
            loss=float(loss / max(tokens, 1.0)),
            perplexity=next_token.perplexity(float(loss), float(tokens)),
            accuracy=float(right / max(tokens, 1.0)),
            baseline=examples.baseline,
        )

    return score_set
