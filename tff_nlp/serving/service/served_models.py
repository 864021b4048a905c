"""The models that a worker serves, by name and version."""

import asyncio
import concurrent.futures
import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tff_nlp.serving.service.model_list import ModelSpec
from tff_nlp.serving.service.service_metrics import WorkerMetrics
from tff_nlp.serving.service.text_batches import BatchLimits, TextBatches

if TYPE_CHECKING:  # The module needs TensorFlow.
    from tff_nlp.serving.any_model import Model

_CHECK_TEXT = "It is good."
# A batch is computed in parts of this many texts of similar length, since each text is padded to
# the longest one of its part. Whole batches of 32 took 1.4 to 1.6 times as long on two cores.
_TEXTS_AT_A_TIME = 16


class UnknownModelError(LookupError):
    """No such model or version is served. The message is for the client."""


@dataclasses.dataclass(frozen=True, eq=False)
class ServedModel:
    """A model that answers requests.

    Attributes:
      spec: Its name, version and folder.
      label_names: Names of the labels, in the order of the probabilities.
      reads_pairs: Whether it labels pairs of texts.
      max_tokens: Maximum number of tokens that it reads.
      batches: Its queue.
    """

    spec: ModelSpec
    label_names: tuple[str, ...]
    reads_pairs: bool
    max_tokens: int
    batches: TextBatches


class ServedModels:
    """All models of a worker, and the thread that they run in."""

    def __init__(self, limits: BatchLimits, metrics: WorkerMetrics) -> None:
        """Starts without a model."""
        self._limits = limits
        self._metrics = metrics
        self._executor = concurrent.futures.ThreadPoolExecutor(1, "model")
        self._models: dict[ModelSpec, ServedModel] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    @property
    def all(self) -> tuple[ServedModel, ...]:
        """All models, in the order in which they were named."""
        return tuple(self._models.values())

    def missing(self, specs: Iterable[ModelSpec]) -> list[ModelSpec]:
        """Returns which models of a list are not served yet."""
        return [spec for spec in specs if spec not in self._models]

    def find(self, name: str | None, version: int | None = None) -> ServedModel:
        """Returns the model of a request.

        Args:
          name: Name of the model. None for the first one.
          version: Number of the version. None for the highest one.

        Raises:
          UnknownModelError: If there is no such model or version.
        """
        if name is None and self._models:
            name = next(iter(self._models)).name
        versions = {spec.version: spec for spec in self._models if spec.name == name}
        wanted = max(versions, default=0) if version is None else version
        if wanted not in versions:
            which = "Latest" if version is None else "Specific"
            asked = name if version is None else f"{name}, {version}"
            raise UnknownModelError(f"Servable not found for request: {which}({asked})")
        return self._models[versions[wanted]]

    def replace(self, specs: Iterable[ModelSpec], loaded: dict[ModelSpec, "Model"]) -> None:
        """Serves other models from now on. Models that left answer what they have accepted.

        Args:
          specs: All models to serve.
          loaded: Those that were `missing`.
        """
        before, self._models = self._models, {}
        for spec in specs:
            kept = before.pop(spec) if spec in before else None
            self._models[spec] = kept or self._serve(spec, loaded[spec])
        for model in before.values():
            task = asyncio.get_running_loop().create_task(model.batches.close())
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    async def close(self) -> None:
        """Answers what was accepted, and ends."""
        await asyncio.gather(*self._leaving, *(model.batches.close() for model in self.all))
        self._executor.shutdown()

    def _serve(self, spec: ModelSpec, model: "Model") -> ServedModel:
        def label(texts: Sequence[Any]) -> np.ndarray:
            return model.predict(texts, batch_size=_TEXTS_AT_A_TIME).probabilities

        batches = TextBatches(label, self._limits, self._executor, self._metrics)
        return ServedModel(
            spec, tuple(model.label_names), model.reads_pairs, model.max_tokens, batches
        )


def check(model: "Model", max_batch: int) -> str | None:
    """Labels a text, and a whole batch, before a model is served.

    Returns:
      The problem, or None if the probabilities are sound.
    """
    text: Any = (_CHECK_TEXT, _CHECK_TEXT) if model.reads_pairs else _CHECK_TEXT
    for number in (1, max_batch):
        probabilities = model.predict([text] * number, batch_size=_TEXTS_AT_A_TIME).probabilities
        if probabilities.shape != (number, len(model.label_names)):
            return f"its probabilities have the shape {probabilities.shape}"
        sums = probabilities.sum(axis=1)
        if not all(math.isclose(total, 1.0, abs_tol=1e-3) for total in sums):
            return "its probabilities do not add up to 1"
    return None
