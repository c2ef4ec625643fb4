"""Broken glass is told at once: in the process's log, and by a POST to `control.alert_url`.

Delivered at least once: what was not taken is sent again until it is, or for a week. That it was is on record.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core.contracts import base
from mainspring.platform import alarms, mutation
from mainspring.platform import plane as control_plane
from mainspring.platform.access_requests import store
from mainspring.platform.audit import store as audit_store

_LOG: Final = logging.getLogger(__name__)

_TRIED_FOR: Final = timedelta(days=7)


async def sound(plane: control_plane.ControlPlane, row: sa.Row[Any]) -> None:
    """Say it in the log, and post it. Never raises: the role is given already, and the alarm is tried again."""
    _LOG.critical(
        "the glass is broken: %s has role %s in %s of project %s until %s, because: %s",
        *(row.actor, row.role, row.environment, row.project, row.ends_at, row.reason),
    )
    await _post(plane, row)


async def sound_again(plane: control_plane.ControlPlane) -> None:
    """Post what nobody has taken yet."""
    if not plane.control.alert_url:
        return
    async with plane.database.read() as connection:
        rows = await store.unalarmed(connection, base.utc_now() - _TRIED_FOR)
    for row in rows:
        if not await _post(plane, row):
            return


async def _post(plane: control_plane.ControlPlane, row: sa.Row[Any]) -> bool:
    names = ("request_id", "project", "actor", "role", "environment", "reason", "starts_at", "ends_at")
    body = {"kind": "access.break-glass", **{name: row._mapping[name] for name in names}}
    if not await alarms.post(plane, body, row.request_id):
        return False
    await mutation.settle(plane, actor=row.actor, action="access.alarm", do=_delivered(row))
    return True


def _delivered(row: sa.Row[Any]) -> Callable[[AsyncConnection], Awaitable[mutation.Change[None]]]:
    key, resource = f"alarm-{row.request_id}", f"access/{row.project}/{row.request_id}"

    async def do(connection: AsyncConnection) -> mutation.Change[None]:
        known = await audit_store.is_recorded(connection, key)
        return mutation.Change(None, resource, event_key=key, is_new=known is None)

    return do
