"""The language modelling task: next tokens of texts, cross-entropy per token, perplexity."""

import collections
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from tff_nlp.models import causal, next_token
from tff_nlp.tasks import language_scores, padded_texts, prediction
from tff_nlp.tasks import task as tasks
from tff_nlp.tasks.language_scores import LanguageScores, TextSet

# int32[batch, length] padded token ids. "y" is not read, because a text is its own target.
BATCH_SPEC = collections.OrderedDict(
    x=tf.TensorSpec([None, None], tf.int32), y=tf.TensorSpec([None], tf.int32)
)
_SUMS = {"num_correct": tf.TensorSpec([], tf.float32)}
REPORT = tasks.Report(
    headline="perplexity",
    higher_is_better=False,
    is_share=False,
    baseline="unigram_perplexity",
    baseline_name="guessing by frequency",
    panels=(
        tasks.Panel(
            "cross-entropy (nats per token)",
            (tasks.Curve("train_loss", "while training"), tasks.Curve("test_loss", "test")),
        ),
        tasks.Panel(
            "perplexity",
            (
                tasks.Curve("test_perplexity", "test"),
                tasks.Curve("validation_perplexity", "validation"),
                tasks.Curve("clients_mean_perplexity", "clients, mean"),
                tasks.Curve("clients_worst_decile_perplexity", "clients, worst tenth"),
                tasks.Curve("held_out_mean_perplexity", "held-out clients, mean"),
            ),
            baseline="guessing by frequency",
        ),
    ),
)


def language_model(model: causal.CausalModel) -> tasks.Task:
    """Returns the task of a causal language model.

    Losses and metrics are means per token, and clients are weighted by their number of tokens.

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
        factors=model.factors,
        one_example=padded_texts.one_text,
    )


def score(logits: tf.Tensor, ids: tf.Tensor, mask: tf.Tensor) -> tasks.Losses:
    """Returns the mean loss per token of each text, in nats, and the number of predicted tokens.

    Args:
      logits: float32[batch, length, vocabulary].
      ids: Token ids, int32[batch, length].
      mask: bool[batch, length], false at padding.
    """
    found = next_token.score(logits, ids, mask)
    tokens = tf.reduce_sum(found.weights, axis=1)
    losses = tf.math.divide_no_nan(tf.reduce_sum(found.losses, axis=1), tokens)
    return tasks.Losses(losses, tokens, {"num_correct": tf.reduce_sum(found.right)})


def finalize(sums: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the metrics "perplexity" and (next-token) "accuracy", computed from the sums."""
    tokens = sums["weight_sum"]
    return collections.OrderedDict(
        perplexity=tf.exp(tf.math.divide_no_nan(sums["loss_sum"], tokens)),
        accuracy=tf.math.divide_no_nan(sums["num_correct"], tokens),
    )


def scorer(
    model: causal.CausalModel,
) -> Callable[[Any, TextSet], LanguageScores]:
    """Returns the function (weights, set of texts) -> scores."""
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
        return language_scores.score(examples, found)

    return score_set
