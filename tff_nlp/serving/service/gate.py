"""The outermost layer of the service: counts and logs requests, and adds headers to answers."""

import dataclasses
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from tff_nlp.serving.service import request_log, service_metrics
from tff_nlp.serving.service.service_metrics import WorkerMetrics

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
_PAGES = frozenset({"/", "/docs", "/openapi.json"})
_PROBES = frozenset({"/healthz", "/readyz", "/metrics"})


@dataclasses.dataclass
class Readiness:
    """Whether a worker can answer.

    Attributes:
      loaded: Whether its models are loaded.
      stopping: Whether it finishes its last requests.
    """

    loaded: bool = False
    stopping: bool = False

    @property
    def reason(self) -> str | None:
        """Why it is not ready, or None."""
        if self.stopping:
            return "the service is stopping"
        return None if self.loaded else "the model is being loaded"


class Gate:
    """An ASGI application around another one."""

    def __init__(self, app: App, metrics: WorkerMetrics, readiness: Readiness) -> None:
        """Takes the inner application, what is counted, and whether the worker is stopping."""
        self._app = app
        self._metrics = metrics
        self._readiness = readiness

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        code: int | None = None

        async def send_with_headers(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                headers = [*message.get("headers", []), *_HEADERS]
                if self._readiness.stopping:
                    # The client opens a new connection, which reaches another server.
                    headers.append((b"connection", b"close"))
                message["headers"] = headers
            await send(message)

        # The inner application notes here which key was used, and how many texts were labelled.
        noted: dict[str, Any] = scope.setdefault("state", {})
        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:
            # The inner application has answered with code 500.
            request_log.log_failure(error)
        finally:
            seconds = time.perf_counter() - began
            self._metrics.answered(endpoint_of(scope["path"]), code or 0, seconds)
            request_log.log_request(
                scope["method"],
                scope["path"],
                code or 0,
                seconds,
                noted.get("key"),
                noted.get("texts"),
            )


def endpoint_of(path: str) -> str:
    """Returns the group of an address, one of `service_metrics.ENDPOINTS`."""
    if path == "/v1/predict":
        return service_metrics.PREDICT
    if path == "/v1/models" or path.startswith("/v1/models/"):
        is_predict = path.endswith(":predict")
        return service_metrics.TF_PREDICT if is_predict else service_metrics.MODELS
    if path in _PAGES:
        return service_metrics.PAGES
    return service_metrics.PROBES if path in _PROBES else service_metrics.UNKNOWN
