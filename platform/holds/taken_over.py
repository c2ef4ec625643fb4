"""Holds that older schedules of retentions have in their parameters become holds of their own before such a schedule changes: whoever may
change the schedule drops none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors, ids
from mainspring.core.contracts import base, holds, retention, schedules
from mainspring.platform import mutation
from mainspring.platform import plane as control_plane
from mainspring.platform.holds import service, store

__all__ = ["check_none_new", "take_over"]

#: Who placed them: by the audit log's rows of that schedule, `schedule.put`.
_PLACED_BY: Final = "system"


def check_none_new(before: schedules.ScheduleView | None, wanted: base.Message) -> None:
    """A schedule may go on having the holds that it has. Errors: InvalidRequest for another one."""
    if not isinstance(wanted, retention.RetentionRequest):
        return
    known = () if before is None else _held(before.project, before.request)
    if any(hold not in known for hold in wanted.holds):
        raise errors.InvalidRequest(
            f"a schedule takes no new hold: whoever changes it could drop it; place it with `mainspring hold place {wanted.project}`,"
            " which every retention asks for, and leave out `holds`",
            field="request.holds",
        )


async def take_over(plane: control_plane.ControlPlane, before: schedules.ScheduleView, by: str) -> None:
    """Each hold of the schedule as it is, once; on record in the name of who changes the schedule. Errors: DependencyDown."""
    for hold in _held(before.project, before.request):
        do = _placing(before.project, hold)
        row = await mutation.settle(plane, actor=by, action="hold.take-over", do=do)
        if row is not None:
            await service.keep(plane, row)


def _held(project: str, request: Mapping[str, Any]) -> tuple[retention.LegalHold, ...]:
    return retention.RetentionRequest.model_validate({"project": project, **request}).holds


def _placing(project: str, hold: retention.LegalHold) -> Any:
    view = holds.HoldView(
        hold_id=ids.new_id("hold"),
        project=project,
        kinds=() if hold.kind is None else (hold.kind,),
        since=hold.since,
        until=hold.until,
        matter="retention schedule",
        reason=hold.reason,
        origin=base.version_of(hold.model_dump(mode="json")),
        placed_at=base.utc_now(),
        placed_by=_PLACED_BY,
    )

    async def do(connection: AsyncConnection) -> mutation.Change[sa.Row[Any] | None]:
        resource = f"hold/{project}/{view.hold_id}"
        if view.origin in await store.taken_over(connection, project):
            return mutation.Change(None, resource, is_new=False)
        await store.put_back(connection, view)
        row = await store.find(connection, project, view.hold_id)
        return mutation.Change(row, resource, {**hold.model_dump(mode="json"), "origin": view.origin})

    return do
