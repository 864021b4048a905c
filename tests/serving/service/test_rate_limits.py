"""Rate limits are exact, over all windows of 60 seconds and over processes."""

import multiprocessing
import random

import pytest

from tff_nlp.serving.service.api_keys import ApiKey
from tff_nlp.serving.service.rate_limits import WINDOW_SECONDS, RateLimits, WindowMemory


def key(name, rate, salt="0"):
    return ApiKey(name, salt * 64, "1" * 64, rate)


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize("rate", [1, 7, 600])
def test_against_a_list_of_all_times(rate):
    memory, clock = WindowMemory(), Clock()
    limits = RateLimits(memory.descriptor, memory.windows([key("a", rate)]), clock)
    generator = random.Random(rate)
    admitted = []
    for _ in range(3000):
        clock.now += generator.expovariate(rate / 20)  # Three times as many as are admitted.
        recent = [time for time in admitted if clock.now - time < WINDOW_SECONDS]
        wait = limits.seconds_to_wait("a")
        assert (wait == 0) == (len(recent) < rate)
        if wait == 0:
            admitted.append(clock.now)
        else:
            assert wait == pytest.approx(recent[-rate] + WINDOW_SECONDS - clock.now)
    assert len(admitted) < 3000


def test_keys_have_windows_of_their_own_and_keep_them():
    memory, clock = WindowMemory(), Clock()
    first = memory.windows([key("a", 1, "a"), key("b", 1000, "b")])
    limits = RateLimits(memory.descriptor, first, clock)
    assert [limits.seconds_to_wait(name) for name in "aabb"] == [0, WINDOW_SECONDS, 0, 0]
    # The file is read again: a key stays, one is new, and one has the name of another one.
    second = memory.windows([key("a", 1, "a"), key("b", 1, "c")])
    assert second["a"] == first["a"]
    limits = RateLimits(memory.descriptor, second, clock)
    assert limits.seconds_to_wait("a") == WINDOW_SECONDS
    assert limits.seconds_to_wait("b") == 0


def _count(descriptor, windows, queue):
    limits = RateLimits(descriptor, windows)
    queue.put(sum(limits.seconds_to_wait("a") == 0 for _ in range(2000)))


def test_processes_share_a_limit():
    memory = WindowMemory()
    windows = memory.windows([key("a", 1500)])
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    processes = [
        context.Process(target=_count, args=(memory.descriptor, windows, queue)) for _ in range(4)
    ]
    for process in processes:
        process.start()
    assert sum(queue.get(timeout=60) for _ in processes) == 1500
    for process in processes:
        process.join()
