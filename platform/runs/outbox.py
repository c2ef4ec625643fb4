"""What people ask of runs reaches the engine exactly once, whenever this process ends.

Three steps: the intent is on record (one short transaction), the engine is asked (no transaction), the outcome is on
record (another short one). The engine is asked under the intent's id, or about a run id that exists once, so that
asking again is harmless. What a crash or an engine that was away left open, :func:`recover` carries out.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors, traces
from mainspring.core.contracts import (
    base,
    canaries,
    control,
    deployment,
    pipelines,
    releasing,
    retiring,
    scoring,
    training,
    tuning,
)
from mainspring.platform import loops, mutation
from mainspring.platform import plane as control_plane
from mainspring.platform.audit import store as audit_store
from mainspring.platform.costs import reservations
from mainspring.platform.runs import intents, store

T = TypeVar("T")
_LOG: Final = logging.getLogger(__name__)

#: What keeps money free for a run.
_BEGIN: Final = (intents.Kind.START, intents.Kind.RESUME)
#: Longest wait for the engine. Nothing else waits meanwhile.
LAUNCHER_TIMEOUT_SECONDS: Final = 10.0
#: How often open intents are looked for, and how old one is before somebody else than its request takes it.
RECOVERY_SECONDS: Final = 15.0
RECOVERY_AGE: Final = timedelta(seconds=3 * LAUNCHER_TIMEOUT_SECONDS)


async def carry_out(plane: control_plane.ControlPlane, intent: sa.Row[Any]) -> None:
    """Ask the engine and put its answer on record; harmless for an intent that was carried out before.

    Errors: Unavailable kinds, after which the intent stays open; what the engine refuses with, which is on record.
    """
    try:
        await ask(_deliver(plane, intent))
    except errors.Rejected as refusal:
        # Asked again after a crash, the engine may refuse because it took the first time.
        if await _was_taken(plane, intent):
            await _settle(plane, intent, intents.State.DONE, {})
            return
        await _settle(plane, intent, intents.State.REFUSED, errors.to_wire(refusal))
        raise
    except errors.Denied as refusal:
        await _settle(plane, intent, intents.State.REFUSED, errors.to_wire(refusal))
        raise
    await _settle(plane, intent, intents.State.DONE, {})


async def recover(plane: control_plane.ControlPlane, *, older_than: timedelta = timedelta(0)) -> int:
    """Carry out what is open; returns how many were settled. An engine that is away leaves them for later."""
    async with plane.database.read() as connection:
        found = await intents.open_until(connection, (base.utc_now() - older_than).isoformat())
    settled = 0
    for intent in found:
        try:
            with traces.resumed(await traceparent_of(plane, intent.run_id, intent.kind)):
                await carry_out(plane, intent)
        except errors.Unavailable as error:
            _LOG.warning("%s of %s waits: %s", intent.kind, intent.run_id, error.message)
            break
        except (errors.Rejected, errors.Denied) as refusal:
            _LOG.warning("%s of %s was refused: %s", intent.kind, intent.run_id, refusal.message)
        settled += 1
    return settled


async def recover_forever(plane: control_plane.ControlPlane) -> None:
    """At once what an earlier process left, then what requests of this one gave up."""
    ages = itertools.chain([timedelta(0)], itertools.repeat(RECOVERY_AGE))
    await loops.again_forever(
        lambda: recover(plane, older_than=next(ages)),
        every_seconds=RECOVERY_SECONDS,
        failed="recovery of open intents failed",
        log=_LOG,
    )


async def ask(answer: Awaitable[T]) -> T:
    """What the launcher answers. Errors: DeadlineExceeded, and the launcher's own."""
    try:
        async with asyncio.timeout(LAUNCHER_TIMEOUT_SECONDS):
            return await answer
    except TimeoutError as error:
        raise errors.DeadlineExceeded(
            f"the workflow engine did not answer within {LAUNCHER_TIMEOUT_SECONDS:.0f} s; see `mainspring status`",
            stage="launcher",
        ) from error


