"""A worker: a process that loads the models and answers requests on a shared socket."""

import asyncio
import contextlib
import dataclasses
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from tff_nlp.errors import UserError, verbatim
from tff_nlp.serving.service import control_channel, listening, request_log
from tff_nlp.serving.service.api_keys import ApiKeys
from tff_nlp.serving.service.control_channel import Offer, WorkerEnd
from tff_nlp.serving.service.model_list import ModelSpec
from tff_nlp.serving.service.rate_limits import RateLimits
from tff_nlp.serving.service.service_metrics import WorkerMetrics
from tff_nlp.serving.service.text_batches import BatchLimits

if TYPE_CHECKING:  # The module needs TensorFlow.
    import uvicorn

    from tff_nlp.serving.any_model import Model

# Seconds in which a stopping worker still answers, and closes each connection with its answer.
_DRAIN_SECONDS = 0.5
# Turns of the event loop in which waiting connections are accepted: one notices them, one accepts.
_LAST_TURNS = 3
_BACKLOG = 2048
# Seconds that a connection may be idle between requests.
_KEEP_ALIVE_SECONDS = 30
# Function from a model to load to the loaded model, called in the worker.
Load = Callable[[ModelSpec], "Model"]


@dataclasses.dataclass(frozen=True)
class WorkerSettings:
    """What does not change while a service runs.

    Attributes:
      batches: How texts are joined.
      max_bytes: Maximum size of a request's body.
      max_texts: Maximum number of texts in a request.
      client_seconds: Maximum time for the head of a request, and for its body.
      stop_seconds: Maximum time for the last requests.
      max_connections: Maximum number of open connections of a worker.
      log_texts: Whether texts are logged, with masks.
    """

    batches: BatchLimits
    max_bytes: int
    max_texts: int
    client_seconds: float
    stop_seconds: int
    max_connections: int
    log_texts: bool


@dataclasses.dataclass(frozen=True)
class Inherited:
    """What a worker inherits from the supervisor.

    Attributes:
      listener: The bound socket that all workers share.
      control: The worker's end of the control channel.
      rate_limits: File descriptor of the rate limits.
      metrics: The worker's counts.
      alone: Whether no other worker answers. Then this one answers with code 503 while it loads,
        instead of leaving connections unanswered.
    """

    listener: socket.socket
    control: socket.socket
    rate_limits: int
    metrics: WorkerMetrics
    alone: bool


def run(offer: Offer, settings: WorkerSettings, inherited: Inherited, load: Load) -> int:
    """Serves until the supervisor says stop. Returns the exit code of the process."""
    request_log.start()
    inherited.metrics.started()
    return asyncio.run(_Worker(offer, settings, inherited, load).run())


