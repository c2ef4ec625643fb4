"""API keys, limits and masking: an admin's routes. A key cannot make keys: whoever leaks one would leak them all."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from mainspring.core import api_keys, identity
from mainspring.core.contracts import access
from mainspring.core.contracts import masking as contracts
from mainspring.serving.access import limits, masking
from mainspring.serving.http import bodies, payload


@dataclass(frozen=True)
class Parts:
    """What the routes call."""

    keys: api_keys.KeyRing
    limiter: limits.Limiter
    issuer: identity.Issuer
    body_limits: payload.Limits
    masking: masking.Masking


def build(parts: Parts) -> APIRouter:
    """Every route, over `parts`."""
    router = APIRouter(tags=["access"])
    _keys(router, parts)
    _limits(router, parts)
    _masking(router, parts)
    return router


def _keys(router: APIRouter, parts: Parts) -> None:
    @router.post(
        "/v1/keys",
        response_model=access.KeyIssued,
        status_code=201,
        openapi_extra=bodies.documented(access.KeyCreate),
    )
    async def issue(request: Request) -> Response:
        """Issue a key for a caller. It is shown in this answer only. Role: admin."""
        actor = await _admin(parts, request)
        asked = await bodies.read(request, access.KeyCreate, parts.body_limits)
        issued = await run_in_threadpool(parts.keys.issue, asked, by=actor.name)
        answer = bodies.answer(issued)
        answer.status_code = 201
        answer.headers["cache-control"] = "no-store"
        return answer

    @router.post(
        "/v1/keys/{key_id}:rotate",
        response_model=access.KeyIssued,
        status_code=201,
        openapi_extra=bodies.documented(access.KeyRotate),
    )
    async def rotate(key_id: str, request: Request) -> Response:
        """A key in the place of this one, which expires after the overlap. It is shown in this answer only. Role: admin."""
        actor = await _admin(parts, request)
        asked = await bodies.read(request, access.KeyRotate, parts.body_limits)
        issued = await run_in_threadpool(parts.keys.rotate, key_id, asked, by=actor.name)
        answer = bodies.answer(issued)
        answer.status_code = 201
        answer.headers["cache-control"] = "no-store"
        return answer

    @router.get("/v1/keys", response_model=list[access.KeyView])
    async def key_list(request: Request) -> Response:
        """Every key that was ever issued, without the keys themselves. Role: admin."""
        await _admin(parts, request)
        return bodies.answer(parts.keys.views())

    @router.delete("/v1/keys/{key_id}", response_model=access.KeyView)
    async def revoke(key_id: str, request: Request) -> Response:
        """Let a key count no more: here at once, in other processes of this host within a second. Role: admin."""
        actor = await _admin(parts, request)
        return bodies.answer(await run_in_threadpool(parts.keys.revoke, key_id, by=actor.name))


def _limits(router: APIRouter, parts: Parts) -> None:
    @router.get("/v1/limits", response_model=access.LimitsDocument)
    async def limits_in_force(request: Request) -> Response:
        """The limits in force. Role: admin."""
        await _admin(parts, request)
        return bodies.answer(parts.limiter.document)

    @router.put(
        "/v1/limits",
        response_model=access.LimitsDocument,
        openapi_extra=bodies.documented(access.LimitsDocument),
    )
    async def set_limits(request: Request) -> Response:
        """Put the next version of the limits in force, all of it or nothing. Role: admin."""
        actor = await _admin(parts, request)
        asked = await bodies.read(request, access.LimitsDocument, parts.body_limits)
        if not asked.set_by:
            asked = asked.model_copy(update={"set_by": actor.name})
        return bodies.answer(await run_in_threadpool(parts.limiter.apply, asked))


def _masking(router: APIRouter, parts: Parts) -> None:
    @router.get("/v1/masking", response_model=contracts.MaskingDocument)
    async def masking_in_force(request: Request) -> Response:
        """What is shown to whom. Role: admin."""
        await _admin(parts, request)
        return bodies.answer(parts.masking.document)

    @router.put(
        "/v1/masking",
        response_model=contracts.MaskingDocument,
        openapi_extra=bodies.documented(contracts.MaskingDocument),
    )
    async def set_masking(request: Request) -> Response:
        """Put the next version in force, all of it or nothing. Role: admin."""
        actor = await _admin(parts, request)
        asked = await bodies.read(request, contracts.MaskingDocument, parts.body_limits)
        if not asked.set_by:
            asked = asked.model_copy(update={"set_by": actor.name})
        return bodies.answer(await run_in_threadpool(parts.masking.apply, asked))


async def _admin(parts: Parts, request: Request) -> identity.Actor:
    authorization = request.headers.get("authorization")
    await parts.issuer.prepare(authorization)
    actor = parts.issuer.authenticate(authorization)
    actor.require("admin")
    return actor
