"""What legal holds (`platform/holds`) mean for erasures: one on the subject, or any on its project, refuses them."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors
from mainspring.core.contracts import base, retention, schedules, training
from mainspring.core.contracts.erasure import ErasureState
from mainspring.platform import plane as control_plane
from mainspring.platform.erasure import store
from mainspring.platform.holds import store as hold_store
from mainspring.platform.runs import outbox

RULE: Final = "erasure.legal-hold"
RULE_OF_SUBJECT: Final = "erasure.subject-hold"

_Row = sa.Row[Any]


async def denial_of(plane: control_plane.ControlPlane, row: _Row) -> errors.PolicyDenied | None:
    """Why the subject of that erasure may not be erased now; None: no hold is on it, and none on its project.

    Whatever kind and time a hold of the project names: whose rows are in what it covers nobody knows before everything is read.
    Errors: DependencyDown while the engine is away that has what older schedules of retentions hold: not knowing is no permission.
    """
    async with plane.database.read() as connection:
        hold = await hold_store.on_subject(connection, row.project, row.entity, row.subject_hash)
        on_project = await hold_store.on_project(connection, row.project)
    for found in ([] if hold is None else [hold], on_project):
        if found:
            return errors.PolicyDenied(message_of(found[0]), rule_id=rule_of(found[0]))
    try:
        schedule = await outbox.ask(plane.scheduler.find(row.project, schedules.Process.RETENTION))
    except errors.NotFound:
        return None
    held = retention.RetentionRequest.model_validate({"project": row.project, **schedule.request}).holds
    if not held:
        return None
    reasons = "; ".join(hold.reason for hold in held)
    return errors.PolicyDenied(
        f"rule `{RULE}` denies it: the retention schedule of project `{row.project}` has a legal hold ({reasons}); put that schedule"
        f" again without `holds`, which makes holds of their own of them, and have those lifted (`mainspring hold list {row.project}`)",
        rule_id=RULE,
    )


def rule_of(hold: _Row) -> str:
    return RULE_OF_SUBJECT if hold.subject_hash else RULE


def message_of(hold: _Row) -> str:
    what = "the subject" if hold.subject_hash else f"project `{hold.project}`"
    why = f"{hold.matter}: {hold.reason}" if hold.matter else hold.reason
    return (
        f"rule `{rule_of(hold)}` denies it: {what} is under legal hold `{hold.hold_id}` ({why}); ask again when it is lifted, which one"
        f" person asks for (`mainspring hold lift {hold.project} {hold.hold_id}`) and another approves (`mainspring hold decide`)"
    )


async def refuse_under_way(connection: AsyncConnection, hold: _Row) -> list[str]:
    """What is under way for the subject, or in the project, is refused by its hold; which that was."""
    if hold.subject_hash:
        one = await store.under_way(connection, hold.project, hold.entity, hold.subject_hash)
        found = [] if one is None else [str(one.erasure_id)]
    else:
        found = await store.all_under_way(connection, hold.project)
    for erasure_id in found:
        await store.update(
            connection,
            erasure_id,
            state=str(ErasureState.REFUSED),
            ended_at=base.utc_now().isoformat(),
            message=message_of(hold),
        )
    return found


async def refused_by(connection: AsyncConnection, hold: _Row) -> list[str]:
    """What it has stopped."""
    return await store.refused_by(connection, hold.project, message_of(hold))


async def reject(plane: control_plane.ControlPlane, erasure_id: str, hold: _Row) -> None:
    """One that waits for its decision ends at once. One that is approved looks before each place, and needs no word of ours."""
    told = training.Decision(approve=False, by=rule_of(hold), reason=message_of(hold))
    try:
        await outbox.ask(plane.launcher.decide(erasure_id, told, intent_id=f"{erasure_id}-hold"))
    except (errors.Conflict, errors.NotFound):
        return
