"""The routes of the data plane. Each parses, makes one call, answers."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from mainspring.core import errors, identity, ports
from mainspring.core.contracts import deployment, features, keys, prediction, quality
from mainspring.serving import bundles, endpoints, gate, plane, trust
from mainspring.serving.access import guard
from mainspring.serving.features import expectations, push
from mainspring.serving.http import bodies, feature_reads, payload, predict_bodies, probes, v2_infer

if TYPE_CHECKING:
    from mainspring.core.quality import pushes


@dataclass(frozen=True)
class Parts:
    """What the routes call."""

    plane: plane.Plane
    endpoints: endpoints.Endpoints
    shelf: bundles.BundleShelf
    online: ports.OnlineFeatures
    issuer: identity.Issuer
    admit: Callable[[str | None], identity.Actor]
    limits: payload.Limits
    gate: gate.Gate
    reads: feature_reads.FeatureReads
    probes: probes.Probes
    max_rows: int
    """Of one request for predictions."""
    checked: pushes.CheckedFeatures | None = None
    """The online store's gate; None where no view has expectations."""
    bundle_dir: Path = Path("bundles")
    """Where marks of withdrawn bundles are."""
    trusted_keys_dir: Path = Path("keys/trusted")
    """Whose signatures are believed."""


def build(parts: Parts) -> APIRouter:
    """Every route, over `parts`."""
    router = APIRouter()
    for routes in (_health, _predictions, _endpoints, _bundles, _features, _quarantine):
        router.include_router(routes(parts))
    return router


def _health(parts: Parts) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        """The process answers."""
        return await parts.probes.healthz()

    @router.get("/readyz")
    async def readyz() -> dict[str, object]:
        """The online store answers. Bundles need no check: without all of them the process does not start."""
        return await parts.probes.readyz()

    @router.get("/metrics")
    async def metrics() -> Response:
        """Every counter in Prometheus' text format."""
        return await parts.probes.metrics()

    return router


def _predictions(parts: Parts) -> APIRouter:
    router = APIRouter(tags=["predictions"])
    other_bodies = predict_bodies.Parts(parts.plane, parts.limits, parts.gate, parts.max_rows)

    @router.post(
        "/v1/endpoints/{name}:predict",
        response_model=prediction.PredictResponse,
        openapi_extra=bodies.documented(prediction.PredictRequest),
    )
    async def predict(name: str, request: Request) -> Response:
        """Score every entity or row of the body, in order."""
        if predict_bodies.applies(request):
            return await predict_bodies.answer(other_bodies, name, request)
        asked = await bodies.read(request, prediction.PredictRequest, parts.limits)
        guard.charge(asked.n_rows)
        deadline = v2_infer.deadline_of(dict(request.headers))
        work = functools.partial(parts.plane.predict, name, asked, request.state.request_id)
        answer, _ = await gate.until_gone(
            parts.gate.run(work, deadline=deadline), lambda: payload.wait_until_gone(request.receive)
        )
        return bodies.answer(answer)

    return router


def _endpoints(parts: Parts) -> APIRouter:
    router = APIRouter(tags=["endpoints"])

    @router.get("/v1/endpoints", response_model=list[deployment.EndpointView])
    async def endpoint_list() -> Response:
        """Every endpoint with its traffic."""
        return bodies.answer(parts.endpoints.views())

    @router.get("/v1/endpoints/{name}", response_model=deployment.EndpointView)
    async def endpoint(name: str) -> Response:
        """One endpoint with its traffic."""
        return bodies.answer(parts.endpoints.view(name))

    @router.put(
        "/v1/endpoints/{name}/traffic",
        response_model=deployment.EndpointView,
        openapi_extra=bodies.documented(deployment.TrafficTable),
    )
    async def set_traffic(name: str, request: Request) -> Response:
        """Put the next version of the traffic table in force."""
        actor = _admin(parts, request)
        table = await bodies.read(request, deployment.TrafficTable, parts.limits)
        _check_same("endpoint", table.endpoint, name)
        if not table.set_by:
            table = table.model_copy(update={"set_by": actor.name})
        return bodies.answer(await run_in_threadpool(parts.endpoints.apply, table))

    @router.get("/v1/endpoints/{name}/stats", response_model=deployment.EndpointStats)
    async def stats(name: str) -> Response:
        """What was seen of each bundle under the traffic in force."""
        return bodies.answer(parts.endpoints.stats(name))

    @router.post("/v1/endpoints/{name}:rest", response_model=deployment.EndpointRested)
    async def rest(name: str, request: Request) -> Response:
        """Let go of weights that this endpoint alone answers by, until somebody asks; its traffic stays in force."""
        _admin(parts, request)
        return bodies.answer(await run_in_threadpool(parts.endpoints.rest, name))

    @router.post(
        "/v1/endpoints/{name}:release",
        response_model=deployment.EndpointReleased,
        openapi_extra=bodies.documented(deployment.EndpointRelease),
    )
    async def release(name: str, request: Request) -> Response:
        """Take the endpoint out of service: nobody answers there until a bundle gets its traffic again."""
        actor = _admin(parts, request)
        asked = await bodies.read(request, deployment.EndpointRelease, parts.limits)
        if not asked.set_by:
            asked = asked.model_copy(update={"set_by": actor.name})
        return bodies.answer(await run_in_threadpool(parts.endpoints.release, name, asked))

    @router.get("/v1/endpoints/{name}/released", response_model=deployment.EndpointReleased)
    async def released(name: str) -> Response:
        """Its last release, also where it is in service again: versions of its traffic go on from there."""
        return bodies.answer(parts.endpoints.released(name))

    return router


