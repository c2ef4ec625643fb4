"""What projects keep on the disks that this worker sees, told to the control API now and then, which charges it and holds quotas against it.

Every worker of a task queue sees the same disks, as any of them may run any step; two that measure in turn charge nothing twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import quote

import httpx

from mainspring.core import errors, settings, storage
from mainspring.core.contracts import base, control
from mainspring.core.contracts import storage as contracts
from mainspring.workflows.exchange import exchange

__all__ = ["measure_all", "meter"]

_LOG: Final = logging.getLogger(__name__)

#: A worker may be up before the control API is.
AGAIN_SECONDS: Final = 30.0


async def meter(in_force: settings.Settings, http: httpx.AsyncClient) -> None:
    """At once, and every `cost.storage_minutes` until it is cancelled; sooner again where the control API did not take it."""
    is_told, every = False, in_force.cost.storage_minutes * 60
    while True:
        pause = every
        try:
            await measure_all(in_force, http)
            is_told = False
        except errors.MainspringError as error:
            if not is_told:
                _LOG.warning("what projects keep is not on record yet: %s", error)
            is_told, pause = True, min(every, AGAIN_SECONDS)
        await asyncio.sleep(pause)


async def measure_all(in_force: settings.Settings, http: httpx.AsyncClient) -> list[contracts.StorageView]:
    """What every project keeps. Errors: DependencyDown where the control API is away; where it refuses a project, the first
    refusal, once the others' are on record.
    """
    told, refusals = list[contracts.StorageView](), list[errors.MainspringError]()
    owned = await asyncio.to_thread(storage.Owned.look, in_force)
    async for project in _names(http, "/api/v1/projects?limit=500"):
        try:
            told.append(await _measure(in_force, http, project, owned))
        except (errors.Rejected, errors.Denied) as refusal:
            refusals.append(refusal)
    if refusals:
        raise refusals[0]
    return told


async def _measure(
    in_force: settings.Settings, http: httpx.AsyncClient, project: str, owned: storage.Owned
) -> contracts.StorageView:
    of = quote(project)
    endpoints = [name async for name in _names(http, f"/api/v1/endpoints?limit=500&project={of}")]
    views = [name async for name in _names(http, f"/api/v1/catalog?limit=500&kind=view&project={of}")]
    # Before the look: what comes meanwhile is of the next period.
    at = base.utc_now()
    stored = await asyncio.to_thread(
        storage.measure, in_force, project, owned, endpoints=endpoints, views=views
    )
    body = contracts.StorageMeasured(measured_at=at, stored=stored).model_dump_json()
    answer = await exchange(http, "control", "POST", f"/api/v1/projects/{of}/storage", body)
    return contracts.StorageView.model_validate(answer)


async def _names(http: httpx.AsyncClient, path: str) -> AsyncIterator[str]:
    after = ""
    while True:
        page = control.Page.model_validate(
            await exchange(http, "control", "GET", f"{path}&after={quote(after)}")
        )
        for item in page.items:
            yield str(item["name"])
        if not (after := page.next):
            return
