"""Start, show, decide on and cancel runs; take what their workflows report."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import cost, errors, identity, ids, policy
from mainspring.core.contracts import base, control, deployment, training
from mainspring.platform import mutation
from mainspring.platform import plane as control_plane
from mainspring.platform.audit import store as audit_store
from mainspring.platform.costs import store as cost_store
from mainspring.platform.projects import store as project_store
from mainspring.platform.runs import store

T = TypeVar("T")

#: Longest wait for the launcher: a decision holds the writing transaction meanwhile.
LAUNCHER_TIMEOUT_SECONDS: Final = 10.0


async def create(
    plane: control_plane.ControlPlane, credential: str, request: control.RunCreate
) -> control.RunView:
    """Record a run, then start it; the same idempotency key again answers with the run that it started first.

    If the engine does not answer, the run stays `pending`, and the same key again starts it: the workflow id is the
    run id, so there is never a second execution.
    Errors: NotFound for the project, PolicyDenied, BudgetExceeded, Conflict if the key came with another request.
    """
    _check_complete(request)

    async def authorise(connection: AsyncConnection, actor: identity.Actor) -> None:
        if await store.find_by_key(connection, actor.name, request.idempotency_key) is None:
            await _authorise_start(connection, actor, request)

    async def do(connection: AsyncConnection, actor: identity.Actor) -> mutation.Change[sa.Row[Any]]:
        known = await store.find_by_key(connection, actor.name, request.idempotency_key)
        if known is not None:
            if control.RunCreate.model_validate(known.request) != request:
                raise errors.Conflict(
                    f"idempotency key `{request.idempotency_key}` started `{known.run_id}` with another request; use"
                    " a fresh key",
                    resource="run",
                    name=known.run_id,
                )
            return mutation.Change(known, f"run/{known.run_id}", is_new=False)
        run_id = ids.new_id("run")
        await store.insert(connection, run_id, request, actor.name)
        row = await store.find(connection, run_id)
        return mutation.Change(row, f"run/{run_id}", request.model_dump(mode="json"))

    row = await mutation.mutate(
        plane,
        credential,
        action="run.start",
        resource=f"project/{request.project}",
        roles=("developer",),
        authorise=authorise,
        do=do,
    )
    if row.stage == training.Stage.PENDING:
        await _launch(plane, row, request)
    return await _show(plane, row.run_id)


def _check_complete(request: control.RunCreate) -> None:
    if request.endpoint:
        ids.check_slug(request.endpoint, "endpoint")
    if request.kind is control.RunKind.DEPLOY:
        for name in ("endpoint", "bundle_digest"):
            if not getattr(request, name):
                raise errors.InvalidRequest(f"a deployment needs `{name}`; add it", field=name)


async def _authorise_start(
    connection: AsyncConnection, actor: identity.Actor, request: control.RunCreate
) -> None:
    project = await project_store.find(connection, request.project)
    limit = project.monthly_budget_nanos
    spent = cost.to_amount(await cost_store.spent_nanos(connection, request.project, base.utc_now()))
    facts = policy.BudgetFacts(limit=None if limit is None else cost.to_amount(limit), spent=spent)
    denial = policy.decide_run(request, actor, facts).denial
    if denial is None:
        return
    if denial.rule_id == "run.budget" and facts.limit is not None:
        raise errors.BudgetExceeded(
            denial.message, project=request.project, limit_usd=facts.limit, needed_usd=spent
        )
    raise denial


async def _launch(plane: control_plane.ControlPlane, row: sa.Row[Any], request: control.RunCreate) -> None:
    if request.kind is control.RunKind.DEPLOY:
        assert request.bundle_digest is not None  # _check_complete
        await _ask(
            plane.launcher.start_deployment(
                deployment.DeployRequest(
                    run_id=row.run_id,
                    project=request.project,
                    environment=request.environment,
                    endpoint=request.endpoint,
                    bundle_digest=request.bundle_digest,
                    requested_by=row.requested_by,
                )
            )
        )
    else:
        await _ask(
            plane.launcher.start_training(
                training.TrainRequest(
                    run_id=row.run_id,
                    project=request.project,
                    environment=request.environment,
                    requested_by=row.requested_by,
                    sample_fraction=request.sample_fraction,
                    epochs=request.epochs,
                    num_workers=plane.train_workers,
                    auto_approve_by=request.auto_approve_by,
                    deploy_to=request.endpoint,
                )
            )
        )


async def _ask(answer: Awaitable[T]) -> T:
    """What the launcher answers. Errors: DeadlineExceeded, and the launcher's own."""
    try:
        async with asyncio.timeout(LAUNCHER_TIMEOUT_SECONDS):
            return await answer
    except TimeoutError as error:
        raise errors.DeadlineExceeded(
            f"the workflow engine did not answer within {LAUNCHER_TIMEOUT_SECONDS:.0f} s; see `mainspring status`",
            stage="launcher",
        ) from error


async def show(plane: control_plane.ControlPlane, credential: str, run_id: str) -> control.RunView:
    """Errors: NotFound."""
    plane.issuer.authenticate(credential)
    return await _show(plane, run_id)


async def _show(plane: control_plane.ControlPlane, run_id: str) -> control.RunView:
    async with plane.database.read() as connection:
        row = await store.find(connection, run_id)
        costs = await cost_store.run_costs(connection, [run_id])
    return store.view(row, costs.get(run_id, 0.0), await _live_status(plane, row))


