"""A run that failed goes on under its id: what it has made is kept, what it may cost may be raised."""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import cost, errors, identity
from mainspring.core.contracts import base, control, training
from mainspring.platform import access, mutation
from mainspring.platform import plane as control_plane
from mainspring.platform.costs import reservations
from mainspring.platform.costs import store as cost_store
from mainspring.platform.http import versions
from mainspring.platform.quotas import limits
from mainspring.platform.runs import intents, outbox, requests, service, store

__all__ = ["resume"]

#: Those whose work has checkpoints, parts or a cache. Another deployment, or another end of a bundle, is a run of its own.
_KINDS: Final = (
    control.RunKind.TRAIN,
    control.RunKind.TUNE,
    control.RunKind.SCORE,
    control.RunKind.PIPELINE,
)


async def resume(
    plane: control_plane.ControlPlane,
    credential: str,
    run_id: str,
    request: control.ResumeCreate,
    *,
    if_match: str = "",
) -> control.RunView:
    """Start a failed run again, with as much kept free in the budget as it may still cost.

    While the engine is away the wish is on record and stays under way; recovery delivers it.
    Errors: NotFound; Conflict if the run has not failed, or is of a kind that is not gone on with; InvalidRequest for a
    `max_cost` that is spent; BudgetExceeded, QuotaExceeded; PreconditionFailed if it is not as it was looked at.
    """
    plane.issuer.authenticate(credential)
    status = await outbox.live_status(plane, run_id)

    async def on(connection: AsyncConnection) -> access.Target:
        return access.run(await store.find(connection, run_id))

    async def do(connection: AsyncConnection, actor: identity.Actor) -> mutation.Change[service.Asked]:
        row = await store.find(connection, run_id)
        known = await intents.find_open(connection, run_id, intents.Kind.RESUME)
        if known is not None:
            return mutation.Change(service.Asked(run_id, known), f"run/{run_id}", is_new=False)
        versions.check(if_match, store.version(row, status), resource="run", name=run_id)
        if control.RunKind(row.kind) not in _KINDS:
            raise errors.Conflict(
                f"run `{run_id}` is of kind `{row.kind}`, and those are not gone on with; start another one",
                resource="run",
                name=run_id,
            )
        if (stage := store.stage_of(row, status)) is not training.Stage.FAILED:
            raise errors.Conflict(
                f"run `{run_id}` is at `{stage}`, and only what failed is resumed; look at it with `mainspring run show"
                f" {run_id}`",
                resource="run",
                name=run_id,
            )
        limit = request.max_cost if request.max_cost is not None else store.max_cost(row)
        spent = (await cost_store.run_costs(connection, [run_id])).get(run_id, 0.0)
        if limit is not None and limit <= spent:
            raise errors.InvalidRequest(
                f"run `{run_id}` has cost {spent:.6g} {plane.book.currency} and may cost {limit:.6g}; give it a higher"
                " `max_cost`",
                field="max_cost",
            )
        await _keep_free(plane, connection, row.project, run_id, row.request, limit)
        ended_at = row.ended_at or base.utc_now().isoformat()
        await store.begin_again(connection, run_id, None if limit is None else cost.to_nanos(limit))
        body = {"max_cost": limit, "ended_at": ended_at, "result": row.result}
        intent = await intents.insert(connection, run_id, intents.Kind.RESUME, actor.name, body)
        return service.intended(run_id, intent, {"max_cost": limit, "spent": spent})

    asked = await mutation.mutate(
        plane, credential, action="run.resume", resource=f"run/{run_id}", on=on, do=do
    )
    return await service.carry_out(plane, asked)


async def _keep_free(
    plane: control_plane.ControlPlane,
    connection: AsyncConnection,
    project: str,
    run_id: str,
    started_with: dict[str, object],
    limit: float | None,
) -> None:
    """What the run may cost, of which what it used is spent by now. Errors: BudgetExceeded, QuotaExceeded; PolicyDenied for want of
    tags."""
    request = control.RunCreate.model_validate({**started_with, "max_cost": limit})
    spent = (await cost_store.run_costs(connection, [run_id])).get(run_id, 0.0)
    own = cost.to_nanos(spent)
    # Without a `max_cost` as much again as a run that begins: what it has used was another stretch's.
    wanted = requests.wanted_nanos(plane, request) + (own if limit is None else 0)
    await reservations.release(connection, run_id)
    await limits.require(plane, connection, request)
    await service.untagged(plane, connection, project)
    await service.afford(connection, project, request.environment, wanted - own)
    await reservations.insert(
        connection, run_id, project, wanted, now=base.utc_now(), hours=plane.book.reservation_hours
    )
