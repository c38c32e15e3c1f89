"""The ASGI application: its routes and responses."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from span_marker.core.decoding import Decoding
from span_marker.core.json_values import json_value
from span_marker.core.offsets import OffsetUnit
from span_marker.data.row_relations import RELATIONS
from span_marker.modeling import SpanMarkerModel
from span_marker.prediction.options import finds_relations
from span_marker.rules.rules import all_labels
from span_marker.serving import examples
from span_marker.serving.colors import color_sheet
from span_marker.serving.gate import OPEN_PATHS, Gate
from span_marker.serving.limits import STATUSES, Limits
from span_marker.serving.messages import (
    EXPECTED,
    Count,
    ErrorAnswer,
    Info,
    ModelInfo,
    Options,
    PredictAnswer,
    PredictRequest,
    Probability,
    TaskEntity,
    TaskParameters,
    TaskRequest,
    parse,
)
from span_marker.serving.service import Service
from span_marker.serving.stream import RowStream
from span_marker.version import __version__

PAGE = Path(__file__).with_name("page")

FILES = {"/": "index.html", "/page.css": "page.css", "/page.js": "page.js", "/marks.js": "marks.js"}
"""The files of the page."""

ROWS = ("application/jsonl", "application/x-ndjson", "application/ndjson", "application/json")

router = APIRouter()


class DirectRoute(APIRoute):
    """A route whose function takes the request, the service and the path parameters.

    FastAPI describes it, but does not resolve its arguments, which would take longer than everything else.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of a request."""

        async def answer(request: Request) -> Response:
            response: Response = await self.endpoint(request, request.app.state.service, **request.path_params)
            return response

        return answer


direct = APIRouter(route_class=DirectRoute)
"""Routes on the critical path of most requests."""


async def _service(request: Request) -> Service:  # not in a thread, as FastAPI would run a plain function
    service: Service = request.app.state.service
    return service


Serving = Annotated[Service, Depends(_service)]


def create_app(
    models: Mapping[str, SpanMarkerModel],
    *,
    limits: Limits | None = None,
    api_key: str | None = None,
    cors_origins: Sequence[str] = (),
    batch_size: int = 32,
    num_threads: int | None = None,
) -> FastAPI:
    """Create an ASGI application that finds entities in texts.

    Run it in a single process: it has its own queues and threads, and the models are loaded once.

    Args:
        models: The models, by name. Requests that name no model use the first.
        limits: How much is taken in. Defaults to `Limits`.
        api_key: Key that requests must send as ``Authorization: Bearer KEY`` or ``X-API-Key: KEY``. By default, no key
            is needed.
        cors_origins: Origins whose pages may send requests, such as ``https://example.org``.
        batch_size: Maximum number of sentences in a batch.
        num_threads: Number of PyTorch threads. By default it is left unchanged.

    Returns:
        The application.

    Raises:
        ValueError: If there is no model, or the key is empty or not ASCII.
    """
    if api_key is not None and not (api_key and api_key.isascii() and api_key.isprintable() and " " not in api_key):
        raise ValueError("api_key must be a non-empty string of printable ASCII characters without spaces")
    service = Service(models, limits or Limits(), batch_size, num_threads)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.stop()

    app = FastAPI(
        title="SpanMarker",
        summary="Entities of texts.",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # they load scripts from elsewhere
        redoc_url=None,
        routes=[*direct.routes, *router.routes],
    )
    app.state.service = service
    app.add_exception_handler(HTTPException, _explain)
    app.add_exception_handler(RequestValidationError, _explain_query)
    app.add_exception_handler(ClientDisconnect, _give_up)
    app.add_exception_handler(Exception, _apologize)
    app.add_middleware(Gate, api_key=api_key, metrics=service.metrics, open_paths=OPEN_PATHS | {*FILES, "/colors.css"})
    if cors_origins:
        headers = ["Authorization", "Content-Type", "X-API-Key"]
        app.add_middleware(
            CORSMiddleware, allow_origins=cors_origins, allow_methods=["GET", "POST"], allow_headers=headers
        )
    return app


async def _explain(request: Request, error: Any) -> Response:
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _explain_query(request: Request, error: Any) -> Response:
    name = str(error.errors()[0]["loc"][-1])
    return JSONResponse({"error": f"{name!r} must be {EXPECTED.get(name, 'another value')}"}, 422)


async def _give_up(request: Request, error: Any) -> Response:
    return Response(status_code=499)


async def _apologize(request: Request, error: Any) -> Response:
    return JSONResponse({"error": "the server failed on this request; see its log"}, 500)


def _json(value: Any) -> Response:
    """A JSON response. Pydantic serializes it several times as fast as the standard library."""
    body = to_json(value)
    if b"NaN" in body or b"Infinity" in body:  # in a text, or as a number that JSON lacks, which raises an error
        json.dumps(value, allow_nan=False)
    return Response(body, media_type="application/json")


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ErrorAnswer, "description": STATUSES[status]} for status in (401, *statuses)}


def _body(kind: type[BaseModel], shown: Mapping[str, Any]) -> dict[str, Any]:
    """The OpenAPI description of a body that is read manually, so that its size can be limited while it arrives."""
    schema = kind.model_json_schema()
    content = {
        "schema": _inline(schema, schema.pop("$defs", {})),
        "examples": {name: {"value": value} for name, value in shown.items()},
    }
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


def _inline(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """Replace references with the definitions that they refer to, which have no other place in the description."""
    if isinstance(schema, list):
        return [_inline(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inline(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {name: _inline(part, definitions) for name, part in schema.items()}


def _check_type(request: Request, *types: str) -> None:
    """Refuse what pages of other origins can send without a CORS preflight: forms and plain text."""
    sent = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if sent not in types:
        raise HTTPException(415, f"send the body with the header Content-Type: {types[0]}")


def _check_query(request: Request, *known: str) -> None:
    """Refuse unknown query parameters, such as a misspelled option."""
    names = request.query_params if request.scope["query_string"] else ()
    unknown = next((name for name in names if name not in known), None)
    if unknown is not None:
        rest = f"supported are {', '.join(map(repr, known))}" if known else "pass options as fields of the body"
        raise HTTPException(422, f"unknown query parameter {unknown[:80]!r}: {rest}")


@direct.post(
    "/predict",
    response_model=PredictAnswer,
    responses=_errors(400, 404, 408, 413, 415, 422, 429, 500, 503, 504),
    openapi_extra=_body(PredictRequest, examples.PREDICT),
)
async def predict(request: Request, service: Serving) -> Response:
    """Find the entities of one text or many, see `SpanMarkerModel.predict`."""
    _check_type(request, "application/json")
    _check_query(request)
    with service.admission.enter():
        asked = parse(PredictRequest, await service.limits.read_body(request))
        plan = await service.plan(asked.model, asked)
        sentences, are_words, is_single = asked.sentences()
        await service.limits.check_words(sentences)
        found = await service.read(plan, sentences, are_words, request)
        has_relations = finds_relations(service.models[plan.model], asked.relations)
        names = ["entities", *([RELATIONS] if has_relations else []), *(["coverage"] if asked.return_coverage else [])]
        rows = [plan.select(columns) for columns, _ in found]
        if asked.return_coverage:
            rows = [{**row, "coverage": json_value(coverage)} for row, (_, coverage) in zip(rows, found, strict=True)]
        answer = {name: rows[0][name] if is_single else [row[name] for row in rows] for name in names}
        return _json({"model": plan.model, **answer})


@router.post(
    "/predict/stream",
    response_class=Response,
    responses={
        200: {"description": "One row per line, in order.", "content": {"application/jsonl": {}}},
        **_errors(404, 415, 422, 429),
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/jsonl": {"schema": {"type": "string"}, "example": examples.LINES}},
        }
    },
)
async def predict_stream(
    request: Request,
    service: Serving,
    model: Annotated[str | None, Query()] = None,
    threshold: Annotated[Probability | None, Query()] = None,
    decoding: Annotated[Decoding | None, Query()] = None,
    top_k: Annotated[Count | None, Query()] = None,
    exact: Annotated[bool | None, Query()] = None,
    split_sentences: Annotated[bool, Query()] = False,
    offsets: Annotated[OffsetUnit, Query()] = "codepoint",
    propagate: Annotated[bool, Query()] = False,
    relations: Annotated[bool | None, Query()] = None,
    relation_threshold: Annotated[Probability | None, Query()] = None,
    labels: Annotated[list[str] | None, Query()] = None,
) -> Response:
    """Find the entities of JSON lines with `text` or `tokens`. Each row comes back with `entities`, or `error`.

    If the model has relations, each row also gets `relations`. Those that a row has are left out.

    Read the answer while you send: the server reads no further than you do.
    """
    _check_type(request, *ROWS)
    _check_query(request, "model", *Options.model_fields)
    options = Options(
        threshold=threshold,
        decoding=decoding,
        top_k=top_k,
        exact=exact,
        split_sentences=split_sentences,
        offsets=offsets,
        propagate=propagate,
        relations=relations,
        relation_threshold=relation_threshold,
        labels=labels,
    )
    return RowStream(request, service, await service.plan(model, options))


@direct.post(
    "/",
    response_model=list[TaskEntity] | list[list[TaskEntity]],
    responses=_errors(400, 408, 413, 415, 422, 429, 500, 503, 504),
    openapi_extra=_body(TaskRequest, examples.TASK),
)
async def token_classification(request: Request, service: Serving) -> Response:
    """Answer as the stock task token-classification does, with the first model."""
    return await _answer_task(request, service, None)


@direct.post(
    "/models/{name}",
    response_model=list[TaskEntity] | list[list[TaskEntity]],
    responses=_errors(400, 404, 408, 413, 415, 422, 429, 500, 503, 504),
    openapi_extra=_body(TaskRequest, examples.TASK),
)
async def token_classification_by(request: Request, service: Serving, name: str) -> Response:
    """Answer as the stock task token-classification does, with one of the models."""
    return await _answer_task(request, service, name)


async def _answer_task(request: Request, service: Service, name: str | None) -> Response:
    _check_type(request, "application/json")
    with service.admission.enter():
        asked = parse(TaskRequest, await service.limits.read_body(request))
        parameters = asked.parameters or TaskParameters()
        plan = await service.plan(
            name, Options(threshold=parameters.threshold, decoding=parameters.decoding, relations=False)
        )
        texts = [asked.inputs] if isinstance(asked.inputs, str) else asked.inputs
        await service.limits.check_words(texts)
        found = await service.read(plan, texts, False, request)
        answers = [
            [_task_entity(e) for e in columns["entities"] if e["label"] not in (parameters.ignore_labels or ())]
            for columns, _ in found
        ]
        return _json(answers[0] if isinstance(asked.inputs, str) else answers)


def _task_entity(entity: Mapping[str, Any]) -> dict[str, Any]:
    places = {"start": entity["char_start_index"], "end": entity["char_end_index"]}
    return {"entity_group": entity["label"], "score": entity["score"], "word": entity["span"], **places}


@router.get("/health")
async def health() -> dict[str, str]:
    """Whether the process answers."""
    return {"status": "alive"}


@router.get("/ready", responses={503: {"model": ErrorAnswer, "description": "The server accepts no requests."}})
async def ready(service: Serving) -> dict[str, str]:
    """Whether requests are read, and there is room for more."""
    if not service.is_running or service.admission.num_inside >= service.limits.max_requests:
        raise HTTPException(503, "the server is stopping or at its limit of concurrent requests")
    return {"status": "ready"}


@router.get("/metrics", response_class=PlainTextResponse, responses=_errors())
async def metrics(service: Serving) -> Response:
    """Figures for Prometheus."""
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/info", responses=_errors())
async def info(service: Serving) -> Info:
    """Models and limits."""
    models = [
        ModelInfo(
            name=name,
            labels=all_labels(model.labels, model.rules),
            relation_labels=(model.config.relation_labels or [])[1:],
            decoding=model.config.decoder().decoding,
            thresholds=json_value(model.config.thresholds),
            relation_thresholds=json_value(model.config.relation_thresholds),
            model_max_length=model.max_text_length,
            entity_max_length=model.config.limit("entity_max_length"),
            num_parameters=model.num_parameters(),
            device=str(model.device),
            dtype=str(model.dtype).removeprefix("torch."),
        )
        for name, model in service.models.items()
    ]
    return Info(version=__version__, models=models, limits=asdict(service.limits))


@router.get("/colors.css", include_in_schema=False)
async def colors() -> Response:
    """The colors of labels, as on all pages of the library."""
    return Response(color_sheet(), media_type="text/css")


def _file(name: str) -> Any:
    async def send() -> Response:
        return FileResponse(PAGE / name)

    return send


for path, name in FILES.items():
    router.add_api_route(path, _file(name), include_in_schema=False)