async def traceparent_of(plane: control_plane.ControlPlane, run_id: str, kind: str) -> str:
    """Of the last request that asked for this of the run; empty if it was in no trace."""
    async with plane.database.read() as connection:
        found = await audit_store.details(connection, resource=f"run/{run_id}", action=f"run.{kind}")
    return next((str(detail[traces.HEADER]) for detail in reversed(found) if traces.HEADER in detail), "")


async def live_status(plane: control_plane.ControlPlane, run_id: str) -> training.RunStatus | None:
    """None when the engine is away or has forgotten the run: what is stored is shown then."""
    try:
        return await ask(plane.launcher.status(run_id))
    except (errors.Unavailable, errors.NotFound):
        return None


async def _deliver(plane: control_plane.ControlPlane, intent: sa.Row[Any]) -> None:
    if intent.kind == intents.Kind.START:
        request = control.RunCreate.model_validate(intent.request)
        await _start(plane, intent.run_id, intent.actor, request)
    elif intent.kind == intents.Kind.RESUME:
        async with plane.database.read() as connection:
            row = await store.find(connection, intent.run_id)
        request = control.RunCreate.model_validate({**row.request, "max_cost": store.max_cost(row)})
        # Whoever resumes it has not started it: who may decide on it stays as it was.
        await _start(plane, row.run_id, row.requested_by, request)
    elif intent.kind == intents.Kind.DECIDE:
        decision = training.Decision.model_validate(intent.request)
        await plane.launcher.decide(intent.run_id, decision, intent_id=intent.intent_id)
    elif intent.kind == intents.Kind.STEER:
        asked = canaries.Steer.model_validate({**intent.request["asked"], "order_id": intent.intent_id})
        order = canaries.CanaryOrder(intent.request["order"])
        await plane.launcher.steer(intent.request["deployment_id"], order, asked)
    else:
        await plane.launcher.cancel(intent.run_id)


async def _start(
    plane: control_plane.ControlPlane, run_id: str, requested_by: str, request: control.RunCreate
) -> None:
    if request.kind is control.RunKind.DEPLOY:
        assert request.bundle_digest is not None  # requests.check_complete
        await plane.launcher.start_deployment(
            deployment.DeployRequest(
                run_id=run_id,
                project=request.project,
                environment=request.environment,
                endpoint=request.endpoint,
                bundle_digest=request.bundle_digest,
                requested_by=requested_by,
                shadow_seconds=request.shadow_seconds,
                max_score_psi=request.max_score_psi,
                # Left out, it is as the deployment has it.
                **({"canary_percents": request.canary_percents} if request.canary_percents else {}),
                **(
                    {} if request.max_wait_seconds is None else {"max_wait_seconds": request.max_wait_seconds}
                ),
            )
        )
    elif request.kind is control.RunKind.SCORE:
        assert request.bundle_digest is not None and request.score is not None  # requests.check_complete
        await plane.launcher.start_scoring(
            scoring.ScoreRequest(
                run_id=run_id,
                project=request.project,
                environment=request.environment,
                requested_by=requested_by,
                bundle_digest=request.bundle_digest,
                sample_fraction=request.sample_fraction,
                num_workers=plane.train_workers,
                max_cost=request.max_cost,
                **request.score.model_dump(exclude={"purpose"}),
            )
        )
    elif request.kind is control.RunKind.RETIRE:
        assert request.bundle_digest is not None and request.retire is not None  # requests.check_complete
        await plane.launcher.start_retiring(
            retiring.RetireRequest(
                run_id=run_id,
                project=request.project,
                environment=request.environment,
                requested_by=requested_by,
                bundle_digest=request.bundle_digest,
                **request.retire.model_dump(),
            )
        )
    elif request.kind is control.RunKind.RELEASE:
        assert request.release is not None  # requests.check_complete
        await plane.launcher.start_releasing(
            releasing.ReleaseRequest(
                run_id=run_id,
                project=request.project,
                environment=request.environment,
                requested_by=requested_by,
                endpoint=request.endpoint,
                **request.release.model_dump(),
            )
        )
    elif request.kind is control.RunKind.TUNE:
        await plane.launcher.start_tuning(
            tuning.TuneRequest(
                run_id=run_id,
                project=request.project,
                environment=request.environment,
                requested_by=requested_by,
                sample_fraction=request.sample_fraction,
                epochs=request.epochs,
                num_workers=plane.train_workers,
                deploy_to=request.endpoint,
                max_cost=request.max_cost,
                purpose=request.purpose,
                **(request.tune or tuning.TuneOptions()).model_dump(),
            )
        )
    elif request.kind is control.RunKind.PIPELINE:
        assert request.pipeline is not None  # requests.check_complete
        await plane.launcher.start_pipeline(
            pipelines.PipelineRequest(
                run_id=run_id,
                project=request.project,
                environment=request.environment,
                requested_by=requested_by,
                prompted_by=request.prompted_by,
                max_cost=request.max_cost,
                **request.pipeline.model_dump(),
            )
        )
    else:
        await plane.launcher.start_training(
            training.TrainRequest(
                run_id=run_id,
                project=request.project,
                environment=request.environment,
                requested_by=requested_by,
                sample_fraction=request.sample_fraction,
                epochs=request.epochs,
                num_workers=plane.train_workers,
                min_workers=plane.ray.train_min_workers,
                auto_approve_by=request.auto_approve_by,
                cause=request.cause,
                on_behalf_of=request.on_behalf_of,
                prompted_by=request.prompted_by,
                model=request.model,
                split=request.split,
                deploy_to=request.endpoint,
                max_cost=request.max_cost,
            )
        )


