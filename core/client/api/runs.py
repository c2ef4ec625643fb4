"""Runs, pipelines, schedules and endpoints; and what is told while they are at work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from urllib.parse import quote

from mainspring.core import errors
from mainspring.core.client.api import sse, wire
from mainspring.core.client.api.waiting import Connection
from mainspring.core.contracts import canaries, control, pipelines, run_logs, training
from mainspring.core.contracts import schedules as schedule_contracts
from mainspring.core.contracts.events import EventView, RunStage

#: A watch that hears nothing for longer has lost its server; that says that it is there as often as it is asked to.
_BEAT_SECONDS = 15.0


class Runs(Connection):
    """What is at work, by itself or by the clock."""

    def create_run(self, request: control.RunCreate) -> control.RunView:
        """Roles developer, admin. `idempotency_key` of the request: the same again is the run that it started first."""
        return self._post("/api/v1/runs", request, control.RunView)

    def run(self, run_id: str) -> control.RunView:
        return self._get(f"/api/v1/runs/{quote(run_id, safe='')}", control.RunView)

    def run_log(self, run_id: str, *, job: str = "", start: int = -1, limit: int = 500) -> run_logs.RunLog:
        """Lines of one of its jobs (default: the newest) from number `start` on; -1: the last ones. Of those that Ray has
        forgotten, what was kept of them."""
        path = f"/api/v1/runs/{quote(run_id, safe='')}/logs"
        return self._get(path, run_logs.RunLog, job=job, start=start, limit=limit)

    def runs(self, *, project: str = "", before: str = "", limit: int = 50) -> control.Page:
        return self._get("/api/v1/runs", control.Page, project=project, before=before, limit=limit)

    def each_run(self, *, project: str = "") -> Iterator[control.RunView]:
        """All of them, newest first, a page at a time."""
        before = ""
        while True:
            page = self.runs(project=project, before=before, limit=200)
            for item in page.items:
                yield control.RunView.model_validate(item)
            if not (before := page.next):
                return

    def decide(
        self, run_id: str, *, approve: bool, reason: str = "", step: str = "", version: str = ""
    ) -> control.RunView:
        """`step`: which approval of a pipeline is meant, where several wait.

        `version` is that of the run one has looked at; empty: as it is. Errors: Conflict if it awaits none, PreconditionFailed.
        """
        decision = control.DecisionCreate(approve=approve, reason=reason, step=step)
        path = f"/api/v1/runs/{quote(run_id, safe='')}/decision"
        return self._post(path, decision, control.RunView, version=version)

    def cancel(self, run_id: str, *, version: str = "") -> control.RunView:
        """Errors: Conflict if it has ended; PreconditionFailed as :meth:`decide`."""
        path = f"/api/v1/runs/{quote(run_id, safe='')}/cancel"
        return self._post(path, None, control.RunView, version=version)

    def resume(self, run_id: str, *, max_cost: float | None = None, version: str = "") -> control.RunView:
        """Roles developer, admin. A run that failed goes on from what it has; `max_cost`: what it may cost in all, None as before.

        Errors: Conflict if it has not failed; BudgetExceeded; InvalidRequest for a `max_cost` that is spent; PreconditionFailed.
        """
        path = f"/api/v1/runs/{quote(run_id, safe='')}/resume"
        return self._post(path, control.ResumeCreate(max_cost=max_cost), control.RunView, version=version)

    def canary(self, run_id: str) -> canaries.CanaryView:
        """What its deployment judges now; `percent` is 0 where it judges none. Errors: DependencyDown while the engine is away."""
        return self._get(f"/api/v1/runs/{quote(run_id, safe='')}/canary", canaries.CanaryView)

    def steer(
        self,
        run_id: str,
        order: canaries.CanaryOrder,
        *,
        reason: str,
        to_percent: int = 0,
        version: str = "",
    ) -> canaries.CanaryView:
        """Pause, resume, promote or abort its canary. Past a gate: roles approver, admin; in `prod` not the run's own requester.

        `to_percent` of a promotion: a later share or 100; 0: the next one. `version` is that of the canary one has looked at.
        Errors: Conflict where none is judged or it is so already; InvalidRequest for a share; PreconditionFailed.
        """
        asked = canaries.CanaryCreate(order=order, reason=reason, to_percent=to_percent)
        path = f"/api/v1/runs/{quote(run_id, safe='')}/canary"
        return self._post(path, asked, canaries.CanaryView, version=version)

    def report(self, event: training.RunEvent) -> control.AuditView:
        """Role service. Idempotent by `event_key`."""
        path = f"/api/v1/runs/{quote(event.run_id, safe='')}/events"
        return self._report(path, event, control.AuditView)

    def watch(
        self,
        *,
        project: str = "",
        run: str = "",
        after: str = "",
        until_idle: bool = False,
        within_seconds: float | None = None,
    ) -> Iterator[EventView | RunStage]:
        """What goes on record and may be read, as it happens; of one run its stages, too.

        From now on, or after the event of number `after`; `until_idle`: what there is. A connection that breaks off is made
        anew, and gone on from: each event comes once. Errors: those of the API; DependencyDown if it stays away;
        DeadlineExceeded after `within_seconds`, at the latest a second late.
        """
        until = None if within_seconds is None else time.monotonic() + within_seconds
        tries = 0
        while True:
            left = _BEAT_SECONDS if until is None else min(_BEAT_SECONDS, until - time.monotonic())
            reader, beat = sse.Reader(after), max(0.1, left)
            try:
                with self._stream(
                    "/v1/events",
                    {"Last-Event-ID": after} if after else {},
                    quiet_seconds=4 * beat + 5,
                    project=project,
                    run=run,
                    until_idle=until_idle,
                    heartbeat_seconds=min(1.0, beat) if until is not None else beat,
                ) as answer:
                    for line in answer.iter_lines():
                        told = reader.take(line)
                        after, tries = reader.last_id, 0
                        if told is not None:
                            yield told
                        sse.require_time(until)
                if until_idle:
                    return
            except errors.DependencyDown:
                tries += 1
                if tries > sse.RETRIES:
                    raise
            sse.require_time(until)
            time.sleep(sse.wait_before(tries))

    def put_pipeline(
        self, project: str, pack: pipelines.Pack, *, environment: str = "dev"
    ) -> pipelines.PackReceipt:
        """Role developer. Keep a built pipeline; the same again changes nothing."""
        body = pack.model_dump(mode="json", exclude_defaults=True)
        path = f"/api/v1/projects/{quote(project)}/pipelines/{quote(pack.digest)}"
        return self._put(path, body, pipelines.PackReceipt, environment=environment)

    def pipeline(self, project: str, digest: str) -> pipelines.Pack:
        return self._get(f"/api/v1/projects/{quote(project)}/pipelines/{quote(digest)}", pipelines.Pack)

    def put_schedule(
        self,
        project: str,
        process: schedule_contracts.Process,
        wanted: schedule_contracts.ScheduleCreate,
        *,
        version: str = "",
    ) -> schedule_contracts.ScheduleView:
        """Role developer. The same again changes nothing. `version` is that of the schedule one has looked at; empty: a new one.

        Errors: PreconditionFailed if somebody changed it since, PreconditionRequired if there is one.
        """
        body = wanted.model_dump(mode="json")
        return self._put(_schedule(project, process), body, schedule_contracts.ScheduleView, version=version)

    def change_schedule(
        self,
        project: str,
        process: schedule_contracts.Process,
        change: Callable[[schedule_contracts.ScheduleView], schedule_contracts.ScheduleCreate],
    ) -> schedule_contracts.ScheduleView:
        """As :meth:`put_schedule`, of the schedule as it is: where somebody is quicker, `change` is asked again of what he made.

        Errors: NotFound where there is none; PreconditionFailed after ten such races.
        """
        for last in range(wire.RACES):
            found = self.schedule(project, process)
            try:
                return self.put_schedule(project, process, change(found), version=found.version)
            except errors.PreconditionFailed:
                if last == wire.RACES - 1:
                    raise
        raise errors.InvariantViolated("a race has an end", where="client.change_schedule")

    def schedule(self, project: str, process: schedule_contracts.Process) -> schedule_contracts.ScheduleView:
        return self._get(_schedule(project, process), schedule_contracts.ScheduleView)

    def schedules(self, project: str, *, after: str = "", limit: int = 100) -> control.Page:
        """By process; there are few."""
        path = f"/api/v1/projects/{quote(project)}/schedules"
        return self._get(path, control.Page, after=after, limit=limit)

    def remove_schedule(self, project: str, process: schedule_contracts.Process, *, version: str) -> None:
        """Role developer. What runs goes on. Errors: PreconditionFailed if somebody changed it since."""
        headers = wire.if_match(version)
        self._send(wire.Asked("DELETE", _schedule(project, process), headers=headers, is_keyed=True))

    def run_schedule(
        self, project: str, process: schedule_contracts.Process
    ) -> schedule_contracts.ScheduledOutcome:
        """Role developer. Starts it beside its times; :meth:`scheduled_run` says what became of it."""
        return self._post(_schedule(project, process) + "/runs", None, schedule_contracts.ScheduledOutcome)

    def scheduled_run(
        self, project: str, process: schedule_contracts.Process, run_id: str
    ) -> schedule_contracts.ScheduledOutcome:
        path = f"{_schedule(project, process)}/runs/{quote(run_id, safe='')}"
        return self._get(path, schedule_contracts.ScheduledOutcome)

    def endpoints(self, *, project: str = "", after: str = "", limit: int = 100) -> control.Page:
        """Whose each name is. What is served there is serving's to say."""
        return self._get("/api/v1/endpoints", control.Page, project=project, after=after, limit=limit)

    def each_endpoint(self, *, project: str = "") -> Iterator[control.EndpointClaim]:
        """All of them by name, a page at a time."""
        after = ""
        while True:
            page = self.endpoints(project=project, after=after)
            for item in page.items:
                yield control.EndpointClaim.model_validate(item)
            if not (after := page.next):
                return

    def endpoint(self, name: str) -> control.EndpointClaim:
        return self._get(f"/api/v1/endpoints/{quote(name, safe='')}", control.EndpointClaim)

    def endpoint_history(self, name: str, *, after: str = "", limit: int = 100) -> control.Page:
        """What it served, newest first; items are `traffic_changes.TrafficChange`. Errors: NotFound."""
        path = f"/api/v1/endpoints/{quote(name, safe='')}/history"
        return self._get(path, control.Page, after=after or "0", limit=limit)

    def delete_endpoint(self, name: str) -> None:
        """Roles approver, admin. Its name is for anybody to take then; what is on record stays.

        Errors: Conflict while somebody answers there or a run that may deploy there has not ended; DependencyDown without serving.
        """
        self._send(wire.Asked("DELETE", f"/api/v1/endpoints/{quote(name, safe='')}", is_keyed=True))


def _schedule(project: str, process: schedule_contracts.Process) -> str:
    return f"/api/v1/projects/{quote(project)}/schedules/{process}"
