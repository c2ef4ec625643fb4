"""Each request has its workflow, which notes its end when it is due (`workflows/access`).

A workflow is started after the change that needs it is committed. What a crash, or an engine that was away, left without
one gets it from :func:`keep_forever`: starting is idempotent, so each process asks once for whatever is under way. That
access ends does not wait for any of this (`platform/access.py`).
"""

from __future__ import annotations

import logging
from typing import Any, Final

import sqlalchemy as sa

from mainspring.core import errors
from mainspring.core.contracts import access_requests
from mainspring.platform import loops
from mainspring.platform import plane as control_plane
from mainspring.platform.access_requests import alarm, store
from mainspring.platform.runs import outbox

_LOG: Final = logging.getLogger(__name__)

#: How often what is under way is looked through.
KEEP_SECONDS: Final = 15.0


async def start(plane: control_plane.ControlPlane, row: sa.Row[Any]) -> bool:
    """Start the workflow of a request's state; False while the engine is away, and later it is done."""
    if row.state not in store.AFTER:
        return True
    try:
        await outbox.ask(plane.launcher.start_expiry(store.expiry(row)))
    except errors.Unavailable as error:
        _LOG.warning(
            "the end of access %s is to be noted later, and is in force anyway: %s",
            row.request_id,
            error.message,
        )
        return False
    return True


async def keep(plane: control_plane.ControlPlane, started: set[str]) -> None:
    """Start what has no workflow yet as far as `started` knows, which grows by it; send alarms that are not delivered."""
    async with plane.database.read() as connection:
        rows = await store.under_way(connection)
    names = {access_requests.expiry_id(store.expiry(row)): row for row in rows}
    started &= set(names)
    for name, row in names.items():
        if name in started:
            continue
        if not await start(plane, row):
            break
        started.add(name)
    await alarm.sound_again(plane)


async def keep_forever(plane: control_plane.ControlPlane) -> None:
    """At once what an earlier process left, then again and again."""
    started: set[str] = set()
    await loops.again_forever(
        lambda: keep(plane, started),
        every_seconds=KEEP_SECONDS,
        failed="looking through access failed",
        log=_LOG,
    )
