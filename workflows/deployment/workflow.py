"""`mainspring.DeployModel.v1`: load, canary by steps that people may steer, promote or roll back. No clock, no randomness, no I/O."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from typing import Any, Final

from temporalio import exceptions, workflow

with workflow.unsafe.imports_passed_through():
    from mainspring.core import errors
    from mainspring.core.contracts import canaries, deployment, prediction, training
    from mainspring.core.contracts.training import Stage
    from mainspring.workflows import cancellation, options, run_log
    from mainspring.workflows import errors as temporal_errors
    from mainspring.workflows.deployment import judge, messages, steering, turns


#: Runs of releases before it end their step here.
_LOOKS_AGAIN: Final = "a canary whose counts were lost is looked at once more"


class _RolledBack(Exception):
    """The candidate missed a limit; ends the story, not the workflow."""


@workflow.defn(name=deployment.DEPLOY_WORKFLOW)
class DeployModel(steering.Steered, turns.TakesTurns):
    @workflow.init
    def __init__(self, request: deployment.DeployRequest) -> None:
        self._request = request
        self._log = run_log.RunLog(request.run_id)
        self._steering = steering.Steering(request)
        self._turn = turns.Turn(request, self._log, self._steering)
        self._previous: deployment.TrafficTable | None = None
        self._version = 0
        self._touched = False

    @workflow.query(name=training.STATUS_QUERY)
    def status(self) -> training.RunStatus:
        told, canary = self._log.status(), self._steering.state
        if canary is None:
            return told
        detail = {canaries.CANARY_DETAIL: canary.model_dump(mode="json"), **self._turn.detail}
        return told.model_copy(update={"detail": detail})

    @workflow.run
    async def run(self, request: deployment.DeployRequest) -> deployment.DeployResult:
        try:
            message = await self._deploy()
        except _RolledBack as verdict:
            undone = await cancellation.through(self._undo("endpoint.rollback", str(verdict)))
            await cancellation.through(self._turn.leave())
            return await cancellation.through(
                self._result(Stage.ROLLED_BACK, f"rolled back: {verdict}{undone}")
            )
        except (errors.MainspringError, exceptions.FailureError, asyncio.CancelledError) as failure:
            cancelled = exceptions.is_cancelled_exception(failure)
            error = None if cancelled else temporal_errors.from_failure(failure)
            why = "cancelled" if error is None else error.message
            undone = await cancellation.through(self._undo("endpoint.restore", why))
            await cancellation.through(self._turn.leave())
            stage = Stage.CANCELLED if cancelled else Stage.FAILED
            message = why + undone + await cancellation.through(self._report_end(stage, why + undone, {}))
            self._log.end(stage, message, error)
            if error is None:
                raise
            raise temporal_errors.to_failure(error) from failure
        await cancellation.through(self._turn.leave())
        return await cancellation.through(self._result(Stage.DONE, message))

    async def _deploy(self) -> str:
        await self._turn.come()
        if (end := self._steering.end) is not None:
            await self._record_orders()
            self._steering.close()
            raise _RolledBack(f"{end} before its turn")
        with self._log.step(Stage.DEPLOY, "reading the endpoint"):
            found = await workflow.execute_activity(
                messages.READ_ENDPOINT,
                messages.ReadEndpoint(endpoint=self._request.endpoint),
                result_type=messages.EndpointFound,
                **options.EXCHANGE,
            )
            in_force = found.view.traffic if found.view is not None else None
            if in_force is not None and self._request.if_empty:
                self._version = in_force.version
                return "somebody answers there already; nothing changed"
            self._check_free(in_force)
            self._check_shadow(in_force)
        with self._log.step(Stage.WARM, "loading the bundle") as step:
            loaded = await workflow.execute_activity(
                messages.LOAD_BUNDLE,
                messages.LoadBundle(
                    digest=self._request.bundle_digest, environment=self._request.environment
                ),
                result_type=prediction.BundleView,
                **options.ASK,
            )
            step.detail = {"bundle": loaded.name, "load_seconds": loaded.load_seconds}
            self._check_own(loaded)

        if in_force is None:
            self._version = found.released_version
            await self._promote("first bundle of the endpoint")
            return "first bundle of the endpoint; there was nothing to compare it with"
        self._previous, self._version = in_force, in_force.version
        if in_force.stable == self._request.bundle_digest:
            return "already stable; nothing changed"
        if self._request.shadow_seconds:
            await self._judge_at(in_force, steering.SHADOW)
        for percent in self._request.canary_percents:
            if percent >= self._steering.from_percent:
                await self._judge_at(in_force, percent)
        if past := self._steering.gone_past:
            await self._promote(past)
            return past
        await self._promote("passed its canary")
        before = "a shadow and " if self._request.shadow_seconds else ""
        return f"promoted after {before}{len(self._request.canary_percents)} canary steps"

    def _check_free(self, table: deployment.TrafficTable | None) -> None:
        if table is not None and table.canary is not None and table.set_by != self._request.run_id:
            raise errors.Conflict(
                f"endpoint `{table.endpoint}` has a canary in flight, set by `{table.set_by}`; let it end or roll it back first",
                resource="endpoint",
                name=table.endpoint,
            )

    def _check_shadow(self, table: deployment.TrafficTable | None) -> None:
        """Another shadow's place is not taken."""
        if not self._request.shadow_seconds or table is None:
            return
        if table.shadow in (None, self._request.bundle_digest):
            return
        raise errors.Conflict(
            f"endpoint `{table.endpoint}` has a shadow, set by `{table.set_by}`; take it out first, or deploy without"
            " `shadow_seconds`",
            resource="endpoint",
            name=table.endpoint,
        )

    def _check_own(self, loaded: prediction.BundleView) -> None:
        """The manifest that was signed says whose the bundle is, not who asks for it."""
        if loaded.project and loaded.project != self._request.project:
            raise errors.InvalidRequest(
                f"bundle `{loaded.digest}` is not of project `{self._request.project}`; deploy it in its own project",
                field="bundle_digest",
            )

    async def _judge_at(self, in_force: deployment.TrafficTable, percent: int) -> None:
        """At a share of traffic, or as a shadow, for as long as that is judged. Raises where the candidate is to go back."""
        is_shadow, candidate = percent == steering.SHADOW, self._request.bundle_digest
        with self._log.step(Stage.CANARY, steering.where(percent)) as step:
            table = deployment.TrafficTable(
                endpoint=self._request.endpoint,
                version=self._version + 1,
                stable=in_force.stable,
                canary=None if is_shadow else candidate,
                canary_percent=percent,
                shadow=candidate if is_shadow else in_force.shadow,
                counts_scores=self._request.max_score_psi is not None,
                set_by=self._request.run_id,
            )
            self._steering.begin(percent, workflow.time())
            try:
                await self._set_traffic(table, "shadow" if is_shadow else f"canary-{percent}")
                found, probed = await self._watch(percent)
            finally:
                self._steering.close()
            step.detail = {
                "percent": percent,
                **({"is_shadow": True} if is_shadow else {}),
                "verdict": str(found.verdict),
                **found.figures,
                **probed.figures,
                **self._steering.told,
            }
        if found.verdict not in judge.GO_ON:
            raise _RolledBack(f"{found.reason} {steering.at(percent)}")

    async def _watch(self, percent: int) -> tuple[judge.Judgement, messages.Probed]:
        """Sample until the judge is sure, the step's time is up, or somebody ends it: at most about 20 looks, so histories stay short.

        A shadow stays for all of its time, unless it is to go back: nobody's answer is at risk, and more of them tell more.
        Serving that was started again counts from zero, and it may take the step's time to start: what was probed then is
        probed once more, because a candidate would go back for what is no fault of its own.
        """
        is_shadow = percent == steering.SHADOW
        seconds = self._request.shadow_seconds if is_shadow else self._request.step_seconds
        pause = max(0.2, seconds / 20)
        until = workflow.time() + seconds
        probed = messages.Probed(sent=0, failed=0)
        found = judge.NOT_YET
        looks_again = False
        while True:
            if not self._steering.is_idle:
                found = await self._obey(percent, found)
                until += self._steering.held()
                if found.verdict is not judge.Verdict.INCONCLUSIVE:
                    return found, probed
            probed = await self._probe(probed)
            stats = await workflow.execute_activity(
                messages.READ_STATS,
                messages.ReadStats(endpoint=self._request.endpoint),
                result_type=deployment.EndpointStats,
                **options.EXCHANGE,
            )
            cancellation.notice()
            time_is_up = workflow.time() >= until and self._steering.is_idle
            found = self._judge(percent, stats, time_is_up=time_is_up)
            if found.verdict is judge.Verdict.BREACH:
                return found, probed
            if not self._steering.is_idle:
                continue
            if found.verdict is not judge.Verdict.INCONCLUSIVE and (time_is_up or not is_shadow):
                return found, probed
            if time_is_up:
                if looks_again or not _lost(found, probed) or not workflow.patched(_LOOKS_AGAIN):
                    return found, probed
                looks_again = True
                continue
            wait = min(pause, max(0.0, until - workflow.time()))
            with contextlib.suppress(TimeoutError):
                await workflow.wait_condition(lambda: self._steering.has_news, timeout=wait)

    def _judge(self, percent: int, stats: deployment.EndpointStats, *, time_is_up: bool) -> judge.Judgement:
        if stats.traffic_version != self._version:
            raise errors.Conflict(
                f"traffic of `{stats.endpoint}` is at version {stats.traffic_version}, this deployment set"
                f" {self._version}; somebody else moved it",
                resource="endpoint",
                name=stats.endpoint,
            )
        found = judge.judge(stats, self._request, time_is_up=time_is_up, role=steering.role(percent))
        self._log.says(f"{steering.where(percent)}: {found.reason}")
        return found

    async def _obey(self, percent: int, last: judge.Judgement) -> judge.Judgement:
        """Put on record what was ordered, and wait while it is paused; how the step ends, or INCONCLUSIVE where it goes on."""
        while True:
            await self._record_orders()
            if (end := self._steering.end) is not None:
                verdict = (
                    judge.Verdict.SKIPPED
                    if end.order is canaries.CanaryOrder.PROMOTE
                    else judge.Verdict.ABORTED
                )
                return dataclasses.replace(last, verdict=verdict, reason=str(end))
            if not self._steering.is_paused:
                return dataclasses.replace(last, verdict=judge.Verdict.INCONCLUSIVE)
            self._log.says(f"{self._steering.pause} {steering.at(percent)}")
            last = await self._hold(percent) or last
            if last.verdict is judge.Verdict.BREACH:
                return last

    async def _hold(self, percent: int) -> judge.Judgement | None:
        """The traffic stays as it is, and what is asked of it is judged on: by one activity, so that days of it are a few events.

        None: something was ordered.
        """
        watching = asyncio.create_task(
            workflow.execute_activity(
                messages.WATCH,
                messages.Watch(
                    request=self._request, traffic_version=self._version, role=steering.role(percent)
                ),
                result_type=deployment.EndpointStats,
                **options.WATCH,
            )
        )
        # Cancelled, it ends with an error that nobody waits for.
        watching.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            await workflow.wait_condition(lambda: watching.done() or self._steering.has_news)
        finally:
            if not watching.done():
                watching.cancel()
        if watching.cancelled() or not watching.done():
            return None
        return self._judge(percent, watching.result(), time_is_up=False)

    async def _record_orders(self) -> None:
        while (took := self._steering.news()) is not None:
            step = f"order-{self._steering.recorded}"
            await self._report(f"endpoint.canary.{took.order}", step, took.detail, by=took.asked.by)

    async def _probe(self, before: messages.Probed) -> messages.Probed:
        """Send the next recorded requests; what was sent in this step until now."""
        if not self._request.probe_rows or (before.message and not before.sent):
            return before
        probed = await workflow.execute_activity(
            messages.PROBE,
            messages.Probe(
                endpoint=self._request.endpoint,
                project=self._request.project,
                rows=self._request.probe_rows,
                skip=before.sent,
            ),
            result_type=messages.Probed,
            **options.ASK,
        )
        return messages.Probed(
            sent=before.sent + probed.sent,
            failed=before.failed + probed.failed,
            message=before.message or probed.message,
        )

    async def _promote(self, why: str) -> None:
        with self._log.step(Stage.PROMOTE, why):
            table = deployment.TrafficTable(
                endpoint=self._request.endpoint,
                version=self._version + 1,
                stable=self._request.bundle_digest,
                set_by=self._request.run_id,
            )
            await self._set_traffic(table, "promote")

    async def _set_traffic(self, table: deployment.TrafficTable, step: str) -> None:
        self._touched = True  # before the call: a cancelled or failed one may have been applied
        await workflow.execute_activity(
            messages.SET_TRAFFIC,
            messages.SetTraffic(table=table, project=self._request.project),
            result_type=deployment.TrafficTable,
            **options.EXCHANGE,
        )
        self._version = table.version
        cancellation.notice()
        await self._report("endpoint.traffic.set", step, table.model_dump(mode="json", exclude={"set_by"}))

    async def _undo(self, action: str, why: str) -> str:
        """Give traffic back; says what could not be done. Runs to its end, also on cancellation."""
        if not self._touched or self._previous is None:
            return ""
        try:
            restored = await workflow.execute_activity(
                messages.RESTORE_TRAFFIC,
                messages.RestoreTraffic(
                    previous=self._previous, run_id=self._request.run_id, project=self._request.project
                ),
                result_type=messages.Restored,
                **options.INSIST,
            )
            self._version = restored.version
            detail = {"version": restored.version, "changed": restored.changed, "why": why}
            await self._report(action, "undo", detail)
            await self._record_orders()
        except exceptions.FailureError as failure:
            return f"; the undo is incomplete: {temporal_errors.from_failure(failure).message}"
        return f"; {restored.message}" if restored.message else ""

    async def _report(self, action: str, step: str, detail: dict[str, Any], *, by: str = "") -> None:
        event = training.RunEvent(
            event_key=run_log.event_key(self._request.run_id, step),
            run_id=self._request.parent_run_id or self._request.run_id,
            action=action,
            actor=by or self._request.requested_by,
            detail={"endpoint": self._request.endpoint, **detail},
        )
        await workflow.execute_activity(
            messages.REPORT_EVENT, messages.ReportEvent(event=event), **options.INSIST
        )

    async def _report_end(self, stage: Stage, message: str, result: dict[str, Any]) -> str:
        """Put the end of a deployment that somebody started by itself on record; says so if that fails."""
        if self._request.parent_run_id:
            return ""
        detail = {"stage": str(stage), "message": message, "result": result}
        try:
            await self._report("run.end", "end", detail)
        except exceptions.FailureError as failure:
            return f"; the end is not on record: {temporal_errors.from_failure(failure).message}"
        return ""

    async def _result(self, stage: Stage, message: str) -> deployment.DeployResult:
        result = deployment.DeployResult(
            run_id=self._request.run_id,
            endpoint=self._request.endpoint,
            stage=stage,
            traffic_version=self._version,
            message=message,
            steps=self._log.steps,
        )
        said = await self._report_end(stage, message, result.model_dump(mode="json"))
        self._log.end(stage, message + said)
        return result.model_copy(update={"message": message + said})


def _lost(found: judge.Judgement, probed: messages.Probed) -> bool:
    """Probes were answered, and none of them is counted."""
    return found.samples == 0 and probed.sent > probed.failed
