"""The ceiling: the fastest plain TensorFlow loop that we know for the same model and batches.

The whole round is one graph. Weights are variables that are changed in place. Only the batch's rows
of the token embedding are read and written. Dropout is as cheap as in the federated contenders.
There are two variants: one process with all threads, or one process per core with one thread. In
the second variant, each process has its own model and a part of the batches.
"""

import multiprocessing
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks import examples, models, shapes
from benchmarks.task import Report, Task, time_rounds
from tff_nlp.models import classifier

# Seconds that one process waits for the others to be ready or done.
_PATIENCE = 3600.0


def run_threads(task: Task, report: Report) -> None:
    """Runs the loop in this process, with TensorFlow's default threads."""
    batches = examples.draw(task.shape, task.token_ids).batches()
    time_rounds(task, build_loop(models.build_classifier(task.shape.size), batches)[0], report)


def run_processes(task: Task, report: Report) -> None:
    """Runs the loop in one process per core. A round ends when the last process has finished."""
    count = len(os.sched_getaffinity(0))
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(count + 1, timeout=_PATIENCE)
    # Daemons end with this process, also after an error.
    processes = [
        spawn.Process(target=_run_share, args=(task, index, count, barrier), daemon=True)
        for index in range(count)
    ]
    for process in processes:
        process.start()

    def run_round(number: int) -> None:
        barrier.wait()  # begin
        barrier.wait()  # end

    barrier.wait()  # everything is built
    time_rounds(task, run_round, report)
    for process in processes:
        process.join()


def _run_share(task: Task, index: int, count: int, barrier: Any) -> None:
    """Runs every `count`-th batch of each round."""
    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        batches = examples.draw(task.shape, task.token_ids).batches()[index::count]
        run_round, _ = build_loop(models.build_classifier(task.shape.size), batches)
        barrier.wait()
        for number in range(task.rounds):
            barrier.wait()
            run_round(number)
            barrier.wait()
    except BaseException:
        barrier.abort()  # Otherwise the other processes would wait for this one.
        raise


def build_loop(
    model: classifier.Classifier, batches: Sequence[examples.Batch]
) -> tuple[Callable[[int], None], list[tf.Variable]]:
    """Builds the loop over batches.

    Args:
      model: The model. All its weights must train.
      batches: Batches of a round.

    Returns:
      A function that trains on all batches. Batches of the same size keep their order. Its argument
      is the seed of the dropout masks. Also the variables that it changes, in the order of the
      model's `trainable_names`.

    Raises:
      ValueError: If not all weights train.
    """
    trainable, frozen = model.initial_weights()
    variables = [tf.Variable(value) for value in trainable]
    embedding = model.token_embedding
    if frozen or embedding is None:
        raise ValueError("all weights are meant to train")
    table = variables[embedding]

    def step(tokens: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> None:
        flat = tf.reshape(tokens, [-1])
        # Use the rows of the batch instead of the table, because reading the variable copies it.
        rows = tf.gather(table, flat)
        ids = tf.reshape(tf.range(tf.size(flat)), tf.shape(tokens))
        weights = [rows if i == embedding else v.read_value() for i, v in enumerate(variables)]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            mask = tf.not_equal(tokens, model.tokenizer.pad_id)
            logits = model.logits(weights, (), ids, mask, seed=seed)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_mean(losses)
        for index, gradient in enumerate(tape.gradient(loss, weights)):
            if index != embedding:
                change = shapes.LEARNING_RATE * tf.convert_to_tensor(gradient)
                variables[index].assign_sub(change)
                continue
            # Each id occurs once in `ids`, so the gradient's values are in the order of the tokens.
            table.scatter_sub(tf.IndexedSlices(shapes.LEARNING_RATE * gradient.values, flat))

    @tf.function
    def run_batches(tokens: tf.Tensor, labels: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        for index in tf.range(tf.shape(tokens)[0]):
            step(tokens[index], labels[index], tf.stack([number, index]))
        return tf.constant(True)

    sizes = {len(tokens) for tokens, _ in batches}
    groups = [
        tuple(
            tf.constant(np.stack(part))
            for part in zip(*(batch for batch in batches if len(batch[0]) == size), strict=True)
        )
        for size in sorted(sizes)
    ]

    def run_round(number: int) -> None:
        for tokens, labels in groups:
            run_batches(tokens, labels, tf.constant(number)).numpy()

    return run_round, variables
