"""Start, show, decide on and cancel runs; take what their workflows report."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import cost, errors, identity, ids, policy, traces
from mainspring.core.contracts import base, control, training
from mainspring.core.cost import tagging
from mainspring.core.protection import showing
from mainspring.platform import access, mutation, reads
from mainspring.platform import plane as control_plane
from mainspring.platform.audit import store as audit_store
from mainspring.platform.costs import budgets, reservations
from mainspring.platform.costs import store as cost_store
from mainspring.platform.endpoints import store as endpoint_store
from mainspring.platform.http import versions
from mainspring.platform.projects import store as project_store
from mainspring.platform.protection import dpia_service, exports, masking_service, purposes_service
from mainspring.platform.quotas import limits
from mainspring.platform.runs import intents, outbox, requests, store


async def create(
    plane: control_plane.ControlPlane, credential: str, request: control.RunCreate
) -> control.RunView:
    """Record a run, then start it; the same idempotency key again answers with the run that it started first.

    If the engine does not answer, the run stays `pending`, and the same key again, or recovery, starts it: the
    workflow id is the run id, so there is never a second execution.
    Errors: NotFound for the project, PolicyDenied (also for one without the tags that settings ask for), BudgetExceeded, QuotaExceeded; Conflict if the key came with another request, or if
    the endpoint is another project's.
    """
    requests.check_complete(request)
    notice = ""

    async def on(connection: AsyncConnection) -> tuple[access.Target, ...]:
        facts = await purposes_service.of_run(connection, request)
        return (requests.target(request, facts), *await exports.asked(plane, connection, request))

    async def can_afford(connection: AsyncConnection, actor: identity.Actor) -> None:
        nonlocal notice
        if request.kind in requests.ENDS:
            return  # a budget that is spent must not keep a bad model in service
        if await store.find_by_key(connection, actor.name, request.idempotency_key) is None:
            await dpia_service.require(connection, request)
            await limits.require(plane, connection, request)
            notice = await untagged(plane, connection, request.project)
            await afford(
                connection, request.project, request.environment, requests.wanted_nanos(plane, request)
            )

    async def do(connection: AsyncConnection, actor: identity.Actor) -> mutation.Change[Asked]:
        known = await store.find_by_key(connection, actor.name, request.idempotency_key)
        if known is not None:
            if control.RunCreate.model_validate(known.request) != request:
                raise errors.Conflict(
                    f"idempotency key `{request.idempotency_key}` started `{known.run_id}` with another request; use"
                    " a fresh key",
                    resource="run",
                    name=known.run_id,
                )
            # A run of a version that kept no intents may wait for its start without one.
            is_asked = await intents.exists(connection, known.run_id, intents.Kind.START)
            if is_asked or known.stage != training.Stage.PENDING:
                intent = await intents.find_open(connection, known.run_id, intents.Kind.START)
                return mutation.Change(Asked(known.run_id, intent), f"run/{known.run_id}", is_new=False)
            run_id = known.run_id
        else:
            await requests.check_pipeline(plane, connection, request)
            if request.kind is control.RunKind.RELEASE:
                await endpoint_store.require_free(connection, request.endpoint, request.project)
            run_id = ids.new_id("run")
            await store.insert(connection, run_id, request, actor.name)
            if request.endpoint and request.kind not in requests.CLAIM_NOTHING:
                await endpoint_store.claim(
                    connection, request.endpoint, request.project, request.environment, actor.name
                )
            now, hours = base.utc_now(), plane.book.reservation_hours
            wanted = requests.wanted_nanos(plane, request)
            await reservations.insert(connection, run_id, request.project, wanted, now=now, hours=hours)
        body = request.model_dump(mode="json")
        intent = await intents.insert(connection, run_id, intents.Kind.START, actor.name, body)
        return intended(run_id, intent, body | ({"notice": notice} if notice else {}))

    try:
        asked = await mutation.mutate(
            plane,
            credential,
            action="run.start",
            resource=f"project/{request.project}",
            on=on,
            afford=can_afford,
            do=do,
        )
    except errors.PolicyDenied as denial:
        if denial.rule_id not in (purposes_service.BOUND, purposes_service.ASSESSED):
            raise
        async with plane.database.read() as connection:
            raise await purposes_service.refused(connection, request, denial) from None
    view = await carry_out(plane, asked)
    return view.model_copy(update={"notice": notice})


async def untagged(plane: control_plane.ControlPlane, connection: AsyncConnection, name: str) -> str:
    """What the project lacks, where settings are to tell of it; empty: nothing. Errors: PolicyDenied where they are to refuse."""
    tags = project_store.tags_of(await project_store.find(connection, name))
    lacks = tagging.lacking(tags, plane.book)
    if lacks and plane.book.enforce_tags == "refuse":
        raise tagging.denial(name, lacks)
    return tagging.notice(name, lacks) if lacks else ""


@dataclass(frozen=True)
class Asked:
    """A run and what is still to be done about it; None: it was done before."""

    run_id: str
    intent: sa.Row[Any] | None


def intended(run_id: str, intent: sa.Row[Any], detail: dict[str, Any]) -> mutation.Change[Asked]:
    return mutation.Change(
        Asked(run_id, intent), f"run/{run_id}", {"intent": intent.intent_id, **detail}, outcome="intended"
    )


async def carry_out(plane: control_plane.ControlPlane, asked: Asked) -> control.RunView:
    """The run after the engine has answered; the transaction that let the request in is over by now."""
    if asked.intent is not None:
        await outbox.carry_out(plane, asked.intent)
    return await _show(plane, asked.run_id)


async def afford(connection: AsyncConnection, name: str, environment: str, wanted: int) -> None:
    """Errors: BudgetExceeded where project `name` has not `wanted` billionths left, this month or in one of its budgets for the
    environment; NotFound for it."""
    project, now = await project_store.find(connection, name), base.utc_now()
    limit = project.monthly_budget_nanos
    spent = await cost_store.spent_nanos(connection, name, now)
    held = await reservations.held_nanos(connection, name, now)
    facts = policy.BudgetFacts(
        limit=None if limit is None else cost.to_amount(limit),
        spent=cost.to_amount(spent),
        committed=cost.to_amount(spent + held + wanted),
    )
    denial = policy.decide_budget(facts).denial
    if denial is None:
        await budgets.require(connection, name, environment, wanted, now)
        return
    if facts.limit is None:  # the rule crashed
        raise denial
    raise errors.BudgetExceeded(
        denial.message, project=name, limit_usd=facts.limit, needed_usd=facts.committed
    )


async def show(plane: control_plane.ControlPlane, credential: str, run_id: str) -> control.RunView:
    """Errors: NotFound."""
    async with reads.reading(plane, credential, action="run.read") as reader:
        row = await store.find(reader.connection, run_id)
        if not reader.may(row.project):
            raise store.unknown(run_id)
        shown = await masking_service.shown_to(plane, reader, row.project, row.environment)
    return await _show(plane, run_id, shown)


async def _show(
    plane: control_plane.ControlPlane, run_id: str, shown: showing.Shown | None = None
) -> control.RunView:
    """`shown` None: to somebody who did something about it, and is told as the log is."""
    async with plane.database.read() as connection:
        row = await store.find(connection, run_id)
        costs = await cost_store.run_costs(connection, [run_id])
        shown = shown or await masking_service.on_record(plane, connection, row.project)
    view = store.view(row, costs.get(run_id, 0.0), await outbox.live_status(plane, run_id))
    begun_in = await outbox.traceparent_of(plane, run_id, intents.Kind.START)
    told = {"trace_id": traces.trace_id_of(begun_in), "result": showing.result(view.result, shown)}
    return view.model_copy(update=told)


async def read(
    plane: control_plane.ControlPlane,
    credential: str,
    *,
    project: str,
    only_open: bool,
    before: str,
    limit: int,
) -> control.Page:
    """A page of runs, newest first; those that have not ended show their present stage.

    A project that is not there has no runs, and so has one that the actor may not know of.
    """
    async with reads.reading(plane, credential, action="run.read") as reader:
        projects = await reader.projects()
        if project:
            projects = frozenset({project} if projects is None else {project} & projects)
        rows = await store.page(
            reader.connection, projects=projects, only_open=only_open, before=before, limit=limit + 1
        )
        costs = await cost_store.run_costs(reader.connection, [row.run_id for row in rows])
        # Most runs of a page have no evaluation: nobody is asked about those.
        places = {(row.project, row.environment) for row in rows if row.result.get("evaluation")}
        seen = {place: await masking_service.shown_to(plane, reader, *place) for place in places}
    shown = rows[:limit]
    live = [row for row in shown if training.Stage(row.stage) not in store.TERMINAL]
    statuses = await asyncio.gather(*(outbox.live_status(plane, row.run_id) for row in live))
    status_of = {row.run_id: status for row, status in zip(live, statuses, strict=True)}
    views = [store.view(row, costs.get(row.run_id, 0.0), status_of.get(row.run_id)) for row in shown]
    views = [
        view.model_copy(update={"result": showing.result(view.result, seen[place])})
        if (place := (view.project, view.environment)) in seen
        else view
        for view in views
    ]
    return control.Page(
        items=[view.model_dump(mode="json") for view in views],
        next=shown[-1].run_id if len(rows) > limit else "",
    )


async def decide(
    plane: control_plane.ControlPlane,
    credential: str,
    run_id: str,
    request: control.DecisionCreate,
    *,
    if_match: str = "",
) -> control.RunView:
    """Approve or reject; the same decision again resumes the first.

    While the engine is away the decision is on record and stays under way; recovery delivers it.
    Errors: PolicyDenied; Conflict if the run does not wait for a decision, or another one is under way;
    PreconditionFailed if it is not as it was looked at.
    """
    plane.issuer.authenticate(credential)
    status = await outbox.live_status(plane, run_id) if if_match else None

    async def on(connection: AsyncConnection) -> access.Target:
        return access.run(await store.find(connection, run_id), approve=request.approve)

    async def do(connection: AsyncConnection, actor: identity.Actor) -> mutation.Change[Asked]:
        row = await store.find(connection, run_id)
        who = await access.identify(connection, actor)
        decision = training.Decision(
            approve=request.approve,
            by=actor.name,
            reason=request.reason,
            step=request.step,
            roles=tuple(sorted(who.roles(row.project, row.environment))),
        )
        body = decision.model_dump(mode="json")
        known = await intents.find_open(connection, run_id, intents.Kind.DECIDE)
        if known is not None:
            if training.Decision.model_validate(known.request) != decision:
                raise errors.Conflict(
                    f"a decision of `{known.actor}` on run `{run_id}` is under way; look at the run again",
                    resource="run",
                    name=run_id,
                )
            return mutation.Change(Asked(run_id, known), f"run/{run_id}", is_new=False)
        versions.check(if_match, store.version(row, status), resource="run", name=run_id)
        intent = await intents.insert(connection, run_id, intents.Kind.DECIDE, actor.name, body)
        return intended(run_id, intent, body)

    asked = await mutation.mutate(
        plane,
        credential,
        action="run.decide",
        resource=f"run/{run_id}",
        on=on,
        do=do,
    )
    return await carry_out(plane, asked)


async def cancel(
    plane: control_plane.ControlPlane, credential: str, run_id: str, *, if_match: str = ""
) -> control.RunView:
    """Ask a run to stop. Errors: Conflict if the run has ended; PreconditionFailed if it is not as it was looked at."""
    plane.issuer.authenticate(credential)
    status = await outbox.live_status(plane, run_id)

    async def do(connection: AsyncConnection, actor: identity.Actor) -> mutation.Change[Asked]:
        row = await store.find(connection, run_id)
        known = await intents.find_open(connection, run_id, intents.Kind.CANCEL)
        if known is not None:
            return mutation.Change(Asked(run_id, known), f"run/{run_id}", is_new=False)
        versions.check(if_match, store.version(row, status), resource="run", name=run_id)
        stage = status.stage if status is not None else training.Stage(row.stage)
        if stage in store.TERMINAL:
            raise errors.Conflict(
                f"run `{run_id}` has ended as `{stage}`; there is nothing to cancel",
                resource="run",
                name=run_id,
            )
        body = {"stage": str(stage)}
        intent = await intents.insert(connection, run_id, intents.Kind.CANCEL, actor.name, body)
        return intended(run_id, intent, body)

    asked = await mutation.mutate(
        plane,
        credential,
        action="run.cancel",
        resource=f"run/{run_id}",
        on=_run_of(run_id),
        do=do,
    )
    return await carry_out(plane, asked)


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
        run = await store.find(connection, run_id)
        known = await audit_store.is_recorded(connection, event.event_key)
        if known is not None:
            _check_same(audit_store.view(known), event)
            return mutation.Change(None, f"run/{run_id}", is_new=False)
        stage = event.detail.get("stage")
        if stage in set(training.Stage):
            reached = training.Stage(stage)
            await store.set_stage(connection, run_id, reached, event.detail.get("result") or {})
            if reached in store.TERMINAL:
                await reservations.release(connection, run_id)
        detail = event.detail
        if isinstance(result := detail.get("result"), dict):
            # The run keeps what it answered; the log, which nobody can mend, has no value that is not for everybody.
            shown = await masking_service.on_record(plane, connection, run.project)
            detail = {**detail, "result": showing.result(result, shown)}
        return mutation.Change(
            None, f"run/{run_id}", detail, event_key=event.event_key, on_behalf_of=event.actor
        )

    await mutation.mutate(
        plane,
        credential,
        action=event.action,
        right="run.report",
        resource=f"run/{run_id}",
        on=_run_of(run_id),
        do=do,
    )
    async with plane.database.read() as connection:
        row = await audit_store.is_recorded(connection, event.event_key)
    if row is None:
        raise errors.InvariantViolated("a recorded event is not in the log", where="platform.runs.report")
    return audit_store.view(row)


def _run_of(run_id: str) -> access.Finder:
    async def find(connection: AsyncConnection) -> access.Target:
        return access.run(await store.find(connection, run_id))

    return find


def _check_same(known: control.AuditView, event: training.RunEvent) -> None:
    was = (known.actor, known.action, known.resource)
    if was != (event.actor, event.action, f"run/{event.run_id}"):
        raise errors.Conflict(
            f"event key `{event.event_key}` is taken by `{known.action}` of `{known.resource}`; give each event its"
            " own key",
            resource="event",
            name=event.event_key,
        )
