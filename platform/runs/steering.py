"""What people order of a canary that a run judges: on record first, then asked of its deployment, once."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors, identity
from mainspring.core.contracts import canaries, control, training
from mainspring.platform import access, mutation, reads
from mainspring.platform import plane as control_plane
from mainspring.platform.http import versions
from mainspring.platform.runs import intents, outbox, service, store

__all__ = ["show", "steer"]


async def show(plane: control_plane.ControlPlane, credential: str, run_id: str) -> canaries.CanaryView:
    """Errors: NotFound for the run; Unavailable kinds while the engine is away: only it knows."""
    async with reads.reading(plane, credential, action="run.read") as reader:
        row = await store.find(reader.connection, run_id)
        if not reader.may(row.project):
            raise store.unknown(run_id)
    return await _look(plane, row)


async def steer(
    plane: control_plane.ControlPlane,
    credential: str,
    run_id: str,
    request: canaries.CanaryCreate,
    *,
    if_match: str = "",
) -> canaries.CanaryView:
    """Order something; the same order again, while it is under way, resumes the first.

    While the engine is away it is on record and stays under way; recovery delivers it.
    Errors: NotFound; PolicyDenied; Conflict where no canary is judged, or it is so already, or another order is under way;
    InvalidRequest for a share that it does not go on to; PreconditionFailed if it is not as it was looked at.
    """
    plane.issuer.authenticate(credential)
    before = await _look_if_there(plane, await _row(plane, run_id))

    async def on(connection: AsyncConnection) -> access.Target:
        return access.run(await store.find(connection, run_id), order=str(request.order))

    async def do(connection: AsyncConnection, actor: identity.Actor) -> mutation.Change[service.Asked]:
        row = await store.find(connection, run_id)
        who = await access.identify(connection, actor)
        asked = canaries.Steer(
            by=actor.name,
            reason=request.reason,
            to_percent=request.to_percent,
            roles=tuple(sorted(who.roles(row.project, row.environment))),
        )
        body: dict[str, Any] = {
            "order": str(request.order),
            "asked": asked.model_dump(mode="json"),
            "deployment_id": _deployment_id(row),
        }
        known = await intents.find_open(connection, run_id, intents.Kind.STEER)
        if known is not None:
            if known.request != body:
                raise errors.Conflict(
                    f"an order of `{known.actor}` on the canary of run `{run_id}` is under way; look at it again",
                    resource="run",
                    name=run_id,
                )
            return mutation.Change(service.Asked(run_id, known), f"run/{run_id}", is_new=False)
        if before is not None:
            versions.check(if_match, before.version, resource="canary", name=run_id)
            if not (before.percent or before.is_shadow or before.is_waiting):
                raise errors.Conflict(
                    f"run `{run_id}` judges no canary now; see `mainspring run show {run_id}`",
                    resource="run",
                    name=run_id,
                )
        intent = await intents.insert(connection, run_id, intents.Kind.STEER, actor.name, body)
        return service.intended(run_id, intent, request.model_dump(mode="json"))

    asked = await mutation.mutate(
        plane, credential, action="run.steer", resource=f"run/{run_id}", on=on, do=do
    )
    if asked.intent is not None:
        await outbox.carry_out(plane, asked.intent)
    return await _look(plane, await _row(plane, run_id))


async def _row(plane: control_plane.ControlPlane, run_id: str) -> sa.Row[Any]:
    async with plane.database.read() as connection:
        return await store.find(connection, run_id)


def _deployment_id(row: sa.Row[Any]) -> str:
    """The workflow that judges the run's canary."""
    is_training = row.kind == control.RunKind.TRAIN
    return f"{row.run_id}-{canaries.CHILD}" if is_training else str(row.run_id)


async def _look(plane: control_plane.ControlPlane, row: sa.Row[Any]) -> canaries.CanaryView:
    """Errors: Unavailable kinds."""
    status: training.RunStatus | None = None
    if row.kind in (control.RunKind.DEPLOY, control.RunKind.TRAIN) and row.ended_at is None:
        try:
            status = await outbox.ask(plane.launcher.status(_deployment_id(row)))
        except errors.NotFound:
            status = None  # a training that has not come so far
    told = status.detail.get(canaries.CANARY_DETAIL) if status is not None else None
    state = canaries.CanaryState.model_validate(told or {"percent": 0})
    deployment_id = _deployment_id(row)
    return canaries.CanaryView(
        run_id=row.run_id,
        deployment_id=deployment_id,
        project=row.project,
        environment=row.environment,
        endpoint=row.request.get("endpoint", ""),
        message=status.message if status is not None else "",
        version=versions.of(deployment_id, _place(state), state.is_paused),
        **state.model_dump(),
    )


def _place(state: canaries.CanaryState) -> str | int:
    if state.is_waiting:
        return "queue"
    return "shadow" if state.is_shadow else state.percent


async def _look_if_there(plane: control_plane.ControlPlane, row: sa.Row[Any]) -> canaries.CanaryView | None:
    """None while the engine is away: what is ordered then is its to judge when it is back."""
    try:
        return await _look(plane, row)
    except errors.Unavailable:
        return None
