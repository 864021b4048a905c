"""A task: what a model is trained for, as a record of pure functions."""

import collections
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

Specs = tuple[tf.TensorSpec, ...]
# Named tensors; their first dimension is the example.
Inputs = Mapping[str, tf.Tensor]


class Losses(NamedTuple):
    """What a batch costs.

    Attributes:
      losses: float32[examples], the mean loss of each example.
      weights: float32[examples], how much each counts: 1, or the number of its tokens.
      sums: Named scalars to be added up over batches and clients, see `Task.sum_specs`.
    """

    losses: tf.Tensor
    weights: tf.Tensor
    sums: Mapping[str, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Table:
    """A trainable weight that is read by gathering rows and in no other way.

    Attributes:
      weight: Its place among the trainable weights.
      ids: The name of the input, int32[examples, ...], that says which rows are read.
    """

    weight: int
    ids: str


def rows_at(inputs: Any, index: tf.Tensor) -> Any:
    """Returns the inputs of one example, as a batch of one."""
    return tf.nest.map_structure(lambda part: part[index : index + 1], inputs)


def no_statistics(x: Any, y: Any) -> tuple[tf.Tensor, ...]:
    """Returns the statistics of a task that asks for none."""
    del x, y
    return ()


@dataclasses.dataclass(frozen=True)
class Curve:
    """A line in the picture of a run.

    Attributes:
      column: The column of metrics.csv.
      label: What the line is called.
    """

    column: str
    label: str


@dataclasses.dataclass(frozen=True)
class Panel:
    """One pair of axes in the picture of a run.

    Attributes:
      quantity: What is drawn, with its unit.
      curves: The lines.
      baseline: What the level of the baseline is called; empty where none is drawn.
    """

    quantity: str
    curves: tuple[Curve, ...]
    baseline: str = ""


@dataclasses.dataclass(frozen=True)
class Report:
    """How the results of a task are told.

    Attributes:
      headline: The score by which models are compared, as metrics.csv names it after the set.
      higher_is_better: Whether more of it is better.
      panels: The picture of a run, from left to right.
    """

    headline: str
    higher_is_better: bool
    panels: tuple[Panel, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """A model and what it is trained for.

    A batch is `(x, y)` or `{"x": x, "y": y}`, structures of tensors whose first dimension is the
    example.

    Attributes:
      name: What the task is called.
      batch_spec: The specs of a batch.
      trainable_names: Unique names of the weights that train.
      frozen_names: Unique names of the weights that are used but do not train.
      weight_specs: Gives the specs of trainable and frozen weights, without copying a weight.
      initial_weights: Gives NumPy arrays of these specs.
      inputs: From `x` to what `predict` reads.
      predict: (trainable, frozen, inputs, int32[2] seed) to the model's output; without dropout
        where the seed is None.
      score: (output, y, statistics) to the batch's losses.
      sum_specs: Names and specs of `Losses.sums`.
      finalize: From the sums, to which "loss_sum" and "weight_sum" are added, to metrics. The mean
        loss is among the metrics already.
      metrics: The names of what `finalize` gives.
      score_set: (weights, evaluation set) to the model's scores, for `program.training`.
      report: How the results are told.
      statistics: (x, y) to tensors that a client adds up over all its batches before it trains,
        and that `score` then reads.
      one_example: (inputs, index) to the inputs of one example as a batch of one.
      table: The weight that is read by gathering alone; None where there is none.
      examples_independent: Whether the loss of an example depends on no other example.
      dependence: Why not, as the end of a message to the user.
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
    examples_independent: bool = True
    dependence: str = ""

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
          inputs: What `self.inputs` gives for the batch.
          y: The batch's targets.
          statistics: Of the client, see the attribute of this name.
          seed: int32[2], seed of the dropout; None for none.
        """
        return self.score(self.predict(trainable, frozen, inputs, seed), y, statistics)

    def weights_type(self) -> tff.StructWithPythonType:
        """Returns the type of the weights, `tff.learning.models.ModelWeights` of tuples."""
        return tff.types.tensorflow_to_type(tff.learning.models.ModelWeights(*self.weight_specs()))

    def functional_model(self) -> tff.learning.models.FunctionalModel:
        """Returns the task as TFF's `FunctionalModel`, which every TFF algorithm trains.

        Dropout masks derive from the inputs of each batch, as such a model knows no seed.
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
        """Returns zeros in place of what `with_totals` gives."""
        scalar = tf.TensorSpec([], tf.float32)
        specs = {"loss_sum": scalar, "weight_sum": scalar, **self.sum_specs}
        return collections.OrderedDict(
            (name, tf.zeros(spec.shape, spec.dtype)) for name, spec in specs.items()
        )

    def _empty_statistics(self) -> tuple[tf.Tensor, ...]:
        if self.statistics is no_statistics:
            return ()
        raise TypeError(
            f"the task {self.name} reads statistics of a client, which TFF has no place for"
        )


def with_totals(found: Losses) -> Mapping[str, tf.Tensor]:
    """Returns the sums of a batch with "loss_sum" and "weight_sum" before them."""
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
    """Returns int32[2] that differs where the values do, most likely."""
    total = tf.zeros([], tf.int32)
    for part in tf.nest.flatten(values):
        # int32 wraps around, which is what a hash does.
        total = total * 31 + _hashed(part)
    return tf.stack([total, 7 * total + 1])


def _hashed(part: tf.Tensor) -> tf.Tensor:
    if part.dtype == tf.string:
        return tf.cast(tf.reduce_sum(tf.strings.to_hash_bucket_fast(part, 2**30)), tf.int32)
    if part.dtype.is_floating:
        part = tf.bitcast(tf.cast(part, tf.float32), tf.int32)
    return tf.reduce_sum(tf.cast(part, tf.int32))
