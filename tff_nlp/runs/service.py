"""Serves trained classifiers over HTTP, or adds an API key."""

import dataclasses
import pathlib
from collections.abc import Callable

from tff_nlp.errors import UserError, verbatim
from tff_nlp.runs.configs import serving
from tff_nlp.runs.configs.serving import NewKeyConfig, ServingConfig
from tff_nlp.serving.service import api_keys, listening, model_list, supervisor, worker
from tff_nlp.serving.service.control_channel import Offer
from tff_nlp.serving.service.rate_limits import WindowMemory
from tff_nlp.serving.service.text_batches import BatchLimits

# Function that shows a line to the user, a marked text (`errors`).
Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Service:
    """The whole configuration of a service.

    Attributes:
      serving: Models, address and limits.
      new_key: A key to add instead.
    """

    serving: ServingConfig
    new_key: NewKeyConfig = NewKeyConfig()


def add_key(config: Service, say: Say) -> str:
    """Adds a new key to the file of keys. Returns the key, which cannot be shown again.

    Raises:
      UserError: If the name or the file is not possible.
      WriteError: If the file cannot be written.
    """
    path = config.serving.api_keys
    if not path:
        raise UserError("`api_keys` is needed: the file to add the key to")
    asked = config.new_key
    key = api_keys.add(pathlib.Path(path), asked.new_key, asked.requests_per_minute)
    say(f"{asked.new_key} was added to {verbatim(path)}; a running service reads it after SIGHUP")
    return key


def serve(config: Service, say: Say) -> None:
    """Serves until SIGTERM or SIGINT.

    Args:
      config: The configuration.
      say: Function that shows a line to the user.

    Raises:
      UserError: If an option, a file or a model is wrong, or the port is taken.
      RunError: If workers die again and again.
    """
    serving.check_installed()
    asked = config.serving
    memory = WindowMemory()

    def offer() -> Offer:
        entries = _entries(asked)
        models = model_list.parse(entries, "models" if asked.models else "run")
        keys = api_keys.read(pathlib.Path(asked.api_keys)) if asked.api_keys else None
        return Offer(models, keys, memory.windows(keys or ()))

    first = offer()
    listener = listening.bind(asked.host, asked.port, only_local=first.keys is None)
    say(f"loading {', '.join(verbatim(spec) for spec in first.models)}")

    def began() -> None:
        address = listening.address_of(listener)
        say(f"serving at {address} with {asked.workers} workers; SIGTERM stops, SIGHUP reads again")
        if first.keys is None:
            say("without `api_keys`, only this machine is served, and all its users")

    settings = worker.WorkerSettings(
        BatchLimits(asked.max_batch, asked.max_delay_ms / 1000, asked.max_queue),
        asked.max_request_bytes,
        asked.max_texts,
        asked.client_timeout,
        asked.stop_timeout,
        asked.max_connections,
        asked.log_texts,
    )

    def load() -> worker.Load:
        from tff_nlp.serving.service import model_loading

        return model_loading.loader(asked.workers)

    running = supervisor.Supervisor(listener, memory, settings, asked.workers, load, say)
    running.run(first, offer, began)
    say("stopped")


def _entries(asked: ServingConfig) -> list[str]:
    """Returns the entries that name the models."""
    if asked.models:
        return model_list.read(pathlib.Path(asked.models), "models")
    return [entry.strip() for entry in asked.run.split(",") if entry.strip()]
