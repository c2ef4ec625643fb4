"""One list of what waits for a person, who may decide on it, and the way to each kind's own service."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Any, Final

import pydantic

from mainspring.core import errors
from mainspring.core.contracts import approvals, control
from mainspring.core.contracts.approvals import ApprovalKind, ApprovalState
from mainspring.platform import access, reads
from mainspring.platform import plane as control_plane
from mainspring.platform.approvals import accesses, holds, kinds, protection, runs
from mainspring.platform.policies import engine

#: Where a new kind is added, and nowhere else but `ApprovalKind`.
KINDS: Final[Mapping[ApprovalKind, kinds.Kind]] = {
    kind.name: kind
    for kind in (
        runs.RunKind(),
        accesses.AccessKind(),
        protection.ErasureKind(),
        protection.DpiaKind(),
        protection.ClassificationKind(),
        holds.HoldKind(),
    )
}
#: Pages that are looked through for those that the caller may decide on.
_LOOKS: Final = 10


async def read(
    plane: control_plane.ControlPlane,
    credential: str,
    *,
    project: str,
    state: ApprovalState,
    kind: ApprovalKind | None,
    mine: bool,
    before: str,
    limit: int,
) -> control.Page:
    """A page, newest first. `mine`: those alone that the caller may decide on; such a page may be short, and `next` goes on.

    Errors: NotFound for the project; InvalidRequest for a cursor that is none.
    """
    place = kinds.Cursor.of(before)
    async with reads.reading(plane, credential, action="approval.read") as reader:
        await reader.projects(project)
        found: list[approvals.ApprovalView] = []
        for _ in range(_LOOKS):
            piece = await _piece(plane, reader, state, kind, project, place, limit + 1)
            for one in piece[:limit]:
                place = one.place
                view = _view(plane, reader, one)
                if view.may_decide or not mine:
                    found.append(view)
                if len(found) == limit:
                    break
            has_more = len(piece) > limit or (bool(piece) and place != piece[-1].place)
            if not has_more or len(found) == limit:
                break
    items = [one.model_dump(mode="json") for one in found]
    return control.Page(items=items, next=str(place) if has_more else "")


async def _piece(
    plane: control_plane.ControlPlane,
    reader: reads.Reader,
    state: ApprovalState,
    only: ApprovalKind | None,
    project: str,
    before: kinds.Cursor | None,
    limit: int,
) -> list[kinds.Waiting]:
    """Of all kinds together the newest, of what may be read of each."""
    found: list[kinds.Waiting] = []
    shown = await reader.projects()
    for kind in KINDS.values() if only is None else (KINDS[only],):
        projects = _both(shown, await reader.by(kind.reads).projects())
        if project:
            projects = _both(projects, frozenset({project}))
        found += await kind.page(plane, reader.connection, kinds.Wanted(state, projects, before, limit))
    return heapq.nlargest(limit, found, key=lambda one: one.place)


def _both(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    """None is all projects."""
    return other if one is None else one if other is None else one & other


async def show(
    plane: control_plane.ControlPlane, credential: str, approval_id: str
) -> approvals.ApprovalView:
    """Errors: NotFound."""
    async with reads.reading(plane, credential, action="approval.read") as reader:
        return _view(plane, reader, await _find(plane, reader, approval_id))


async def decide(
    plane: control_plane.ControlPlane,
    credential: str,
    approval_id: str,
    decision: approvals.ApprovalDecision,
    *,
    if_match: str = "",
) -> approvals.ApprovalView:
    """As the kind's own route does, by the same service: what that refuses is refused, and on record, by its own action.

    Errors: NotFound; those of the kind; InvalidRequest for what the kind needs and is not said.
    """
    async with reads.reading(plane, credential, action="approval.read") as reader:
        waiting = await _find(plane, reader, approval_id)
    try:
        await KINDS[waiting.kind].decide(plane, credential, waiting, decision, if_match)
    except pydantic.ValidationError as error:
        first: Any = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "reason"
        raise errors.InvalidRequest(
            f"a decision on `{approval_id}` needs more: `{field}`: {first['msg']}; say it, and decide again",
            field=field,
        ) from None
    return await show(plane, credential, approval_id)


async def _find(plane: control_plane.ControlPlane, reader: reads.Reader, approval_id: str) -> kinds.Waiting:
    """Errors: NotFound, also for what may not be known of."""
    name, _, own_id = approval_id.partition(":")
    kind = KINDS[ApprovalKind(name)] if name in set(ApprovalKind) else None
    found = None if kind is None else await kind.find(plane, reader.connection, own_id)
    if kind is None or found is None or not _may_read(reader, kind, found.project):
        raise errors.NotFound(
            f"nothing waits or waited for a decision as `{approval_id}`; see `mainspring approval list`",
            resource="approval",
            name=approval_id,
        )
    return found


def _may_read(reader: reads.Reader, kind: kinds.Kind, project: str) -> bool:
    return reader.may(project) and reader.by(kind.reads).may(project)


def _view(
    plane: control_plane.ControlPlane, reader: reads.Reader, one: kinds.Waiting
) -> approvals.ApprovalView:
    """With what the policies say of the caller's yes. Nothing is on record of that: nobody has said anything yet."""
    action, policies = KINDS[one.kind].action, plane.policies
    question = access.to_change(reader.who, action, one.target)
    answer = policies.decide(question)
    why_not, denied_by = "", tuple[str, ...]()
    if one.state is ApprovalState.DECIDED:
        why_not = f"it is decided: {one.outcome}"
    elif not answer.allowed:
        why_not, denied_by = engine.denial(policies, question, answer).message, answer.policies
    return approvals.ApprovalView(
        id=one.id,
        kind=one.kind,
        project=one.project,
        environment=one.environment,
        about=one.about,
        requested_by=one.requested_by,
        requested_at=one.requested_at,
        due_at=one.due_at,
        state=one.state,
        outcome=one.outcome,
        decided_by=one.decided_by,
        decided_at=one.decided_at,
        reason=one.reason,
        action=action,
        decide_by=one.decide_by,
        may_decide=not why_not,
        why_not=why_not,
        denied_by=denied_by,
        version=one.version,
    )