class _Worker:
    def __init__(
        self, offer: Offer, settings: WorkerSettings, inherited: Inherited, load: Load
    ) -> None:
        from tff_nlp.serving.service import gate, http_app
        from tff_nlp.serving.service.served_models import ServedModels

        self._offer = offer
        self._settings = settings
        self._inherited = inherited
        self._load = load
        self._control = WorkerEnd(inherited.control)
        self._models = ServedModels(settings.batches, inherited.metrics)
        self._readiness = gate.Readiness()
        self._access = http_app.Access()
        self._stop = asyncio.Event()
        self._service_ends = False
        # What `prepare` has loaded and `commit` will use.
        self._prepared: tuple[Offer, dict[ModelSpec, Model]] | None = None

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop.set)
        control = loop.create_task(self._obey())
        server, serving = None, None
        if self._inherited.alone:
            server, serving = self._listen()
        try:
            loaded = await self._in_thread(self._offer.models)
        except UserError as error:
            self._control.send(control_channel.FAILED, why=error.marked)
            return 2
        self._use(self._offer, loaded)
        if server is None or serving is None:
            try:
                server, serving = self._listen()
            except OSError as error:
                self._control.send(control_channel.FAILED, why=_cannot_listen(error))
                return 2
        self._readiness.loaded = True
        self._inherited.metrics.ready(True)
        self._control.send(control_channel.READY)
        await self._stop.wait()
        await self._finish(server, serving)
        control.cancel()
        return 0

    def _listen(self) -> tuple["uvicorn.Server", "asyncio.Task[None]"]:
        import uvicorn

        from tff_nlp.serving.service import connections, http_app

        settings = self._settings
        service = http_app.Service(
            self._models,
            self._readiness,
            self._access,
            http_app.RequestLimits(settings.max_bytes, settings.max_texts, settings.client_seconds),
            self._inherited.metrics,
            settings.log_texts,
        )
        config = uvicorn.Config(
            http_app.build(service),
            http=connections.with_time_limit(settings.client_seconds, settings.max_connections),
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=_BACKLOG,
            h11_max_incomplete_event_size=connections.MAX_HEAD,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=settings.stop_seconds,
        )

        class Server(uvicorn.Server):
            """A server that leaves signals to the worker."""

            @contextlib.contextmanager
            def capture_signals(self) -> Iterator[None]:
                yield

        listener = self._inherited.listener
        listener.listen(_BACKLOG)
        server = Server(config)
        return server, asyncio.get_running_loop().create_task(server.serve([listener]))

    async def _finish(self, server: "uvicorn.Server", serving: "asyncio.Task[None]") -> None:
        """Answers the last requests, and ends."""
        self._readiness.stopping = True
        self._inherited.metrics.ready(False)
        await asyncio.sleep(_DRAIN_SECONDS)
        await self._stop_accepting(server)
        server.should_exit = True
        await serving
        await self._models.close()

    async def _stop_accepting(self, server: "uvicorn.Server") -> None:
        """Accepts the connections that the kernel has made already, and closes the socket at once.

        The kernel resets connections that still wait when the last worker closes the socket. So
        none may come in between, unless other workers go on.
        """
        if self._service_ends:
            listening.let_nobody_in(self._inherited.listener)
        for _ in range(_LAST_TURNS):
            await asyncio.sleep(0)
        for one in server.servers:
            one.close()

    async def _obey(self) -> None:
        async for message in self._control.messages():
            if message["kind"] == control_channel.PREPARE:
                await self._prepare(Offer.from_json(message["offer"]), message["turn"])
            elif message["kind"] == control_channel.COMMIT and self._prepared is not None:
                self._use(*self._prepared)
                self._prepared = None
            elif message["kind"] == control_channel.ABORT:
                self._prepared = None
            elif message["kind"] == control_channel.STOP:
                break
        # Told to stop, or the supervisor has died: no worker will be left.
        self._service_ends = True
        self._stop.set()

    async def _prepare(self, offer: Offer, turn: int) -> None:
        try:
            loaded = await self._in_thread(self._models.missing(offer.models))
        except UserError as error:
            self._control.send(control_channel.REFUSED, why=error.marked, turn=turn)
            return
        self._prepared = offer, loaded
        self._control.send(control_channel.PREPARED, turn=turn)

    def _use(self, offer: Offer, loaded: "dict[ModelSpec, Model]") -> None:
        self._models.replace(offer.models, loaded)
        if offer.keys is not None:
            self._access.limits = RateLimits(self._inherited.rate_limits, offer.windows)
            self._access.keys = ApiKeys(offer.keys)

    async def _in_thread(self, specs: Sequence[ModelSpec]) -> "dict[ModelSpec, Model]":
        return await asyncio.to_thread(self._load_all, specs)

    def _load_all(self, specs: Sequence[ModelSpec]) -> "dict[ModelSpec, Model]":
        """Loads and checks models.

        Raises:
          UserError: If a model cannot be loaded, or does not work.
        """
        from tff_nlp.serving.service import served_models

        loaded = {}
        for spec in specs:
            model = self._load(spec)
            try:
                problem = served_models.check(model, self._settings.batches.max_batch)
            except Exception as error:  # Damaged models fail in many ways.
                problem = f"it cannot label a text ({(str(error) or repr(error)).splitlines()[0]})"
            if problem is not None:
                raise UserError(
                    f"`run`: {verbatim(spec)} in {verbatim(spec.folder)}: {verbatim(problem)}"
                )
            loaded[spec] = model
        return loaded


def _cannot_listen(error: OSError) -> str:
    return f"`port`: cannot be used ({verbatim(error.strerror or error)})"