async def _was_taken(plane: control_plane.ControlPlane, intent: sa.Row[Any]) -> bool:
    """Did the engine take this intent before it refused it now."""
    if intent.kind == intents.Kind.START:
        return await live_status(plane, intent.run_id) is not None
    if intent.kind == intents.Kind.RESUME:
        status = await live_status(plane, intent.run_id)
        return status is not None and status.stage is not training.Stage.FAILED
    if intent.kind == intents.Kind.CANCEL:
        status = await live_status(plane, intent.run_id)
        return status is not None and status.stage is training.Stage.CANCELLED
    # The run itself reports which decision it took, and which order.
    if intent.kind == intents.Kind.STEER:
        async with plane.database.read() as connection:
            found = await audit_store.details(
                connection,
                resource=f"run/{intent.run_id}",
                action=f"endpoint.canary.{intent.request['order']}",
            )
        return any(detail.get("order_id") == intent.intent_id for detail in found)
    async with plane.database.read() as connection:
        taken = await audit_store.details(
            connection, resource=f"run/{intent.run_id}", action="approval.decide"
        )
    wanted = training.Decision.model_validate(intent.request)
    said = (wanted.by, wanted.approve)
    return any((d.get("by"), d.get("approve")) == said and wanted.step in ("", d.get("step")) for d in taken)


async def _settle(
    plane: control_plane.ControlPlane, intent: sa.Row[Any], state: intents.State, detail: dict[str, Any]
) -> None:
    async def do(connection: AsyncConnection) -> mutation.Change[None]:
        is_new = await intents.settle(connection, intent.intent_id, state)
        if is_new and state is intents.State.REFUSED and intent.kind in _BEGIN:
            await reservations.release(connection, intent.run_id)
            if intent.kind == intents.Kind.RESUME:
                await store.end_again(
                    connection, intent.run_id, intent.request["ended_at"], intent.request["result"]
                )
        return mutation.Change(
            None,
            f"run/{intent.run_id}",
            {"intent": intent.intent_id, **detail},
            is_new=is_new,
            event_key=f"{intent.intent_id}/settled",
            outcome=str(state),
        )

    await mutation.settle(plane, actor=intent.actor, action=f"run.{intent.kind}", do=do)
