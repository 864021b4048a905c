"""A client's batches, read once and kept in the graph, so that they can be used several times."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tff_nlp.learning import client_input
from tff_nlp.tasks import task as tasks


@dataclasses.dataclass(frozen=True)
class ClientBatches:
    """The batches of one client in one round.

    Attributes:
      count: int32, number of batches.
      num_examples: int64, number of examples. An example counts once for each time it occurs.
      statistics: The statistics of the task, summed over the batches.
      seen: bool[rows], the rows of the task's table that the client reads; None if the task has no
        table.
      fingerprint: int32, a hash of the batches. It gives each client a different dropout.
    """

    count: tf.Tensor
    num_examples: tf.Tensor
    statistics: tuple[tf.Tensor, ...]
    seen: tf.Tensor | None
    fingerprint: tf.Tensor
    _lists: tuple[tf.Tensor, ...]
    _spec: Any
    _stored: tf.Tensor

    def read(self, step: tf.Tensor) -> tuple[Any, Any]:
        """Returns `x` and `y` of a batch.

        Args:
          step: int32, number of the batch, from 0.
        """
        step = step % self._stored
        parts = []
        for handle, spec in zip(self._lists, tf.nest.flatten(self._spec), strict=True):
            part = tf.raw_ops.TensorListGetItem(
                input_handle=handle,
                index=step,
                element_shape=_list_shape(spec),
                element_dtype=spec.dtype,
            )
            parts.append(tf.ensure_shape(part, spec.shape))
        return tasks.split_batch(tf.nest.pack_sequence_as(self._spec, parts))

    def repeat(self, passes: int) -> "ClientBatches":
        """Returns several passes over the batches, in the same order."""
        return dataclasses.replace(
            self,
            count=self.count * passes,
            num_examples=self.num_examples * passes,
            statistics=tuple(part * passes for part in self.statistics),
        )


def read(task: tasks.Task, dataset: tf.data.Dataset) -> ClientBatches:
    """Reads a data set once. A shuffled data set would give other batches the second time."""
    return _finish(task, _read(dataset, task))


def of_tensors(task: tasks.Task, batches: Sequence[Any]) -> ClientBatches:
    """Returns batches that are tensors already, at least one.

    Args:
      task: The task.
      batches: Batches with the task's `batch_spec`.
    """
    totals = _none(task)
    for batch in batches:
        totals = _add(task, totals, batch)
    return _finish(task, totals)


# The fields of `ClientBatches` until `_lists`, while batches are added.
_Totals = tuple[Any, ...]


def _finish(task: tasks.Task, totals: _Totals) -> ClientBatches:
    count, examples, statistics, seen, fingerprint, lists = totals
    return ClientBatches(
        count,
        examples,
        statistics,
        seen if task.table else None,
        fingerprint,
        lists,
        task.batch_spec,
        count,
    )


@tf.function
def _read(dataset: tf.data.Dataset, task: tasks.Task) -> _Totals:
    totals = _none(task)
    for batch in iter(dataset):
        totals = _add(task, totals, batch)
    return totals


def _none(task: tasks.Task) -> _Totals:
    """Returns the totals of no batches."""
    lists = tuple(
        tf.raw_ops.EmptyTensorList(
            element_shape=_list_shape(spec), max_num_elements=-1, element_dtype=spec.dtype
        )
        for spec in tf.nest.flatten(task.batch_spec)
    )
    rows = task.weight_specs()[0][task.table.weight].shape[0] if task.table else 0
    return (
        tf.zeros([], tf.int32),
        tf.zeros([], tf.int64),
        _no_statistics(task),
        tf.zeros([rows], tf.bool),
        tf.zeros([], tf.int32),
        lists,
    )


def _add(task: tasks.Task, totals: _Totals, batch: Any) -> _Totals:
    """Returns the totals with one batch more."""
    count, examples, statistics, seen, fingerprint, lists = totals
    x, y = tasks.split_batch(batch)
    lists = tuple(
        tf.raw_ops.TensorListPushBack(input_handle=handle, tensor=part)
        for handle, part in zip(lists, tf.nest.flatten(batch), strict=True)
    )
    if task.table:
        ids = tf.reshape(task.inputs(x)[task.table.ids], [-1, 1])
        seen = tf.tensor_scatter_nd_update(seen, ids, tf.fill([tf.size(ids)], True))
    added = task.statistics(x, y)
    return (
        count + 1,
        examples + tf.shape(tf.nest.flatten(x)[0], tf.int64)[0],
        tuple(a + b for a, b in zip(statistics, added, strict=True)),
        seen,
        fingerprint * 31 + tasks.fingerprint((x, y))[0],
        lists,
    )


def _no_statistics(task: tasks.Task) -> tuple[tf.Tensor, ...]:
    """Returns zeros shaped like the task's statistics."""
    batch = client_input.blank(task.batch_spec)
    return tuple(map(tf.zeros_like, task.statistics(*tasks.split_batch(batch))))


def _list_shape(spec: tf.TensorSpec) -> list[int]:
    # The shape is always a vector, also for a scalar. TensorFlow fails to copy a graph with the
    # scalar shape -1 if it visits the operation before the constant.
    return [-1 if size is None else size for size in spec.shape]
