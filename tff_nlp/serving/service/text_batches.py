"""Joins the texts of concurrent requests to batches for one model."""

import asyncio
import collections
import concurrent.futures
import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tff_nlp.serving.service.service_metrics import WorkerMetrics

if TYPE_CHECKING:  # NumPy starts threads, and the supervisor must have none when it forks.
    import numpy as np

# Function from texts, or pairs of texts, to probabilities, float32[texts, labels].
Label = Callable[[Sequence[Any]], "np.ndarray"]


class QueueFullError(Exception):
    """Too many texts wait already."""


@dataclasses.dataclass(frozen=True)
class BatchLimits:
    """How texts are joined.

    Attributes:
      max_batch: Maximum number of texts in a batch.
      max_delay: Seconds that the first text of a batch waits for others.
      max_queue: Maximum number of texts that wait.
    """

    max_batch: int
    max_delay: float
    max_queue: int


@dataclasses.dataclass
class _Piece:
    """Texts of one request that go into the same batch.

    Attributes:
      texts: The texts, at most a whole batch.
      arrived: Time of the event loop.
      answer: Becomes the probabilities.
    """

    texts: Sequence[Any]
    arrived: float
    answer: "asyncio.Future[np.ndarray]"


class TextBatches:
    """The queue of one model. Its methods must be called in the event loop."""

    def __init__(
        self,
        label: Label,
        limits: BatchLimits,
        executor: concurrent.futures.Executor,
        metrics: WorkerMetrics,
    ) -> None:
        """Starts without texts.

        Args:
          label: The model. It is called in a thread of the executor.
          limits: How texts are joined.
          executor: Where the model runs. Models may share it.
          metrics: What is counted.
        """
        self._label = label
        self._limits = limits
        self._executor = executor
        self._metrics = metrics
        self._pieces: collections.deque[_Piece] = collections.deque()
        self._waiting = 0
        self._some, self._enough = asyncio.Event(), asyncio.Event()
        self._closing = False
        self._task = asyncio.get_running_loop().create_task(self._run())

    def submit(self, texts: Sequence[Any]) -> "asyncio.Future[list[np.ndarray]]":
        """Adds the texts of a request to the queue, at once.

        Args:
          texts: The texts, or pairs of texts.

        Returns:
          A future of the probabilities, arrays float32[some texts, labels] in the texts' order.

        Raises:
          QueueFullError: If they do not fit. Then nothing was added.
        """
        if self._waiting + len(texts) > self._limits.max_queue:
            raise QueueFullError
        loop = asyncio.get_running_loop()
        size = self._limits.max_batch
        pieces = [
            _Piece(texts[start : start + size], loop.time(), loop.create_future())
            for start in range(0, len(texts), size)
        ]
        self._pieces.extend(pieces)
        self._change_waiting(len(texts))
        self._some.set()
        return asyncio.gather(*(piece.answer for piece in pieces))

    async def close(self) -> None:
        """Labels what waits, without further delay, and ends. Nothing may be submitted later."""
        self._closing = True
        self._some.set()
        self._enough.set()
        await self._task

    async def _run(self) -> None:
        while True:
            await self._some.wait()
            if not self._pieces:
                if self._closing:
                    return
                self._some.clear()
                continue
            await self._wait_for_others()
            await self._answer(self._take())

    async def _wait_for_others(self) -> None:
        """Waits until a batch is full, or its first text has waited long enough."""
        loop = asyncio.get_running_loop()
        left = self._pieces[0].arrived + self._limits.max_delay - loop.time()
        if left <= 0 or self._waiting >= self._limits.max_batch or self._closing:
            return
        self._enough.clear()
        timer = loop.call_later(left, self._enough.set)
        await self._enough.wait()
        timer.cancel()

    def _take(self) -> list[_Piece]:
        """Removes as many whole pieces from the queue as fit into a batch."""
        taken: list[_Piece] = []
        size = 0
        while self._pieces and size + len(self._pieces[0].texts) <= self._limits.max_batch:
            piece = self._pieces.popleft()
            size += len(piece.texts)
            taken.append(piece)
        self._change_waiting(-size)
        return taken

    async def _answer(self, pieces: list[_Piece]) -> None:
        # Nobody waits for a piece whose request was cancelled.
        wanted = [piece for piece in pieces if not piece.answer.done()]
        if not wanted:
            return
        texts = [text for piece in wanted for text in piece.texts]
        try:
            probabilities = await asyncio.get_running_loop().run_in_executor(
                self._executor, self._label, texts
            )
        except Exception as error:  # A model of another format may fail in any way.
            for piece in wanted:
                if not piece.answer.done():
                    piece.answer.set_exception(error)
            return
        self._metrics.labelled(len(texts))
        start = 0
        for piece in wanted:
            rows = probabilities[start : start + len(piece.texts)]
            start += len(piece.texts)
            if not piece.answer.done():
                piece.answer.set_result(rows)

    def _change_waiting(self, texts: int) -> None:
        self._waiting += texts
        self._metrics.waiting(texts)
        if self._waiting >= self._limits.max_batch:
            self._enough.set()
