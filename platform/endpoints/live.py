"""What serving says of an endpoint now, and what it answers: asked with the caller's own token, where its own guard decides.

Only endpoints that the caller may know of are asked about. Nothing is changed and nothing is kept.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from mainspring.core import errors, settings
from mainspring.core.contracts import control, deployment, prediction
from mainspring.platform import plane as control_plane
from mainspring.platform.endpoints import service

__all__ = ["explain", "predict", "show", "traffic"]

M = TypeVar("M", bound=BaseModel)

#: A person waits: serving answers in milliseconds, an explanation of some rows in seconds.
_TIMEOUT_SECONDS: Final = 10.0
_BUNDLES: Final = TypeAdapter(list[prediction.BundleView])


async def show(plane: control_plane.ControlPlane, credential: str, name: str) -> control.EndpointLive:
    """Errors: NotFound, also for one that must not be known of. That serving is away is part of the answer."""
    claim = await service.show(plane, credential, name)
    path = f"/v1/endpoints/{quote(name, safe='')}"
    async with _client(plane.serving, credential) as client:
        try:
            view = _read(deployment.EndpointView, await _ask(client, "GET", path))
            stats, bundles = await asyncio.gather(
                _ask(client, "GET", f"{path}/stats"), _ask(client, "GET", "/v1/bundles")
            )
        except errors.NotFound:
            return _without(claim, f"serving has no endpoint `{name}` yet; deploy a bundle there")
        except errors.MainspringError as error:
            return _without(claim, error.message)
    table = view.traffic
    named = {table.stable, table.canary, table.shadow}
    return control.EndpointLive(
        **claim.model_dump(),
        traffic=table,
        stats=_read(deployment.EndpointStats, stats),
        bundles=[one for one in _BUNDLES.validate_json(bundles) if one.digest in named],
    )


async def traffic(
    plane: control_plane.ControlPlane, credential: str, name: str
) -> deployment.TrafficTable | None:
    """Who answers there; None: nobody. Errors: NotFound as :func:`show`; what serving refuses with; DependencyDown without it."""
    await service.show(plane, credential, name)
    async with _client(plane.serving, credential) as client:
        try:
            found = await _ask(client, "GET", f"/v1/endpoints/{quote(name, safe='')}")
        except errors.NotFound:
            return None
    return _read(deployment.EndpointView, found).traffic


def _without(claim: control.EndpointClaim, why: str) -> control.EndpointLive:
    return control.EndpointLive(**claim.model_dump(), unavailable=why)


async def predict(
    plane: control_plane.ControlPlane, credential: str, name: str, asked: prediction.PredictRequest
) -> prediction.PredictResponse:
    """Errors: NotFound; what serving answers; DependencyDown."""
    return _read(prediction.PredictResponse, await _question(plane, credential, name, "predict", asked))


async def explain(
    plane: control_plane.ControlPlane, credential: str, name: str, asked: prediction.PredictRequest
) -> prediction.ExplainResponse:
    """As :func:`predict`. Errors: Conflict if the model has no method for it."""
    return _read(prediction.ExplainResponse, await _question(plane, credential, name, "explain", asked))


async def _question(
    plane: control_plane.ControlPlane,
    credential: str,
    name: str,
    verb: str,
    asked: prediction.PredictRequest,
) -> bytes:
    await service.show(plane, credential, name)
    async with _client(plane.serving, credential) as client:
        return await _ask(client, "POST", f"/v1/endpoints/{quote(name, safe='')}:{verb}", asked)


def _client(s: settings.ServingSettings, credential: str) -> httpx.AsyncClient:
    scheme = "https" if s.tls_certificate else "http"
    # Proxies of the environment are not for our own services.
    return httpx.AsyncClient(
        base_url=f"{scheme}://{s.host}:{s.port}",
        headers={"authorization": credential},
        timeout=_TIMEOUT_SECONDS,
        trust_env=False,
    )


async def _ask(client: httpx.AsyncClient, method: str, path: str, body: BaseModel | None = None) -> bytes:
    """The body of a good answer. Errors: serving's own, rebuilt; DependencyDown, DeadlineExceeded."""
    content = None if body is None else body.model_dump_json(exclude_unset=True)
    try:
        answer = await client.request(
            method, path, content=content, headers={"content-type": "application/json"}
        )
    except httpx.TimeoutException as error:
        raise errors.DeadlineExceeded(
            f"serving did not answer within {_TIMEOUT_SECONDS:.0f} s; ask for fewer rows, or see `mainspring status`",
            stage="serving",
        ) from error
    except httpx.HTTPError as error:
        raise errors.DependencyDown(
            "serving does not answer; `mainspring status` tells what runs, `mainspring up --only serving` starts it",
            name="serving",
        ) from error
    if answer.is_success:
        return answer.content
    if answer.headers.get("content-type", "").startswith("application/problem+json"):
        told: Any = answer.json()
        raise errors.from_wire(told)
    raise errors.DependencyDown(
        f"what stands at serving's address answered {answer.status_code}, and not as serving does; look at `serving.port`",
        name="serving",
    )


def _read(model: type[M], content: bytes) -> M:
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        raise errors.DependencyDown(
            "serving answered what this release does not understand; run one release of both", name="serving"
        ) from error
