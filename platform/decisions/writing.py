"""Brings what the log of reads holds to the database: soon, in one transaction for all of them, and before a sensitive read is answered.

A process that dies loses what it held of ordinary reads and denials, `FLUSH_SECONDS` of them at most, and no sensitive read:
those are answered once they are on record. While the database takes no rows, ordinary reads are answered and counted on in
memory; sensitive ones are refused.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import exc

from mainspring.core import errors
from mainspring.core.contracts import base
from mainspring.platform import loops, mutation
from mainspring.platform.decisions import log, store

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from mainspring.platform import plane as control_plane

_LOG: Final = logging.getLogger(__name__)

FLUSH_SECONDS: Final = 5.0
#: As far back as a dry run may ask (`core.contracts.policies.PolicyTrial.days`).
KEPT_DAYS: Final = 90


async def write(plane: control_plane.ControlPlane) -> None:
    """All that is held is on record, or held on.

    Errors: DependencyDown if the database does not take it.
    """
    # One at a time: who finds nothing to write knows that what he has asked is written, and not under way.
    async with plane.reads.writing:
        taken = plane.reads.take()
        if not taken:
            return

        async def do(connection: AsyncConnection) -> None:
            await store.add(connection, log.rows(taken))

        is_kept = False
        try:
            await mutation.note(plane, do)
            is_kept = True
        except (exc.SQLAlchemyError, OSError, errors.MainspringError) as error:
            raise errors.DependencyDown(
                f"the read could not be put on record, and is not answered: {error}; ask again, and look at the control"
                " database",
                name="database",
            ) from error
        finally:
            if not is_kept:
                plane.reads.give_back(taken)


async def write_forever(plane: control_plane.ControlPlane) -> None:
    """What is held, and once an hour what is too old."""
    forgotten = ""

    async def look() -> None:
        nonlocal forgotten
        await write(plane)
        if (hour := base.utc_now().isoformat()[:13]) != forgotten:
            await mutation.note(plane, _forget)
            forgotten = hour

    await loops.again_forever(
        look, every_seconds=FLUSH_SECONDS, failed="reads could not be put on record", log=_LOG
    )


async def _forget(connection: AsyncConnection) -> None:
    await store.forget(connection, base.utc_now() - timedelta(days=KEPT_DAYS))
