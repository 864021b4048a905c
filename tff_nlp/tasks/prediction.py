"""Computes a model's outputs on an evaluation set, batch by batch, on all cores."""

import collections
import concurrent.futures
import os
from collections.abc import Callable, Iterable
from typing import Protocol

import numpy as np

# Each call returns the batches: int32[batch, length] padded token ids and int64[batch] positions.
Batches = Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]]
# Function int32[batch, length] token ids -> float32[batch, numbers].
Predict = Callable[[np.ndarray], np.ndarray]


class Examples(Protocol):
    """Examples to predict."""

    @property
    def batches(self) -> Batches:
        """Function that returns the batches of the examples."""

    def __len__(self) -> int:
        """Returns the number of examples."""


def predict_all(
    examples: Examples,
    predict: Predict,
    numbers: int,
    done: Callable[[int], object] | None = None,
) -> np.ndarray:
    """Returns a model's outputs, float32[examples, numbers], in the order of the set.

    Args:
      examples: Examples to predict.
      predict: Function that returns the outputs of a batch. It is called from several threads.
      numbers: Number of outputs per example, such as one logit per label.
      done: Function that is called after each batch with its number of examples.
    """
    found = np.zeros([len(examples), numbers], np.float32)

    def run(batch: tuple[np.ndarray, np.ndarray]) -> int:
        tokens, positions = batch
        found[positions] = predict(tokens)
        return len(positions)

    def wait(future: concurrent.futures.Future) -> None:
        count = future.result()
        if done is not None:
            done(count)

    threads = os.cpu_count() or 1
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        waiting: collections.deque[concurrent.futures.Future] = collections.deque()
        for batch in examples.batches():
            waiting.append(pool.submit(run, batch))
            if len(waiting) > 2 * threads:  # Limits the memory.
                wait(waiting.popleft())
        for future in waiting:
            wait(future)
    return found
