"""A control database that was put back from before erasures: they are put on record again before it serves anybody.

What was erased stays erased by the list that serving and trainings follow (`core/erasure/erased.py`), which no database has. Here the
certificates come back (`core/erasure/ledger.py`), so that whoever asks is told, and nobody erases anew what is proven.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors
from mainspring.core.contracts import base
from mainspring.core.contracts import holds as hold_contracts
from mainspring.core.contracts.erasure import ErasureCertificate, ErasureState
from mainspring.core.erasure import certificate, ledger
from mainspring.core.models import signing
from mainspring.platform import database, mutation
from mainspring.platform import plane as control_plane
from mainspring.platform.erasure import holds
from mainspring.platform.holds import store as hold_store

__all__ = ["ACTOR", "replay"]

ACTOR: Final = "system"
_LOG: Final = logging.getLogger(__name__)


async def replay(plane: control_plane.ControlPlane) -> list[str]:
    """Put on record every erasure that has a certificate and is not in the database; which those were, oldest first. Holds come first,
    and refuse what is under way.

    Of a project that is not in the database either, nothing is: it waits until that is there again.
    Errors: Misconfigured for a hold or a certificate that cannot be read, or that nobody signed who is trusted: the database is then older than
    what it must know, and is not served.
    """
    if plane.protection is None:
        return []
    await _put_back_holds(plane, plane.protection.erased_dir)
    there = await asyncio.to_thread(ledger.names, plane.protection.erased_dir)
    if not there:
        return []
    async with plane.database.read() as connection:
        known = set((await connection.execute(sa.select(database.erasures.c.erasure_id))).scalars())
    done = list[str]()
    for erasure_id in [name for name in there if name not in known]:
        sealed, told = await asyncio.to_thread(_open, plane, erasure_id)
        if await mutation.settle(plane, actor=ACTOR, action="erasure.restore", do=_putting(sealed, told)):
            done.append(erasure_id)
    if done:
        _LOG.warning(
            "the control database is from before %d erasures, which are put on record again: %s",
            len(done),
            done,
        )
    return done


async def _put_back_holds(plane: control_plane.ControlPlane, folder: Path) -> None:
    """Holds, and their lifting, of which the database does not know. One on a subject that has another hold stays out."""
    for hold_id in await asyncio.to_thread(ledger.names, folder, ledger.HOLDS):
        try:
            told = hold_contracts.HoldView.model_validate_json(
                await asyncio.to_thread(ledger.read, folder, hold_id, ledger.HOLDS)
            )
        except (ValueError, OSError) as error:
            raise errors.Misconfigured(
                f"hold `{hold_id}` in `{folder.name}/{ledger.HOLDS}` cannot be read: {error}; restore that file, or remove it and place"
                " the hold again"
            ) from error
        if await _is_older(plane, told):
            await mutation.settle(plane, actor=ACTOR, action="hold.restore", do=_holding(told))


async def _is_older(plane: control_plane.ControlPlane, told: hold_contracts.HoldView) -> bool:
    async with plane.database.read() as connection:
        return await _is_behind(connection, told)


async def _is_behind(connection: AsyncConnection, told: hold_contracts.HoldView) -> bool:
    try:
        row = await hold_store.find(connection, told.project, told.hold_id)
    except errors.NotFound:
        projects = database.projects
        query = sa.select(sa.func.count()).where(projects.c.name == told.project).select_from(projects)
        if not await connection.scalar(query):
            return False
        if told.origin in await hold_store.taken_over(connection, told.project):
            return False
        if not told.subject_hash or told.lifted_at is not None:
            return True
        other = await hold_store.on_subject(connection, told.project, told.entity, told.subject_hash)
        return other is None
    return row.lifted_at is None and told.lifted_at is not None


def _holding(told: hold_contracts.HoldView) -> Any:
    async def do(connection: AsyncConnection) -> mutation.Change[None]:
        resource = f"hold/{told.project}/{told.hold_id}"
        if not await _is_behind(connection, told):
            return mutation.Change(None, resource, is_new=False)  # another process was first
        stopped = list[str]()
        try:
            await hold_store.find(connection, told.project, told.hold_id)
        except errors.NotFound:
            await hold_store.put_back(connection, told)
            row = await hold_store.find(connection, told.project, told.hold_id)
            stopped = await holds.refuse_under_way(connection, row) if told.lifted_at is None else []
        else:
            await hold_store.lift_as_told(connection, told)
        detail = {"entity": told.entity, "subject_hash": told.subject_hash, "stopped": stopped}
        return mutation.Change(None, resource, {**detail, "is_lifted": told.lifted_at is not None})

    return do


def _open(plane: control_plane.ControlPlane, erasure_id: str) -> tuple[bytes, ErasureCertificate]:
    assert plane.protection is not None  # whoever asks has looked
    try:
        sealed = ledger.read(plane.protection.erased_dir, erasure_id)
        told, _ = certificate.open_sealed(sealed, signing.TrustedKeys.load(plane.key_files.trusted_dir))
        if told.erasure_id != erasure_id:
            raise errors.Conflict(
                f"it is of `{told.erasure_id}`; give it that name", resource="certificate", name=erasure_id
            )
    except (errors.MainspringError, OSError) as error:
        raise errors.Misconfigured(
            f"the control database is from before erasure `{erasure_id}`, and its certificate in"
            f" `{plane.protection.erased_dir.name}/certificates` cannot be put on record: {error}; restore that file, or a newer"
            " database"
        ) from error
    return sealed, told


def _putting(sealed: bytes, told: ErasureCertificate) -> Any:
    async def do(connection: AsyncConnection) -> mutation.Change[bool]:
        resource = f"erasure/{told.project}/{told.erasure_id}"
        projects, erasures = database.projects, database.erasures
        is_there = await connection.scalar(
            sa.select(sa.func.count()).where(projects.c.name == told.project).select_from(projects)
        )
        is_known = await connection.scalar(
            sa.select(sa.func.count()).where(erasures.c.erasure_id == told.erasure_id).select_from(erasures)
        )
        if not is_there or is_known:
            _LOG.info("erasure `%s` of project `%s` is not put on record", told.erasure_id, told.project)
            return mutation.Change(False, resource, is_new=False)
        await connection.execute(sa.insert(erasures).values(**_row(sealed, told)))
        detail = {"entity": told.entity, "subject_hash": told.subject_hash, "rows_erased": told.rows_erased}
        return mutation.Change(True, resource, {**detail, "certificate": base.version_of(sealed.decode())})

    return do


def _row(sealed: bytes, told: ErasureCertificate) -> dict[str, Any]:
    return {
        "erasure_id": told.erasure_id,
        "project": told.project,
        "entity": told.entity,
        "subject_hash": told.subject_hash,
        "ground": str(told.ground),
        "reason": "on record again by its certificate, as the database was restored from before it",
        "state": str(ErasureState.DONE),
        "requested_at": told.requested_at.isoformat(),
        "requested_by": told.requested_by,
        "decided_at": told.approved_at.isoformat(),
        "decided_by": told.approved_by,
        "decision_reason": "",
        "ended_at": told.erased_at.isoformat(),
        "message": f"{told.rows_erased} rows are erased, and none is left",
        "rows_erased": told.rows_erased,
        "certificate": sealed.decode(),
    }
