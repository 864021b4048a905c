"""A model's output on an evaluation set, batch by batch, on all cores."""

import collections
import concurrent.futures
import os
from collections.abc import Callable, Iterable
from typing import Protocol

import numpy as np

# Gives int32[batch, length] padded token ids and int64[batch] positions, anew at every call.
Batches = Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]]
# int32[batch, length] token ids to float32[batch, numbers].
Predict = Callable[[np.ndarray], np.ndarray]


class Examples(Protocol):
    """What is predicted."""

    @property
    def batches(self) -> Batches:
        """Gives the examples."""

    def __len__(self) -> int:
        """Returns how many there are."""


def predict_all(
    examples: Examples,
    predict: Predict,
    numbers: int,
    done: Callable[[int], object] | None = None,
) -> np.ndarray:
    """Returns float32[examples, numbers], in the order of the set.

    Args:
      examples: What to predict.
      predict: What the model says of a batch. It is called from several threads.
      numbers: How many numbers it gives per example, such as a logit per label.
      done: Is called after each batch with its number of examples.
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
            if len(waiting) > 2 * threads:  # bounds what is held in memory
                wait(waiting.popleft())
        for future in waiting:
            wait(future)
    return found
