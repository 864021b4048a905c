"""The classification task: one label for each text, cross-entropy, accuracy."""

import collections
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from tff_nlp import errors
from tff_nlp.models import classifier
from tff_nlp.tasks import classification_scores, dependence, padded_texts, prediction, task

# int32[batch, length] padded token ids and int32[batch] labels. Both dimensions are dynamic.
BATCH_SPEC = collections.OrderedDict(
    x=tf.TensorSpec([None, None], tf.int32), y=tf.TensorSpec([None], tf.int32)
)
_SUMS = {"num_correct": tf.TensorSpec([], tf.float32)}
REPORT = task.Report(
    headline="accuracy",
    higher_is_better=True,
    is_share=True,
    baseline="majority_accuracy",
    baseline_name="most frequent label",
    panels=(
        task.Panel(
            "cross-entropy (nats)",
            (task.Curve("train_loss", "while training"), task.Curve("test_loss", "test")),
        ),
        task.Panel(
            "accuracy",
            (
                task.Curve("train_accuracy", "while training"),
                task.Curve("test_accuracy", "test"),
                task.Curve("validation_accuracy", "validation"),
                task.Curve("clients_mean_accuracy", "clients, mean"),
                task.Curve("clients_worst_decile_accuracy", "clients, worst tenth"),
                task.Curve("held_out_mean_accuracy", "held-out clients, mean"),
            ),
            baseline="most frequent label",
        ),
    ),
)


def classification(model: classifier.Classifier, *, logit_adjustment: float = 0.0) -> task.Task:
    """Returns the task of a classifier.

    Args:
      model: The classifier.
      logit_adjustment: Factor of the client's log label frequencies, which are added to the logits
        in training against label skew (see `log_prior`). 0 for no adjustment.

    Raises:
      UserError: If the adjustment is negative or not finite.
    """
    if not 0 <= logit_adjustment < float("inf"):
        raise errors.UserError(
            f"`logit_adjustment`={logit_adjustment}: must be 0 or more, and finite"
        )
    plain = task.Task(
        name="classification",
        batch_spec=BATCH_SPEC,
        trainable_names=model.trainable_names,
        frozen_names=model.frozen_names,
        weight_specs=model.weight_specs,
        initial_weights=model.initial_weights,
        inputs=lambda x: inputs(model, x),
        predict=lambda trainable, frozen, read, seed: model.logits(
            list(trainable),
            list(frozen),
            read["ids"],
            read["mask"],
            seed=seed,
            segment_ids=read.get("segments"),
        ),
        score=lambda output, y, statistics: score(output, y),
        sum_specs=_SUMS,
        finalize=finalize,
        metrics=("accuracy",),
        score_set=scorer(model),
        report=REPORT,
        factors=model.factors,
        one_example=padded_texts.one_text,
        table=None if model.token_embedding is None else task.Table(model.token_embedding, "ids"),
        head=model.head_names,
        categories=model.num_labels,
    )
    if not logit_adjustment:
        return plain
    return dataclasses.replace(
        plain,
        statistics=lambda x, y: (tf.reduce_sum(tf.one_hot(y, model.num_labels), axis=0),),
        score=lambda output, y, statistics: score(
            output, y, offset=logit_adjustment * log_prior(statistics[0])
        ),
        dependence=dependence.of_labels(logit_adjustment),
    )


def inputs(model: classifier.Classifier, x: tf.Tensor) -> task.Inputs:
    """Returns the inputs of a classifier.

    Args:
      model: The classifier.
      x: Padded token ids, int32[batch, length].

    Returns:
      "ids" (int32[batch, length]) and "mask" (bool[batch, length], false at padding). If the
      classifier reads pairs of texts, also "segments" (int32[batch, length]).
    """
    read = padded_texts.masked(x, model.tokenizer.pad_id)
    if not model.reads_pairs:
        return read
    return collections.OrderedDict(read, segments=model.tokenizer.segment_ids(x))


def scorer(
    model: classifier.Classifier,
) -> Callable[[Any, classification_scores.EvaluationSet], classification_scores.Scores]:
    """Returns the function (weights, evaluation set) -> scores."""
    predict = predictor(model)

    def score_set(
        weights: Any, examples: classification_scores.EvaluationSet
    ) -> classification_scores.Scores:
        return classification_scores.score(examples, predict(weights), model.num_labels)

    return score_set


def predictor(model: classifier.Classifier) -> Callable[[Any], prediction.Predict]:
    """Returns a function that takes weights and returns the function token ids -> logits."""
    trainable, frozen = (list(specs) for specs in model.weight_specs())

    @tf.function(input_signature=[trainable, frozen, tf.TensorSpec([None, None], tf.int32)])
    def logits(trainable: Any, frozen: Any, tokens: tf.Tensor) -> tf.Tensor:
        read = inputs(model, tokens)
        segments = read.get("segments")
        return model.logits(
            trainable, frozen, read["ids"], read["mask"], seed=None, segment_ids=segments
        )

    def predict(weights: Any) -> prediction.Predict:
        trained, fixed = (
            [tf.convert_to_tensor(w) for w in part]
            for part in (weights.trainable, weights.non_trainable)
        )
        return lambda tokens: logits(trained, fixed, tf.constant(tokens)).numpy()

    return predict


def score(logits: tf.Tensor, y: tf.Tensor, offset: tf.Tensor | None = None) -> task.Losses:
    """Returns the cross-entropies in nats, and the number of right predictions.

    Args:
      logits: float32[batch, labels].
      y: Labels, int32[batch].
      offset: Numbers that are added to the logits for the losses, float32[labels]. The predictions
        do not change. None for no offset.
    """
    shifted = logits if offset is None else logits + offset
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y, shifted)
    correct = tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), y)
    return task.Losses(
        losses, tf.ones_like(losses), {"num_correct": tf.reduce_sum(tf.cast(correct, tf.float32))}
    )


def finalize(sums: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the metric "accuracy", computed from the sums."""
    accuracy = tf.math.divide_no_nan(sums["num_correct"], sums["weight_sum"])
    return collections.OrderedDict(accuracy=accuracy)


def log_prior(label_counts: tf.Tensor) -> tf.Tensor:
    """Returns the log label frequencies of a client, float32[labels], with add-one smoothing.

    They are added to the logits in training. They explain the client's label frequencies, so the
    model does not learn them. Without them, a client with almost only one label would teach the
    model that this label is frequent. This is logit adjustment (Menon et al. 2021, equation 10)
    with each client's own frequencies, as in Zhang et al. 2022, "Federated Learning with Label
    Distribution Skew via Logits Calibration".

    Args:
      label_counts: Counts of the labels over all local epochs, float32[labels].
    """
    counts = label_counts + 1.0
    return tf.math.log(counts / tf.reduce_sum(counts))
