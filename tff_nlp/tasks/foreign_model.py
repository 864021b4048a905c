"""Makes a task from any `tff.learning.models.FunctionalModel`."""

import collections
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp.tasks import task as tasks


def from_functional_model(
    model: tff.learning.models.FunctionalModel,
    *,
    name: str = "functional_model",
    categories: int = 0,
) -> tasks.Task:
    """Returns the task of a functional model, so that the algorithms of this package can train it.

    The model's loss must be the mean over a batch's examples. Its metrics are summed over batches
    and clients and then finalized, as in TFF's `sum_then_finalize`. Such a model takes no seed, so
    its dropout, if it has any, is not reproducible.

    Args:
      model: The model.
      name: Name of the task.
      categories: See `Task`; needed by algorithms that distil.

    Example:
      ```
      task = from_functional_model(
          tff.simulation.baselines.stackoverflow.create_tag_prediction_task(...).model_fn
      )
      ```
    """
    trainable, frozen = (tuple(map(np.asarray, part)) for part in model.initial_weights)
    metrics = model.initialize_metrics_state()
    flat = {f"metric_{n}": part for n, part in enumerate(tf.nest.flatten(metrics))}

    def score(output: Any, y: Any, statistics: tuple[tf.Tensor, ...]) -> tasks.Losses:
        del statistics
        loss = model.loss(output=output, label=y)
        size = tf.shape(tf.nest.flatten(output)[0])[0]
        found = model.update_metrics_state(
            model.initialize_metrics_state(),
            labels=y,
            batch_output=tff.learning.models.BatchOutput(loss, output, size),
        )
        sums = dict(zip(flat, tf.nest.flatten(found), strict=True))
        # The losses of single examples are unknown, so each example gets the mean of the batch.
        losses = tf.fill([size], tf.cast(loss, tf.float32))
        return tasks.Losses(losses, tf.ones_like(losses), sums)

    def finalize(sums: Mapping[str, Any]) -> Mapping[str, Any]:
        state = tf.nest.pack_sequence_as(metrics, [sums[name] for name in flat])
        return collections.OrderedDict(model.finalize_metrics(state))

    return tasks.Task(
        name=name,
        batch_spec=model.input_spec,
        trainable_names=_names("weight", trainable),
        frozen_names=_names("frozen", frozen),
        weight_specs=lambda: (_specs(trainable), _specs(frozen)),
        initial_weights=lambda: (list(trainable), list(frozen)),
        inputs=lambda x: x,
        predict=lambda trained, fixed, inputs, seed: model.predict_on_batch(
            model_weights=tff.learning.models.ModelWeights(tuple(trained), tuple(fixed)),
            x=inputs,
            training=seed is not None,
        ),
        score=score,
        sum_specs={name: tf.TensorSpec(part.shape, part.dtype) for name, part in flat.items()},
        finalize=finalize,
        metrics=tuple(model.finalize_metrics(metrics)),
        score_set=_not_scored,
        report=tasks.Report(
            headline="loss",
            higher_is_better=False,
            is_share=False,
            baseline="",
            baseline_name="",
            panels=(),
        ),
        categories=categories,
    )


def _names(kind: str, weights: tuple[np.ndarray, ...]) -> tuple[str, ...]:
    return tuple(f"{kind}_{number}" for number in range(len(weights)))


def _specs(weights: tuple[np.ndarray, ...]) -> tasks.Specs:
    return tuple(tf.TensorSpec(w.shape, w.dtype) for w in weights)


def _not_scored(weights: Any, examples: Any) -> Any:
    raise TypeError("a functional model is scored by tff.learning.algorithms.build_fed_eval")