async def _live_status(plane: control_plane.ControlPlane, row: sa.Row[Any]) -> training.RunStatus | None:
    """None when the engine is away or has forgotten the run: what is stored is shown then."""
    try:
        return await _ask(plane.launcher.status(row.run_id))
    except (errors.Unavailable, errors.NotFound):
        return None


async def read(
    plane: control_plane.ControlPlane, credential: str, *, project: str, before: str, limit: int
) -> control.Page:
    """A page of runs, newest first; those that have not ended show their present stage."""
    plane.issuer.authenticate(credential)
    async with plane.database.read() as connection:
        rows = await store.page(connection, project=project, before=before, limit=limit + 1)
        costs = await cost_store.run_costs(connection, [row.run_id for row in rows])
    shown = rows[:limit]
    live = [row for row in shown if training.Stage(row.stage) not in store.TERMINAL]
    statuses = await asyncio.gather(*(_live_status(plane, row) for row in live))
    status_of = {row.run_id: status for row, status in zip(live, statuses, strict=True)}
    views = [store.view(row, costs.get(row.run_id, 0.0), status_of.get(row.run_id)) for row in shown]
    return control.Page(
        items=[view.model_dump(mode="json") for view in views],
        next=shown[-1].run_id if len(rows) > limit else "",
    )


async def decide(
    plane: control_plane.ControlPlane, credential: str, run_id: str, request: control.DecisionCreate
) -> control.RunView:
    """Approve or reject. Errors: PolicyDenied; Conflict if the run does not wait for a decision."""

    async def authorise(connection: AsyncConnection, actor: identity.Actor) -> None:
        row = await store.find(connection, run_id)
        policy.decide_approval(actor, requested_by=row.requested_by, environment=row.environment).require()

    async def do(_connection: AsyncConnection, actor: identity.Actor) -> mutation.Change[None]:
        decision = training.Decision(approve=request.approve, by=actor.name, reason=request.reason)
        await _ask(plane.launcher.decide(run_id, decision))
        return mutation.Change(None, f"run/{run_id}", decision.model_dump(mode="json"))

    await mutation.mutate(
        plane,
        credential,
        action="run.decide",
        resource=f"run/{run_id}",
        roles=("approver",),
        authorise=authorise,
        do=do,
    )
    return await _show(plane, run_id)


async def cancel(plane: control_plane.ControlPlane, credential: str, run_id: str) -> control.RunView:
    """Errors: Conflict if the run has ended."""

    async def do(connection: AsyncConnection, _actor: identity.Actor) -> mutation.Change[None]:
        row = await store.find(connection, run_id)
        status = await _live_status(plane, row)
        stage = status.stage if status is not None else training.Stage(row.stage)
        if stage in store.TERMINAL:
            raise errors.Conflict(
                f"run `{run_id}` has ended as `{stage}`; there is nothing to cancel",
                resource="run",
                name=run_id,
            )
        await _ask(plane.launcher.cancel(run_id))
        return mutation.Change(None, f"run/{run_id}", {"stage": str(stage)})

    await mutation.mutate(
        plane,
        credential,
        action="run.cancel",
        resource=f"run/{run_id}",
        roles=("developer", "approver"),
        do=do,
    )
    return await _show(plane, run_id)


async def report(
    plane: control_plane.ControlPlane, credential: str, run_id: str, event: training.RunEvent
) -> control.AuditView:
    """Put on record what a workflow did; the same key again answers with the first row.

    `detail.stage`, if it is a stage, becomes the run's stored stage, and `detail.result` its result.
    Errors: NotFound for the run, InvalidRequest if the event is another run's, Conflict if the key came with other
    content.
    """
    if event.run_id != run_id:
        raise errors.InvalidRequest(
            f"the event is of run `{event.run_id}`, the path names `{run_id}`; post it to its own run",
            field="run_id",
        )

    async def do(connection: AsyncConnection, _actor: identity.Actor) -> mutation.Change[None]:
        await store.find(connection, run_id)
        known = await audit_store.is_recorded(connection, event.event_key)
        if known is not None:
            _check_same(audit_store.view(known), event)
            return mutation.Change(None, f"run/{run_id}", is_new=False)
        stage = event.detail.get("stage")
        if stage in set(training.Stage):
            await store.set_stage(connection, run_id, training.Stage(stage), event.detail.get("result") or {})
        return mutation.Change(
            None, f"run/{run_id}", event.detail, event_key=event.event_key, on_behalf_of=event.actor
        )

    await mutation.mutate(
        plane, credential, action=event.action, resource=f"run/{run_id}", roles=("service",), do=do
    )
    async with plane.database.read() as connection:
        row = await audit_store.is_recorded(connection, event.event_key)
    if row is None:
        raise errors.InvariantViolated("a recorded event is not in the log", where="platform.runs.report")
    return audit_store.view(row)


def _check_same(known: control.AuditView, event: training.RunEvent) -> None:
    was = (known.actor, known.action, known.resource)
    if was != (event.actor, event.action, f"run/{event.run_id}"):
        raise errors.Conflict(
            f"event key `{event.event_key}` is taken by `{known.action}` of `{known.resource}`; give each event its"
            " own key",
            resource="event",
            name=event.event_key,
        )
