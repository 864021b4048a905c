"""Concurrent requests are labelled together, within limits, and each gets its own answers."""

import asyncio
import concurrent.futures
import threading

import numpy as np
import pytest

from tests.serving.service.fake_service import FakeModel, first_probability
from tff_nlp.serving.service.service_metrics import ServiceMetrics
from tff_nlp.serving.service.text_batches import BatchLimits, QueueFullError, TextBatches


def batches(model, max_batch=8, max_delay=0.01, max_queue=100):
    """Returns a queue for a model. Must be called in an event loop."""
    metrics = ServiceMetrics(1)
    made = TextBatches(
        lambda texts: model.predict(texts).probabilities,
        BatchLimits(max_batch, max_delay, max_queue),
        concurrent.futures.ThreadPoolExecutor(1),
        metrics.of_worker(0),
    )
    return made, metrics


def test_requests_are_joined_and_split(run_async):
    sizes = [(1, 1), (5, 3), (10, 20), (40, 2), (50, 1), (60, 1), (70, 1), (80, 1), (90, 8)]

    async def requests():
        model = FakeModel()
        queue, metrics = batches(model)
        asked = [["x" * n for n in range(start, start + size)] for start, size in sizes]
        answers = await asyncio.gather(*map(queue.submit, asked))
        for texts, answer in zip(asked, answers, strict=True):
            got = np.concatenate(answer)[:, 0]
            assert got == pytest.approx([first_probability(text) for text in texts])
        await queue.close()
        assert sum(model.batches) == sum(size for _, size in sizes)
        assert max(model.batches) <= 8
        assert len(model.batches) < len(sizes)
        assert metrics.total(("queue_texts", "")) == 0
        assert metrics.total(("texts", "")) == sum(model.batches)

    run_async(requests())


def test_a_single_text_waits_no_longer_than_the_delay(run_async):
    async def requests():
        queue, _ = batches(FakeModel(), max_delay=0.05)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await queue.submit(["x"])
        waited = loop.time() - began
        assert waited >= 0.045
        began = loop.time()
        await asyncio.gather(*(queue.submit(["x"]) for _ in range(8)))
        assert loop.time() - began < waited  # A full batch does not wait.
        await queue.close()

    run_async(requests())


def test_a_full_queue_adds_nothing_and_closing_answers_what_waits(run_async):
    async def requests():
        model = FakeModel()
        queue, _ = batches(model, max_batch=4, max_delay=60, max_queue=10)
        waiting = [queue.submit(["x"] * 3)]
        with pytest.raises(QueueFullError):
            queue.submit(["x"] * 8)
        waiting.append(queue.submit(["x"] * 7))
        with pytest.raises(QueueFullError):
            queue.submit(["x"])
        await queue.close()
        assert [len(np.concatenate(await one)) for one in waiting] == [3, 7]
        assert sum(model.batches) == 10

    run_async(requests())


def test_a_failure_reaches_each_request_of_the_batch_and_no_other(run_async):
    async def requests():
        model = FakeModel()
        queue, _ = batches(model)
        working, model.predict = model.predict, lambda texts: 1 / 0
        failed = await asyncio.gather(
            queue.submit(["x"] * 20), queue.submit(["x"]), return_exceptions=True
        )
        assert [type(error) for error in failed] == [ZeroDivisionError] * 2
        model.predict = working
        assert len((await queue.submit(["x"]))[0]) == 1
        await queue.close()

    run_async(requests())


def test_texts_of_a_cancelled_request_are_not_labelled(run_async):
    async def requests():
        model, go_on = FakeModel(), threading.Event()
        queue, metrics = batches(model, max_batch=1, max_delay=0)
        working = model.predict
        model.predict = lambda texts: go_on.wait(60) and working(texts)
        first, second = queue.submit(["a"]), queue.submit(["b"])
        await asyncio.sleep(0.01)
        second.cancel()
        go_on.set()
        await first
        await queue.close()
        assert len(model.batches) == 1
        assert metrics.total(("queue_texts", "")) == 0

    run_async(requests())
