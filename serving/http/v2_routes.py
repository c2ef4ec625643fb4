"""The Open Inference Protocol v2 over REST. Each route parses, makes one call, answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import orjson
from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from mainspring.core import errors, identity
from mainspring.serving.http import payload, probes, v2_infer
from mainspring.serving.protocols.v2 import describe

_INFER_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "JSON as the protocol says, or JSON and binary tensors after it",
        "content": {"application/json": {}, "application/octet-stream": {}},
    }
}


class _RepositoryBody(msgspec.Struct):
    parameters: dict[str, Any] = {}
    ready: bool = False


@dataclass(frozen=True)
class Parts:
    """What the routes call. `admit` authenticates whoever changes what is served."""

    infer: v2_infer.Infer
    probes: probes.Probes
    admit: Callable[[str | None], identity.Actor]
    version: str


def build(parts: Parts) -> APIRouter:
    """Every v2 route, over `parts`."""
    router = APIRouter(tags=["open inference protocol v2"])
    for add in (_health, _statistics, _models, _infer, _repository):
        add(router, parts)
    return router


def _health(router: APIRouter, parts: Parts) -> None:
    @router.get("/v2")
    async def server_metadata() -> Response:
        """Name, version and extensions of the server."""
        return _json(describe.server(parts.version))

    @router.get("/v2/health/live")
    async def live() -> Response:
        """The process answers."""
        return Response()

    @router.get("/v2/health/ready")
    async def ready() -> Response:
        """The online store answers; 503 if it does not."""
        return await parts.probes.ready()


def _statistics(router: APIRouter, parts: Parts) -> None:
    models, counts = parts.infer.inference.models, parts.infer.inference.book

    # Before the routes of a model: one called `stats` cannot be asked for, as in Triton.
    @router.get("/v2/models/stats")
    async def all_statistics() -> Response:
        """Statistics of every model and version."""
        return _json(describe.statistics(models, counts, "", ""))

    @router.get("/v2/models/{name}/stats")
    @router.get("/v2/models/{name}/versions/{version}/stats")
    async def statistics(name: str, version: str = "") -> Response:
        """Statistics of one model, or of one version of it."""
        return _json(describe.statistics(models, counts, name, version))


def _models(router: APIRouter, parts: Parts) -> None:
    models = parts.infer.inference.models

    @router.get("/v2/models/{name}/ready")
    @router.get("/v2/models/{name}/versions/{version}/ready")
    async def model_ready(name: str, version: str = "") -> Response:
        """200 if the model answers; 503 if it is not loaded; 404 if there is none."""
        models.get(name).signature(version)
        return Response()

    @router.get("/v2/models/{name}/config")
    @router.get("/v2/models/{name}/versions/{version}/config")
    async def model_config(name: str, version: str = "") -> Response:
        """The model as Triton's model configuration."""
        return _json(describe.config(models.get(name), version))


def _infer(router: APIRouter, parts: Parts) -> None:
    @router.post("/v2/models/{name}/infer", openapi_extra=_INFER_BODY)
    @router.post("/v2/models/{name}/versions/{version}/infer", openapi_extra=_INFER_BODY)
    async def infer(request: Request, name: str, version: str = "") -> Response:
        """Run the model on the tensors of the body."""
        fields, body = await parts.infer.answer(name, version, dict(request.headers), request.receive)
        answer = Response(body)
        answer.raw_headers = fields
        return answer

    @router.get("/v2/models/{name}")
    @router.get("/v2/models/{name}/versions/{version}")
    async def model_metadata(name: str, version: str = "") -> Response:
        """Inputs, outputs and versions of one model."""
        return _json(describe.model(parts.infer.inference.models.get(name), version))


def _repository(router: APIRouter, parts: Parts) -> None:
    models = parts.infer.inference.models

    async def read(request: Request) -> _RepositoryBody:
        body = await payload.receive_body(request.receive, dict(request.headers), parts.infer.limits)
        if not body:
            return _RepositoryBody()
        try:
            return msgspec.json.decode(body, type=_RepositoryBody)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise errors.InvalidRequest(
                f"body is no repository request: {str(error)[:200]}; send a JSON object", field="body"
            ) from error

    @router.post("/v2/repository/index")
    async def index(request: Request) -> Response:
        """Every version of every model, with its state."""
        return _json(describe.index(models, only_ready=(await read(request)).ready))

    @router.post("/v2/repository/models/{name}/load")
    async def load(request: Request, name: str) -> Response:
        """Make a model ready."""
        parts.admit(request.headers.get("authorization"))
        describe.check_load_parameters((await read(request)).parameters)
        await run_in_threadpool(models.load, name)
        return Response()

    @router.post("/v2/repository/models/{name}/unload")
    async def unload(request: Request, name: str) -> Response:
        """Stop answering for a model over v2."""
        parts.admit(request.headers.get("authorization"))
        describe.check_load_parameters((await read(request)).parameters)
        await run_in_threadpool(models.unload, name)
        return Response()


def _json(value: object) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")
