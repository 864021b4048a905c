"""A task: what a model is trained for, as a record of pure functions."""

import collections
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp.models.adapters.lora import Factors
from tff_nlp.tasks.client_scores import ClientScores

Specs = tuple[tf.TensorSpec, ...]
# Named tensors. Their first dimension is the example.
Inputs = Mapping[str, tf.Tensor]


class Losses(NamedTuple):
    """The losses of a batch.

    Attributes:
      losses: Mean loss of each example, float32[examples].
      weights: Weight of each example, float32[examples]: 1, or its number of tokens.
      sums: Named scalars to sum over batches and clients, see `Task.sum_specs`.
    """

    losses: tf.Tensor
    weights: tf.Tensor
    sums: Mapping[str, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Table:
    """A trainable weight that is read only by gathering rows.

    Attributes:
      weight: Index of the weight in the trainable weights.
      ids: Name of the input with the row numbers to gather, int32[examples, ...].
    """

    weight: int
    ids: str


def rows_at(inputs: Any, index: tf.Tensor) -> Any:
    """Returns the inputs of the example at an index, as a batch of one example."""
    return tf.nest.map_structure(lambda part: part[index : index + 1], inputs)


def no_statistics(x: Any, y: Any) -> tuple[tf.Tensor, ...]:
    """Returns empty statistics, for tasks that do not need any."""
    del x, y
    return ()


class Scores(Protocol):
    """The scores of a model on an evaluation set."""

    @property
    def baseline(self) -> float:
        """Headline score of a model that does not read the texts."""

    @property
    def clients(self) -> ClientScores | None:
        """Summary of the clients' headline scores. None if the set has no clients."""

    def columns(self, name: str) -> Mapping[str, float]:
        """Returns the columns of metrics.csv for the set with this name."""

    def line(self) -> str:
        """Returns the scores as one line of text."""

    def warning(self) -> str | None:
        """Returns a warning if the model is no better than the baseline, else None."""

    def to_json(self) -> dict[str, Any]:
        """Returns the scores as in result.json."""


@dataclasses.dataclass(frozen=True)
class Curve:
    """A curve in the plot of a run.

    Attributes:
      column: Column of metrics.csv.
      label: Label of the curve.
    """

    column: str
    label: str


@dataclasses.dataclass(frozen=True)
class Panel:
    """One pair of axes in the plot of a run.

    Attributes:
      quantity: Quantity on the vertical axis, with its unit.
      curves: The curves.
      baseline: Label of the baseline. Empty to draw no baseline.
    """

    quantity: str
    curves: tuple[Curve, ...]
    baseline: str = ""


@dataclasses.dataclass(frozen=True)
class Report:
    """How the results of a task are shown.

    Attributes:
      headline: Name of the score that models are compared by, in metrics.csv and result.json.
      higher_is_better: Whether a higher headline score is better.
      is_share: Whether the headline score is a fraction. Tables show it in percent.
      baseline: Name, in result.json, of the same score of a model that does not read the texts.
      baseline_name: Name of that model in messages and plots.
      panels: Panels of the plot of a run, from left to right.
    """

    headline: str
    higher_is_better: bool
    is_share: bool
    baseline: str
    baseline_name: str
    panels: tuple[Panel, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """A model and its training objective, as pure functions.

    A batch is `(x, y)` or `{"x": x, "y": y}`. Both are structures of tensors, and the first
    dimension of each tensor is the example.

    Attributes:
      name: Name of the task.
      batch_spec: Specs of a batch.
      trainable_names: Unique names of the trainable weights.
      frozen_names: Unique names of the frozen weights.
      weight_specs: Function () -> specs of the trainable and of the frozen weights. It copies no
        weights.
      initial_weights: Function () -> NumPy arrays with these specs.
      inputs: Function x -> inputs of `predict`.
      predict: Function (trainable, frozen, inputs, seed) -> the model's output. The seed of the
        dropout masks is int32[2], or None for no dropout.
      score: Function (output, y, statistics) -> losses of the batch.
      sum_specs: Names and specs of `Losses.sums`.
      finalize: Function sums -> metrics. The sums include "loss_sum" and "weight_sum". The mean
        loss is always a metric, so `finalize` does not return it.
      metrics: Names of the metrics that `finalize` returns.
      score_set: Function (weights, evaluation set) -> scores, for `program.training`.
      report: How the results are shown.
      statistics: Function (x, y) -> tensors. A client sums them over all its batches before it
        trains. Then `score` reads the sums.
      one_example: Function (inputs, index) -> inputs of one example, as a batch of one.
      table: The weight that is read only by gathering rows, or None.
      head: Names of the trainable weights of the head: the last layer, which maps what the encoder
        finds to the labels. Empty if the model has no such layer, or if it does not train.
      dependence: The reason why the loss of an example depends on other examples, as a sentence to
        the user that names the setting. It is empty if the loss does not depend on them.
      factors: The low-rank factors among the weights.
      categories: The number of categories, if the model's output is float32[examples, categories]:
        one logit for each category. 0 for any other output.
    """

    name: str
    batch_spec: Any
    trainable_names: tuple[str, ...]
    frozen_names: tuple[str, ...]
    weight_specs: Callable[[], tuple[Specs, Specs]]
    initial_weights: Callable[[], tuple[Sequence[np.ndarray], Sequence[np.ndarray]]]
    inputs: Callable[[Any], Any]
    predict: Callable[..., Any]
    score: Callable[[Any, Any, tuple[tf.Tensor, ...]], Losses]
    sum_specs: Mapping[str, tf.TensorSpec]
    finalize: Callable[[Mapping[str, tf.Tensor]], Mapping[str, tf.Tensor]]
    metrics: tuple[str, ...]
    score_set: Callable[[Any, Any], Any]
    report: Report
    statistics: Callable[[Any, Any], tuple[tf.Tensor, ...]] = no_statistics
    one_example: Callable[[Any, tf.Tensor], Any] = rows_at
    table: Table | None = None
    head: tuple[str, ...] = ()
    dependence: str = ""
    factors: tuple[Factors, ...] = ()
    categories: int = 0

    def losses(
        self,
        trainable: Sequence[Any],
        frozen: Sequence[Any],
        inputs: Any,
        y: Any,
        statistics: tuple[tf.Tensor, ...] = (),
        seed: tf.Tensor | None = None,
    ) -> Losses:
        """Returns the losses of a batch.

        Args:
          trainable: Tensors in the order of `trainable_names`.
          frozen: Tensors in the order of `frozen_names`.
          inputs: Inputs of the batch, from `self.inputs`.
          y: Targets of the batch.
          statistics: Sums of the client's statistics, see the attribute `statistics`.
          seed: Seed of the dropout masks, int32[2]. None for no dropout.
        """
        return self.score(self.predict(trainable, frozen, inputs, seed), y, statistics)

    def weights_type(self) -> tff.StructWithPythonType:
        """Returns the TFF type of the weights: `tff.learning.models.ModelWeights` of tuples."""
        return tff.types.tensorflow_to_type(tff.learning.models.ModelWeights(*self.weight_specs()))

    def functional_model(self) -> tff.learning.models.FunctionalModel:
        """Returns the task as a TFF `FunctionalModel`, which every TFF algorithm can train.

        Such a model takes no seed, so the dropout masks derive from the inputs of each batch.

        Raises:
          TypeError: If the task needs statistics of a client. It is raised only when the loss or
            the metrics are computed.
        """
        trainable, frozen = self.initial_weights()

        @tf.function
        def predict_on_batch(weights: Any, x: Any, training: bool = True) -> Any:
            inputs = self.inputs(x)
            seed = fingerprint(inputs) if training else None
            return self.predict(tuple(weights[0]), tuple(weights[1]), inputs, seed)

        @tf.function
        def loss(output: Any, label: Any, sample_weight: Any = None) -> tf.Tensor:
            found = self.score(output, label, self._empty_statistics())
            weights = found.weights if sample_weight is None else found.weights * sample_weight
            return tf.math.divide_no_nan(
                tf.reduce_sum(weights * found.losses), tf.reduce_sum(weights)
            )

        @tf.function
        def begin() -> Any:
            return self.no_totals()

        @tf.function
        def update(state: Any, labels: Any, batch_output: Any, sample_weight: Any = None) -> Any:
            del sample_weight
            found = self.score(batch_output.predictions, labels, self._empty_statistics())
            return collections.OrderedDict(
                (name, state[name] + value) for name, value in with_totals(found).items()
            )

        @tf.function
        def end(state: Any) -> Any:
            return collections.OrderedDict(self.finalize(state))

        return tff.learning.models.FunctionalModel(
            initial_weights=(tuple(trainable), tuple(frozen)),
            predict_on_batch_fn=predict_on_batch,
            loss_fn=loss,
            metrics_fns=(begin, update, end),
            input_spec=self.batch_spec,
        )

    def no_totals(self) -> "collections.OrderedDict[str, tf.Tensor]":
        """Returns zeros with the names and specs of the result of `with_totals`."""
        scalar = tf.TensorSpec([], tf.float32)
        specs = {"loss_sum": scalar, "weight_sum": scalar, **self.sum_specs}
        return collections.OrderedDict(
            (name, tf.zeros(spec.shape, spec.dtype)) for name, spec in specs.items()
        )

    def _empty_statistics(self) -> tuple[tf.Tensor, ...]:
        if self.statistics is no_statistics:
            return ()
        raise TypeError(
            f"the task {self.name} needs statistics of a client, but TFF's models cannot take them"
        )


def with_totals(found: Losses) -> Mapping[str, tf.Tensor]:
    """Returns "loss_sum" and "weight_sum" of a batch, followed by its other sums."""
    return {
        "loss_sum": tf.reduce_sum(found.weights * found.losses),
        "weight_sum": tf.reduce_sum(found.weights),
        **found.sums,
    }


def split_batch(batch: Any) -> tuple[Any, Any]:
    """Returns `x` and `y` of a batch."""
    if isinstance(batch, Mapping):
        return batch["x"], batch["y"]
    x, y = batch
    return x, y


def fingerprint(values: Any) -> tf.Tensor:
    """Returns a hash, int32[2], of a structure of tensors, for use as a seed."""
    total = tf.zeros([], tf.int32)
    for part in tf.nest.flatten(values):
        # int32 overflow wraps around, as wanted for a hash.
        total = total * 31 + _hashed(part)
    return tf.stack([total, 7 * total + 1])


def _hashed(part: tf.Tensor) -> tf.Tensor:
    if part.dtype == tf.string:
        return tf.cast(tf.reduce_sum(tf.strings.to_hash_bucket_fast(part, 2**30)), tf.int32)
    if part.dtype.is_floating:
        part = tf.bitcast(tf.cast(part, tf.float32), tf.int32)
    return tf.reduce_sum(tf.cast(part, tf.int32))