def _bundles(parts: Parts) -> APIRouter:
    router = APIRouter(tags=["bundles"])

    @router.post(
        "/v1/bundles:load",
        response_model=prediction.BundleView,
        openapi_extra=bodies.documented(prediction.BundleLoad),
    )
    async def load(request: Request) -> Response:
        """Load a bundle of the bundle store, so that traffic can be moved to it."""
        _admin(parts, request)
        asked = await bodies.read(request, prediction.BundleLoad, parts.limits)
        shelved = await run_in_threadpool(parts.shelf.load, asked.digest)
        return bodies.answer(shelved.view)

    @router.post(
        "/v1/bundles:withdraw",
        response_model=prediction.BundleWithdrawal,
        openapi_extra=bodies.documented(prediction.BundleWithdraw),
    )
    async def withdraw(request: Request) -> Response:
        """Unload a bundle and deny it to everybody from now on; a revocation does so whatever traffic names it."""
        actor = _admin(parts, request)
        asked = await bodies.read(request, prediction.BundleWithdraw, parts.limits)
        work = functools.partial(parts.endpoints.withdraw, parts.bundle_dir, asked, by=actor.name)
        return bodies.answer(await run_in_threadpool(work))

    @router.get("/v1/bundles", response_model=list[prediction.BundleView])
    async def bundle_list() -> Response:
        """Every loaded bundle."""
        return bodies.answer(parts.shelf.views())

    @router.get("/v1/trusted-keys", response_model=keys.TrustView)
    async def trusted_keys() -> Response:
        """Whose signatures on bundles are believed now, and whose are not any more, by key id."""
        return bodies.answer(await run_in_threadpool(trust.view, parts.trusted_keys_dir))

    return router


def _features(parts: Parts) -> APIRouter:
    router = APIRouter(tags=["features"])

    @router.post(
        "/v1/features/{view}:push",
        response_model=prediction.FeaturePushResult,
        openapi_extra=bodies.documented(prediction.FeaturePush),
    )
    async def push_features(view: str, request: Request) -> Response:
        """Upsert newest rows of one view, all or none."""
        _admin(parts, request)
        asked = await bodies.read(request, prediction.FeaturePush, parts.limits)
        _check_same("view", asked.view, view)
        now_us = time.time_ns() // 1000
        return bodies.answer(await run_in_threadpool(push.push, parts.online, asked, now_us=now_us))

    async def read_features(request: Request) -> Response:
        """The newest values of features for entities, a view looked up once; JSON, or Arrow IPC if `accept` says so."""
        headers, body = await parts.reads.answer(dict(request.headers), request.receive)
        return Response(body, headers={name.decode(): value.decode() for name, value in headers})

    for path in feature_reads.PATHS:
        router.add_api_route(
            path,
            read_features,
            methods=["POST"],
            openapi_extra=bodies.documented(features.FeatureRead),
            operation_id=path.strip("/").replace("/", "_").replace(":", "_").replace("-", "_"),
        )
    return router


def _quarantine(parts: Parts) -> APIRouter:
    router = APIRouter(tags=["features"])

    @router.get("/v1/features/quarantine")
    async def held_list(request: Request) -> dict[str, list[str]]:
        """Names of the pushes that were refused."""
        _admin(parts, request)
        held = expectations.require(parts.checked).quarantine
        return {"held": list(await run_in_threadpool(held.names))}

    @router.get("/v1/features/quarantine/{name}")
    async def held(name: str, request: Request) -> Response:
        """One refused push with its report, without values of its rows, and who let it in if somebody did."""
        _admin(parts, request)
        found = expectations.require(parts.checked).quarantine
        return bodies.answer((await run_in_threadpool(found.describe, name)).without_values())

    @router.post(
        "/v1/features/quarantine/{name}:release",
        response_model=prediction.FeaturePushResult,
        openapi_extra=bodies.documented(quality.ReleaseCreate),
    )
    async def release(name: str, request: Request) -> Response:
        """Push a refused batch although it failed. Role: approver, with a reason. Newer rows of its keys stay."""
        authorization = request.headers.get("authorization")
        await parts.issuer.prepare(authorization)
        actor = parts.issuer.authenticate(authorization)
        asked = await bodies.read(request, quality.ReleaseCreate, parts.limits)
        checked = expectations.require(parts.checked)
        work = functools.partial(checked.release, name, actor=actor, reason=asked.reason)
        return bodies.answer(await run_in_threadpool(work))

    return router


def _admin(parts: Parts, request: Request) -> identity.Actor:
    return parts.admit(request.headers.get("authorization"))


def _check_same(field: str, in_body: str, in_path: str) -> None:
    if in_body != in_path:
        raise errors.InvalidRequest(
            f"`{field}` is `{in_body}` in the body and `{in_path}` in the path; send one name", field=field
        )
