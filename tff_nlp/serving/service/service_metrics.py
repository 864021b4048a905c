"""Counts what a service does, over all its workers, and writes it in Prometheus' text format.

Each worker writes into its own part of a shared memory. So any worker can answer for all of them,
and a worker that replaces another one goes on with its counts.
"""

import mmap
from collections.abc import Sequence

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Groups of addresses, and status codes of answers. Other codes are counted as "other".
PREDICT, TF_PREDICT, MODELS, PROBES, PAGES, UNKNOWN = ENDPOINTS = (
    "predict",
    "tf_predict",
    "models",
    "probes",
    "pages",
    "unknown",
)
CODES = (200, 400, 401, 404, 405, 408, 413, 422, 429, 500, 503, "other")
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)

_PREFIX = "tff_nlp"
_SECONDS, _BATCH = "request_seconds", "batch_texts"
_TEXTS, _QUEUE, _READY, _STARTS = "texts", "queue_texts", "workers_ready", "worker_starts"


class ServiceMetrics:
    """The counts of a service. Made before the workers are forked."""

    def __init__(self, workers: int) -> None:
        """Makes the shared memory, with all counts at 0.

        Args:
          workers: Number of workers.
        """
        names: list[tuple[str, object]] = [(e, c) for e in ENDPOINTS for c in CODES]
        for histogram, bounds in ((_SECONDS, SECONDS), (_BATCH, BATCH_SIZES)):
            names += [(histogram, bound) for bound in (*bounds, "sum", "count")]
        names += [(name, "") for name in (_TEXTS, _QUEUE, _READY, _STARTS)]
        self._place = {name: number for number, name in enumerate(names)}
        self._workers = workers
        self._numbers = memoryview(mmap.mmap(-1, 8 * workers * len(names))).cast("d")

    def of_worker(self, number: int) -> "WorkerMetrics":
        """Returns the counts of one worker. Only one process may write them."""
        return WorkerMetrics(self, number)

    def add(self, worker: int, name: tuple[str, object], amount: float) -> None:
        """Adds to one count of a worker."""
        self._numbers[worker * len(self._place) + self._place[name]] += amount

    def put(self, worker: int, name: tuple[str, object], value: float) -> None:
        """Sets one value of a worker."""
        self._numbers[worker * len(self._place) + self._place[name]] = value

    def total(self, name: tuple[str, object]) -> float:
        """Returns the sum of a count over the workers."""
        return sum(
            self._numbers[worker * len(self._place) + self._place[name]]
            for worker in range(self._workers)
        )

    def text(self) -> str:
        """Returns all counts in Prometheus' text format, version 0.0.4."""
        lines = _head("requests_total", "counter", "Answered requests by endpoint and status code.")
        for endpoint in ENDPOINTS:
            for code in CODES:
                value = self.total((endpoint, code))
                if value:
                    labels = f'endpoint="{endpoint}",code="{code}"'
                    lines.append(f"{_PREFIX}_requests_total{{{labels}}} {value:.0f}")
        lines += self._histogram(
            _SECONDS, SECONDS, "Seconds from the head of a prediction request to its answer."
        )
        lines += self._histogram(_BATCH, BATCH_SIZES, "Texts that the model labelled together.")
        for name, kind, help_text, suffix in (
            (_TEXTS, "counter", "Texts that were labelled.", "_total"),
            (_STARTS, "counter", "Workers that were started.", "_total"),
            (_QUEUE, "gauge", "Texts that wait for a batch.", ""),
            (_READY, "gauge", "Workers that are ready.", ""),
        ):  # fmt: skip
            lines += _head(name + suffix, kind, help_text)
            lines.append(f"{_PREFIX}_{name}{suffix} {self.total((name, '')):.0f}")
        return "\n".join(lines) + "\n"

    def _histogram(self, name: str, bounds: Sequence[float], help_text: str) -> list[str]:
        lines = _head(name, "histogram", help_text)
        so_far = 0.0
        for bound in bounds:
            so_far += self.total((name, bound))
            lines.append(f'{_PREFIX}_{name}_bucket{{le="{bound}"}} {so_far:.0f}')
        count = self.total((name, "count"))
        lines.append(f'{_PREFIX}_{name}_bucket{{le="+Inf"}} {count:.0f}')
        lines.append(f"{_PREFIX}_{name}_sum {self.total((name, 'sum')):.9g}")
        lines.append(f"{_PREFIX}_{name}_count {count:.0f}")
        return lines


class WorkerMetrics:
    """What one worker counts."""

    def __init__(self, service: ServiceMetrics, number: int) -> None:
        """Takes the counts of the service and the number of the worker, from 0."""
        self._service = service
        self._number = number

    @property
    def service(self) -> ServiceMetrics:
        """The counts of all workers."""
        return self._service

    def answered(self, endpoint: str, code: int, seconds: float) -> None:
        """Counts an answered request. Times are counted for predictions only.

        Args:
          endpoint: One of `ENDPOINTS`.
          code: Status code of the answer.
          seconds: Seconds that it took.
        """
        self._add(endpoint, code if code in CODES else "other")
        if endpoint in (PREDICT, TF_PREDICT):
            self._observe(_SECONDS, SECONDS, seconds)

    def labelled(self, texts: int) -> None:
        """Counts a batch by its number of texts."""
        self._add(_TEXTS, "", texts)
        self._observe(_BATCH, BATCH_SIZES, texts)

    def waiting(self, texts: int) -> None:
        """Changes the number of texts that wait, by a number of texts."""
        self._add(_QUEUE, "", texts)

    def ready(self, is_ready: bool) -> None:
        """States whether the worker is ready."""
        self._service.put(self._number, (_READY, ""), float(is_ready))

    def started(self) -> None:
        """Counts a start of the worker. Nothing waits in a new worker."""
        self._add(_STARTS, "")
        self._service.put(self._number, (_QUEUE, ""), 0.0)
        self.ready(False)

    def _add(self, name: str, label: object, amount: float = 1.0) -> None:
        self._service.add(self._number, (name, label), amount)

    def _observe(self, name: str, bounds: Sequence[float], value: float) -> None:
        bound = next((bound for bound in bounds if value <= bound), None)
        if bound is not None:
            self._add(name, bound)
        self._add(name, "sum", value)
        self._add(name, "count")


def _head(name: str, kind: str, help_text: str) -> list[str]:
    return [f"# HELP {_PREFIX}_{name} {help_text}", f"# TYPE {_PREFIX}_{name} {kind}"]
