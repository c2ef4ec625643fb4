"""Hand in an impact assessment, let somebody else sign it, and hold deployments to prod against it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import canonical, errors, identity
from mainspring.core.contracts import base, control, dpia
from mainspring.core.contracts.dpia import DpiaState
from mainspring.platform import access, mutation, reads
from mainspring.platform import plane as control_plane
from mainspring.platform.projects import store as project_store
from mainspring.platform.protection import dpia_store as store

#: Runs that bring nothing to an endpoint, whether they name one or not.
_STAYS = (control.RunKind.SCORE, control.RunKind.RETIRE, control.RunKind.RELEASE)
_RULE = "dpia.required"
_NAMED = 3


async def submit(
    plane: control_plane.ControlPlane, credential: str, project: str, answers: dpia.DpiaAnswers
) -> dpia.DpiaView:
    """Hand in answers; the risk follows from them. The same again, while it is open or in force, changes nothing.

    A signed one stays in force until this one is signed. Roles: developer, admin. Errors: NotFound for the project.
    """
    # Without what has a default: the answers of an earlier release have the digest that they had.
    digest = canonical.digest(answers.model_dump(mode="json", exclude_defaults=True))

    async def do(connection: AsyncConnection, by: identity.Actor) -> mutation.Change[sa.Row[Any]]:
        await project_store.find(connection, project)
        now = base.utc_now()
        for known in (
            await store.open_one(connection, project),
            await store.in_force(connection, project, now),
        ):
            if known is not None and known.digest == digest:
                return mutation.Change(known, _resource(known), is_new=False)
        row = await store.insert(connection, project, answers, digest, by=by.name, now=now)
        return mutation.Change(
            row,
            _resource(row),
            {"digest": digest, "risk": row.risk, "score": row.score, "findings": row.findings},
        )

    row = await mutation.mutate(
        plane,
        credential,
        action="dpia.submit",
        resource=f"dpia/{project}",
        on=access.project(project),
        do=do,
    )
    return store.view(row, base.utc_now())


async def decide(
    plane: control_plane.ControlPlane, credential: str, project: str, decision: dpia.DpiaDecision
) -> dpia.DpiaView:
    """Sign or reject the open assessment. Never whoever handed it in; of high risk only an admin signs.

    The same decision again changes nothing. Errors: NotFound where there is none; Conflict if another one is open now.
    """

    async def do(connection: AsyncConnection, by: identity.Actor) -> mutation.Change[sa.Row[Any]]:
        row = await store.open_one(connection, project)
        if row is None or row.digest != decision.digest:
            last = await store.latest_decided(connection, project)
            wanted = DpiaState.SIGNED if decision.sign else DpiaState.REJECTED
            if last is not None and (last.digest, last.state, last.decided_by) == (
                decision.digest,
                wanted,
                by.name,
            ):
                return mutation.Change(last, _resource(last), is_new=False)
            raise errors.Conflict(
                f"the assessment `{decision.digest[:19]}` of `{project}` is not open; read the one that is with"
                f" `mainspring dpia show {project}`",
                resource="dpia",
                name=project,
            )
        row = await store.decide(connection, row, decision, by=by.name, now=base.utc_now())
        detail = {"digest": row.digest, "sign": decision.sign, "risk": row.risk, "words": decision.reason}
        return mutation.Change(row, _resource(row), detail)

    async def on(connection: AsyncConnection) -> access.Target:
        await project_store.find(connection, project)
        row = await store.open_one(connection, project) or await store.latest_decided(connection, project)
        risk, by = ("", "") if row is None else (row.risk, row.submitted_by)
        return access.project(project, risk=risk, submitted_by=by, sign=decision.sign)

    row = await mutation.mutate(
        plane,
        credential,
        action="dpia.decide",
        resource=f"dpia/{project}",
        on=on,
        do=do,
    )
    return store.view(row, base.utc_now())


async def read(
    plane: control_plane.ControlPlane, credential: str, project: str, *, before: str, limit: int
) -> control.Page:
    """A project's assessments, newest first. Errors: NotFound for the project."""
    async with reads.reading(plane, credential, action="dpia.read") as reader:
        await reader.project(project)
        rows = await store.page(reader.connection, project, before=before, limit=limit + 1)
    now = base.utc_now()
    items = [store.view(row, now).model_dump(mode="json") for row in rows[:limit]]
    return control.Page(items=items, next=rows[limit - 1].dpia_id if len(rows) > limit else "")


async def require(connection: AsyncConnection, request: control.RunCreate) -> None:
    """PolicyDenied for what would bring a project with restricted columns of persons to prod without a signed assessment."""
    goes_out = request.endpoint and request.kind not in _STAYS
    if request.environment != "prod" or not goes_out:
        return
    columns = await store.restricted_columns(connection, request.project)
    if not columns or await store.in_force(connection, request.project, base.utc_now()) is not None:
        return
    more = f" and {len(columns) - _NAMED} more" if len(columns) > _NAMED else ""
    raise errors.PolicyDenied(
        f"project `{request.project}` has restricted columns of persons ({', '.join(columns[:_NAMED])}{more}) and no signed"
        f" impact assessment in force; hand one in with `mainspring dpia submit {request.project}`, somebody else signs it",
        rule_id=_RULE,
    )


def _resource(row: sa.Row[Any]) -> str:
    return f"dpia/{row.project}/{row.dpia_id}"
