"""Rows of one subject in the online store, for an erasure: how many there are, and that they go."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from mainspring.core import errors, identity, ports
from mainspring.core.contracts import erasure
from mainspring.core.features import online
from mainspring.serving.http import bodies, payload


@dataclass(frozen=True)
class Parts:
    """What the routes call."""

    store: ports.OnlineFeatures
    issuer: identity.Issuer
    body_limits: payload.Limits


def build(parts: Parts) -> APIRouter:
    """Both routes, over `parts`."""
    router = APIRouter(tags=["subjects"])

    @router.post(
        "/v1/subjects:find",
        response_model=erasure.OnlineRows,
        openapi_extra=bodies.documented(erasure.OnlineSubject),
    )
    async def find_subject(request: Request) -> Response:
        """How many online rows have a key, by view; rows of any age count. Role: service or admin."""
        asked = await _asked(parts, request)
        work = functools.partial(_store(parts).held, asked.views, asked.columns, asked.key)
        return bodies.answer(erasure.OnlineRows(rows=await run_in_threadpool(work)))

    @router.post(
        "/v1/subjects:erase",
        response_model=erasure.OnlineRows,
        openapi_extra=bodies.documented(erasure.OnlineSubject),
    )
    async def erase_subject(request: Request) -> Response:
        """Delete these rows from memory and disk; again there is nothing to delete. Role: service or admin."""
        asked = await _asked(parts, request)
        work = functools.partial(_store(parts).forget, asked.views, asked.columns, asked.key)
        return bodies.answer(erasure.OnlineRows(rows=await run_in_threadpool(work)))

    return router


async def _asked(parts: Parts, request: Request) -> erasure.OnlineSubject:
    authorization = request.headers.get("authorization")
    await parts.issuer.prepare(authorization)
    parts.issuer.authenticate(authorization).require("service", "admin")
    return await bodies.read(request, erasure.OnlineSubject, parts.body_limits)


def _store(parts: Parts) -> online.OnlineStore:
    """Errors: Conflict for a store that cannot be asked for one key."""
    if not isinstance(parts.store, online.OnlineStore):
        raise errors.Conflict(
            "the online store of this process deletes no rows; erase where its rows are kept",
            resource="online store",
            name=type(parts.store).__name__,
        )
    return parts.store
