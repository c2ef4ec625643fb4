"""What projects keep: each measurement takes the place of the one before, and what was kept until then is charged, once.

Bytes count as they were at the period's beginning. Two workers that measure in turn make shorter periods, and neither charges
what the other did: a measurement that is not younger than the last one changes nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import cost, errors, identity
from mainspring.core.contracts import base
from mainspring.core.contracts import storage as contracts
from mainspring.platform import access, database, mutation, reads
from mainspring.platform import plane as control_plane
from mainspring.platform.metering import store as usage_store
from mainspring.platform.projects import store as project_store

__all__ = ["find", "record", "show"]

#: So far ahead of ours may a meter's clock be: until then whatever is measured later would be taken for older.
_AHEAD: Final = timedelta(minutes=1)

_table = database.storage


async def record(
    plane: control_plane.ControlPlane, credential: str, project: str, measured: contracts.StorageMeasured
) -> contracts.StorageView:
    """Role: service. What is in force then: the last one, if that is not older.

    Errors: NotFound for the project; InvalidRequest for a time to come.
    """

    async def do(connection: AsyncConnection, _: identity.Actor) -> mutation.Change[contracts.StorageView]:
        await project_store.find(connection, project)
        if measured.measured_at > base.utc_now() + _AHEAD:
            raise errors.InvalidRequest(
                f"`measured_at` is {measured.measured_at.isoformat()}, which is to come; correct the meter's clock",
                field="measured_at",
            )
        before = await find(connection, project)
        if before.measured_at is not None and measured.measured_at <= before.measured_at:
            return mutation.Change(before, _resource(project), is_new=False)
        charge = await _charge(plane, connection, before, measured.measured_at)
        view = _view(project, measured.measured_at, measured.stored)
        await _put(connection, view)
        detail = {"stored": view.stored, "total_bytes": view.total_bytes, "charged": charge}
        return mutation.Change(view, _resource(project), detail)

    return await mutation.mutate(
        plane,
        credential,
        action="usage.record",
        resource=_resource(project),
        on=access.project(project),
        do=do,
    )


async def show(plane: control_plane.ControlPlane, credential: str, project: str) -> contracts.StorageView:
    """Errors: NotFound."""
    async with reads.reading(plane, credential, action="cost.read") as reader:
        await reader.project(project)
        return await find(reader.connection, project)


async def find(connection: AsyncConnection, project: str) -> contracts.StorageView:
    """What was found last."""
    row = (await connection.execute(sa.select(_table).where(_table.c.project == project))).one_or_none()
    if row is None:
        return contracts.StorageView(project=project, stored={}, total_bytes=0, measured_at=None)
    return _view(project, datetime.fromisoformat(row.measured_at), row.stored)


async def _charge(
    plane: control_plane.ControlPlane,
    connection: AsyncConnection,
    before: contracts.StorageView,
    until: datetime,
) -> str:
    """The ledger's key of what was kept since the last time; empty for nothing."""
    if before.measured_at is None or not before.total_bytes:
        return ""
    view, nanos = cost.price_storage(before.project, before.stored, before.measured_at, until, plane.book)
    await usage_store.charge(connection, [(before.model_dump(mode="json"), [(view, nanos)])], plane.book)
    return view.usage_key


async def _put(connection: AsyncConnection, view: contracts.StorageView) -> None:
    assert view.measured_at is not None
    values = {"measured_at": view.measured_at.isoformat(), "stored": dict(view.stored)}
    statement = database.insert(connection, _table).values(project=view.project, **values)
    await connection.execute(statement.on_conflict_do_update(index_elements=["project"], set_=values))


def _view(project: str, at: datetime, stored: dict[contracts.StoragePlace, int]) -> contracts.StorageView:
    return contracts.StorageView(
        project=project, stored=stored, total_bytes=sum(stored.values()), measured_at=at
    )


def _resource(project: str) -> str:
    return f"storage/{project}"
