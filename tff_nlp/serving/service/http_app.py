"""The HTTP interface of a worker: addresses, and what is checked before a model sees a text."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from fastapi import Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

from tff_nlp.serving.service import (
    answers,
    prediction_api,
    request_bodies,
    request_log,
    service_metrics,
    tf_serving_api,
)
from tff_nlp.serving.service import pages as html_pages
from tff_nlp.serving.service.answers import RefusedError
from tff_nlp.serving.service.api_keys import ApiKeys
from tff_nlp.serving.service.gate import App, Gate, Readiness
from tff_nlp.serving.service.rate_limits import RateLimits
from tff_nlp.serving.service.served_models import ServedModel, ServedModels, UnknownModelError
from tff_nlp.serving.service.service_metrics import WorkerMetrics
from tff_nlp.serving.service.text_batches import QueueFullError

_RETRY = {"Retry-After": "1"}


@dataclasses.dataclass(frozen=True)
class RequestLimits:
    """What a request may be.

    Attributes:
      max_bytes: Maximum size of its body.
      max_texts: Maximum number of texts in it.
      seconds: Maximum time in which its body arrives.
    """

    max_bytes: int
    max_texts: int
    seconds: float


@dataclasses.dataclass
class Access:
    """Who may ask for predictions. It is replaced when the file of keys is read again.

    Attributes:
      keys: The keys; None if none is needed.
      limits: The rate limits of the keys.
    """

    keys: ApiKeys | None = None
    limits: RateLimits | None = None


@dataclasses.dataclass(frozen=True)
class Service:
    """What the interface of a worker needs.

    Attributes:
      models: The models.
      readiness: Whether the worker can answer.
      access: Who may ask.
      limits: What a request may be.
      metrics: What is counted.
      log_texts: Whether texts are logged, with masks.
    """

    models: ServedModels
    readiness: Readiness
    access: Access
    limits: RequestLimits
    metrics: WorkerMetrics
    log_texts: bool = False


def build(service: Service) -> App:
    """Returns the ASGI application of a worker."""
    app = FastAPI(title="tff_nlp", version="1", docs_url=None, redoc_url=None)
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(HTTPException, _no_such_address)
    app.add_exception_handler(Exception, _failed)
    _add_pages(app)
    _add_probes(app, service)
    _add_models(app, service)
    _add_predictions(app, service)
    return Gate(app, service.metrics, service.readiness)


def _add_pages(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    async def try_a_model() -> HTMLResponse:
        return html_pages.try_a_model()

    @app.get("/docs", include_in_schema=False)
    async def api_page() -> HTMLResponse:
        return html_pages.api(app.openapi())


def _add_probes(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", summary="Whether the worker runs", response_class=PlainTextResponse)
    async def healthz() -> str:
        return "ok\n"

    @app.get(
        "/readyz",
        summary="Whether the models are loaded and the worker is not stopping",
        response_class=PlainTextResponse,
        responses={503: {"description": "Loading or stopping"}},
    )
    async def readyz() -> Response:
        reason = service.readiness.reason
        return PlainTextResponse(f"{reason or 'ready'}\n", 200 if reason is None else 503)

    @app.get("/metrics", summary="Prometheus metrics over all workers", response_class=Response)
    async def metrics() -> Response:
        text = service.metrics.service.text()
        return Response(text, media_type=service_metrics.CONTENT_TYPE)


def _add_models(app: FastAPI, service: Service) -> None:
    @app.get("/v1/models", summary="The served models with their labels")
    async def models() -> list[dict[str, Any]]:
        return [
            {
                "name": model.spec.name,
                "version": model.spec.version,
                "labels": list(model.label_names),
                "reads_pairs": model.reads_pairs,
                "max_tokens": model.max_tokens,
            }
            for model in service.models.all
        ]

    errors = _errors(404)

    @app.get(
        "/v1/models/{name}",
        summary="Status of a model, in the shape of TensorFlow Serving",
        responses=errors,
    )
    async def status(name: str) -> dict[str, Any]:
        _find(service, name)
        return tf_serving_api.status(m for m in service.models.all if m.spec.name == name)

    @app.get(
        "/v1/models/{name}/versions/{version}",
        summary="Status of a version of a model, in the shape of TensorFlow Serving",
        responses=errors,
    )
    async def version_status(name: str, version: str) -> dict[str, Any]:
        return tf_serving_api.status([_find(service, name, _number(version))])


def _add_predictions(app: FastAPI, service: Service) -> None:
    errors = _errors(400, 401, 404, 408, 413, 422, 429, 503)
    # For the OpenAPI schema only: `_check_key` reads the header.
    key = [Depends(HTTPBearer(auto_error=False, description="API key"))]

    @app.post(
        "/v1/predict",
        summary="Labels texts",
        response_model=prediction_api.PredictResponse,
        responses=errors,
        dependencies=key,
        openapi_extra=_body(prediction_api.PredictRequest.model_json_schema(), _EXAMPLES),
    )
    async def predict(request: Request) -> Response:
        content = request_bodies.parse(await _admit(service, request))
        model = _find(service, *prediction_api.asked_model(content))
        texts = prediction_api.texts_of(content, model.reads_pairs)
        probabilities = await _label(service, request, model, texts)
        return JSONResponse(prediction_api.answer(model, probabilities))

    async def tf_predict(request: Request, name: str, version: int | None) -> Response:
        body = await _admit(service, request)
        try:
            content = request_bodies.parse(body)
            model = _find(service, name, version)
            texts, rows = tf_serving_api.texts_of(content, model.reads_pairs)
            probabilities = await _label(service, request, model, texts)
        except RefusedError as error:  # TensorFlow Serving knows no 422.
            code = 400 if error.code == 422 else error.code
            raise RefusedError(code, error.reason, error.headers) from error
        return JSONResponse(tf_serving_api.answer(model, probabilities, rows))

    shape = _body({"type": "object"}, _TF_EXAMPLES)
    for path in ("/v1/models/{name}:predict", "/v1/models/{name}/versions/{version}:predict"):

        async def handler(request: Request) -> Response:
            version = request.path_params.get("version")
            number = None if version is None else _number(version)
            return await tf_predict(request, request.path_params["name"], number)

        app.post(
            path,
            summary="Labels texts, in the shape of TensorFlow Serving",
            responses=errors,
            dependencies=key,
            openapi_extra=shape,
        )(handler)


async def _admit(service: Service, request: Request) -> bytes:
    """Returns the body of a request that may ask for a prediction.

    Raises:
      RefusedError: If it may not: not ready, no valid key, too many requests, or a bad body.
    """
    if not service.readiness.loaded:
        refused: RefusedError | None = RefusedError(503, "the model is being loaded", _RETRY)
    else:
        refused = _check_key(service.access, request)
    if refused is not None:
        if not await request_bodies.discard(request):
            refused.headers["Connection"] = "close"
        raise refused
    return await request_bodies.read(request, service.limits.max_bytes, service.limits.seconds)


def _check_key(access: Access, request: Request) -> RefusedError | None:
    """Returns why a request is refused for its key, or None. Notes the name of a valid key."""
    if access.keys is None or access.limits is None:
        return None
    scheme, _, sent = request.headers.get("authorization", "").partition(" ")
    key = access.keys.find(sent.strip()) if scheme.lower() == "bearer" else None
    if key is None:
        why = "a valid API key is needed: Authorization: Bearer KEY"
        return RefusedError(401, why, {"WWW-Authenticate": "Bearer"})
    request.state.key = key.name
    wait = access.limits.seconds_to_wait(key.name)
    if wait <= 0:
        return None
    why = f"more than {key.requests_per_minute} requests in a minute"
    return RefusedError(429, why, {"Retry-After": str(math.ceil(wait))})


async def _label(
    service: Service, request: Request, model: ServedModel, texts: Sequence[Any]
) -> np.ndarray:
    """Returns the probabilities of texts, float32[texts, labels].

    Raises:
      RefusedError: If there are too many texts, or the queue is full.
    """
    if len(texts) > service.limits.max_texts:
        why = f"{len(texts)} texts, more than {service.limits.max_texts}"
        raise RefusedError(422, why)
    try:
        waiting = model.batches.submit(texts)
    except QueueFullError as error:
        raise RefusedError(503, "too many texts wait already", _RETRY) from error
    request.state.texts = len(texts)
    if service.log_texts:
        request_log.log_texts(texts)
    return np.concatenate(await waiting)


def _find(service: Service, name: str | None, version: int | None = None) -> ServedModel:
    try:
        return service.models.find(name, version)
    except UnknownModelError as error:
        raise RefusedError(404, str(error)) from error


def _number(version: str) -> int:
    if not version.isascii() or not version.isdecimal() or len(version) > 18:
        raise RefusedError(404, "the version is not a number")
    return int(version)


async def _refused(_: Request, error: Any) -> Response:
    return answers.failure(error.code, error.reason, error.headers)


async def _no_such_address(_: Request, error: Any) -> Response:
    return answers.failure(error.status_code, error.detail, error.headers)


async def _failed(_: Request, error: Exception) -> Response:
    return answers.failure(500, "the service failed; its log says where")


_ERRORS = {
    400: "The body is not JSON, or has another shape",
    401: "No valid API key",
    404: "No such model or version",
    408: "The body took too long to arrive",
    413: "The body is too large",
    422: "The body is JSON, but not a request",
    429: "Too many requests of this key in a minute; see Retry-After",
    503: "Loading, or too many texts wait; see Retry-After",
}
_EXAMPLES: dict[str, Any] = {
    "one": {"summary": "One text:", "value": {"text": "Not bad at all."}},
    "many": {"summary": "Several texts:", "value": {"texts": ["Not bad.", "It broke."]}},
    "pairs": {"summary": "A model of pairs:", "value": {"texts": [["A man eats.", "He eats."]]}},
}
_TF_EXAMPLES: dict[str, Any] = {
    "rows": {"summary": "Rows:", "value": {"instances": ["Not bad.", "It broke."]}},
    "columns": {"summary": "Columns:", "value": {"inputs": {"texts": ["Not bad.", "It broke."]}}},
}


def _errors(*codes: int) -> dict[int | str, dict[str, Any]]:
    model = prediction_api.ErrorResponse
    return {code: {"model": model, "description": _ERRORS[code]} for code in codes}


def _body(schema: dict[str, Any], examples: dict[str, Any]) -> dict[str, Any]:
    """Returns a request body for the OpenAPI schema. The bodies are read by hand."""
    content = {"application/json": {"schema": schema, "examples": examples}}
    return {"requestBody": {"required": True, "content": content}}
