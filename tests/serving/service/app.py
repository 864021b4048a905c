"""A worker's HTTP interface in this process, with made-up models."""

import dataclasses
import pathlib

import httpx

from tests.serving.service.fake_service import FakeModel
from tff_nlp.serving.service import http_app
from tff_nlp.serving.service.gate import Readiness
from tff_nlp.serving.service.http_app import Access, RequestLimits, Service
from tff_nlp.serving.service.model_list import ModelSpec
from tff_nlp.serving.service.served_models import ServedModels
from tff_nlp.serving.service.service_metrics import ServiceMetrics
from tff_nlp.serving.service.text_batches import BatchLimits


@dataclasses.dataclass
class App:
    """The interface and what it consists of."""

    client: httpx.AsyncClient
    readiness: Readiness
    access: Access
    models: ServedModels
    metrics: ServiceMetrics

    async def post(self, content, path="/v1/predict", **more):
        return await self.client.post(path, json=content, **more)


def spec(name, version=1):
    return ModelSpec(name, version, pathlib.Path(name), "0")


def start(models=None, *, max_bytes=10_000, max_texts=5, max_queue=50, log_texts=False):
    """Returns an interface. Must be called in an event loop.

    Args:
      models: Model of each (name, version).
      max_bytes: Maximum size of a body.
      max_texts: Maximum number of texts in a request.
      max_queue: Maximum number of texts that wait.
      log_texts: Whether texts are logged.
    """
    loaded = {spec(*named): model for named, model in (models or {("m", 1): FakeModel()}).items()}
    metrics = ServiceMetrics(1)
    served = ServedModels(BatchLimits(8, 0.001, max_queue), metrics.of_worker(0))
    served.replace(loaded, loaded)
    readiness, access = Readiness(loaded=True), Access()
    limits = RequestLimits(max_bytes, max_texts, 5.0)
    service = Service(served, readiness, access, limits, metrics.of_worker(0), log_texts)
    transport = httpx.ASGITransport(http_app.build(service))
    client = httpx.AsyncClient(transport=transport, base_url="http://service")
    return App(client, readiness, access, served, metrics)
