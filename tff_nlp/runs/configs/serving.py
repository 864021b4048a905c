"""The configuration of the HTTP service."""

import dataclasses
import importlib.util

from tff_nlp.runs import checks
from tff_nlp.runs.options import option

MISSING = "FastAPI and uvicorn are not installed; EXTRAS=serve scripts/setup adds them"


@dataclasses.dataclass(frozen=True)
class ServingConfig:
    """Models, address and limits of the service."""

    run: str = option(
        "",
        "The models to serve, separated by commas: the folder of a run or of an exported model, "
        "NAME=FOLDER or NAME:VERSION=FOLDER. The first one is the default.",
        path=True,
    )
    models: str = option(
        "",
        "File with the models, one a line, instead of `run`. After SIGHUP it is read again.",
        path=True,
    )
    host: str = option("127.0.0.1", "Address of this machine. Others than its own need `api_keys`.")
    port: int = option(8000, "Port; 0: any free one.")
    workers: int = option(1, "Number of processes that answer. Each one loads all models.")
    max_batch: int = option(32, "Maximum number of texts that a model labels together.")
    max_delay_ms: float = option(
        2.0, "Milliseconds that a text waits for others to be labelled with it."
    )
    max_queue: int = option(
        1024, "Maximum number of texts that wait in a worker; more get code 503."
    )
    max_texts: int = option(256, "Maximum number of texts in a request.")
    max_request_bytes: int = option(1 << 20, "Maximum size of a request's body.")
    max_connections: int = option(512, "Maximum number of open connections of a worker.")
    client_timeout: float = option(
        10.0, "Seconds in which a client must send the head of a request, and then its body."
    )
    stop_timeout: int = option(30, "Seconds in which running requests may end after SIGTERM.")
    api_keys: str = option(
        "", "File with the keys that clients need; empty: only this machine is served.", path=True
    )
    log_texts: bool = option(
        False, "Log the texts, with e-mail addresses and numbers masked. Names are not masked."
    )

    def __post_init__(self) -> None:
        for name in ("workers", "max_batch", "max_texts", "max_request_bytes", "max_connections"):
            checks.at_least(1, name, getattr(self, name))
        checks.check(0 <= self.port <= 65535, "port", self.port, "from 0 to 65535")
        good = 0 <= self.max_delay_ms <= 10_000
        checks.check(good, "max_delay_ms", self.max_delay_ms, "from 0 to 10000")
        checks.above_zero("client_timeout", self.client_timeout)
        checks.at_least(1, "stop_timeout", self.stop_timeout)
        if self.max_queue < self.max_texts:
            why = f"must be at least `max_texts`={self.max_texts}, or a request may never fit"
            checks.refuse("max_queue", self.max_queue, why)
        if self.run and self.models:
            checks.refuse("models", self.models, "name the models by `run` or in a file, not both")


@dataclasses.dataclass(frozen=True)
class NewKeyConfig:
    """A new API key."""

    new_key: str = option("", "Add a key of this name to `api_keys`, print it, and end.")
    requests_per_minute: int = option(
        600, "Requests that the new key may make in any 60 seconds, over all workers together."
    )


def check_installed() -> None:
    """Checks that the packages of the service are installed.

    Raises:
      UserError: If one is missing.
    """
    if any(importlib.util.find_spec(name) is None for name in ("fastapi", "uvicorn")):
        checks.refuse_missing("run", MISSING)
