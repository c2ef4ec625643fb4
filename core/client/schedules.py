"""The thin typed client of schedules: temporalio and pydantic, nothing else. Safe to share between tasks."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from temporalio import client as temporal
from temporalio import common, exceptions, service
from temporalio.api.workflowservice import v1 as workflowservice

from mainspring.core import errors, ids
from mainspring.core.client import connection, failures, payloads, search_attributes
from mainspring.core.contracts import base, schedules

if TYPE_CHECKING:
    from mainspring.core import settings

__all__ = ["ScheduleClient"]

#: What follows a schedule's id in the id of a run: the time at which it was due, or what it was asked for by.
_RUN: Final = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z|now-[a-z0-9_]+")
_ENDED_BADLY: Final = {
    temporal.WorkflowExecutionStatus.FAILED: "failed",
    temporal.WorkflowExecutionStatus.TIMED_OUT: "failed",
    temporal.WorkflowExecutionStatus.CANCELED: "cancelled",
    temporal.WorkflowExecutionStatus.TERMINATED: "cancelled",
}


class ScheduleClient:
    """Makes, changes, shows and removes schedules, and runs one now. Every failure is one of `errors.*`."""

    def __init__(self, client: temporal.Client, task_queue: str) -> None:
        self._client = client
        self._task_queue = task_queue
        self._starts = search_attributes.LabelledStarts(client)

    @classmethod
    async def connect(
        cls,
        address: str,
        *,
        namespace: str,
        task_queue: str,
        codec: payloads.SealedPayloads | None = None,
    ) -> ScheduleClient:
        """`codec` is the workers'; see `payloads.codec_of`. Errors: DependencyDown where no frontend answers."""
        found = await connection.connect(address, namespace=namespace, codec=codec)
        return cls(found, task_queue)

    @classmethod
    async def connect_by(cls, where: settings.WorkflowSettings) -> ScheduleClient:
        """As the settings say, encryption included. Errors: DependencyDown, Misconfigured."""
        return cls(await connection.connect_by(where), where.task_queue)

    async def put(
        self,
        project: str,
        process: schedules.Process,
        asked: schedules.ScheduleCreate,
        *,
        put_by: str = "",
        if_version: str | None = None,
    ) -> schedules.ScheduleView:
        """Made, or changed to this; the same again changes nothing.

        `put_by`: in whose name it starts trainings; without one they are refused in `prod`. `if_version`: in the place
        of that one only; empty: of none; None: of any.
        Errors: InvalidRequest, DependencyDown; PreconditionFailed, NotFound for another than `if_version`.
        """
        request = schedules.request_of(process, project, asked.request, put_by=put_by)
        name = schedules.schedule_id(project, process)
        wanted = temporal.Schedule(
            action=temporal.ScheduleActionStartWorkflow(
                schedules.PROCESSES[process][0],
                request,
                id=name,
                task_queue=self._task_queue,
                typed_search_attributes=await self._starts.attributes(
                    schedules.PROCESSES[process][0], request
                ),
            ),
            spec=temporal.ScheduleSpec(
                intervals=[temporal.ScheduleIntervalSpec(every=timedelta(minutes=asked.every_minutes))]
            ),
            policy=temporal.SchedulePolicy(overlap=temporal.ScheduleOverlapPolicy.SKIP),
            state=temporal.ScheduleState(paused=asked.is_paused),
        )
        if if_version:
            await self._replace(project, process, wanted, if_version)
            return await self._found_as_put(project, process, asked, request)
        try:
            await self._client.create_schedule(name, wanted)
        except temporal.ScheduleAlreadyRunningError as error:
            if if_version is not None:
                raise schedules.changed(project, process, "") from error
            try:
                await self._client.get_schedule_handle(name).update(
                    lambda _: temporal.ScheduleUpdate(schedule=wanted)
                )
            except service.RPCError as refusal:
                raise _typed(refusal, project, process) from refusal
        except service.RPCError as error:
            raise _typed(error, project, process) from error
        return await self.find(project, process)

    async def _replace(
        self, project: str, process: schedules.Process, wanted: temporal.Schedule, version: str
    ) -> None:
        """In the place of what was looked at: the engine leaves it if its token is not that of the look, and does not say so."""
        found = await self._describe(project, process)
        current = (await self._view(found, project, process)).version
        if current != version:
            raise schedules.changed(project, process, current)
        asked = workflowservice.UpdateScheduleRequest(
            namespace=self._client.namespace,
            schedule_id=found.id,
            schedule=await wanted._to_proto(self._client),
            conflict_token=found.raw_description.conflict_token,
            identity=self._client.identity,
            request_id=ids.new_id("put"),
        )
        try:
            await self._client.workflow_service.update_schedule(asked, retry=True)
        except service.RPCError as error:
            raise _typed(error, project, process) from error

    async def _found_as_put(
        self,
        project: str,
        process: schedules.Process,
        asked: schedules.ScheduleCreate,
        request: base.Message,
    ) -> schedules.ScheduleView:
        """What there is after a change, if it is that change. Errors: PreconditionFailed."""
        found = await self._describe(project, process)
        view = await self._view(found, project, process)
        # The engine keeps whole seconds of an interval.
        is_as_often = abs(view.every_minutes - asked.every_minutes) * 60 < 1
        is_request = await self._request(found, process) == request
        if not (is_as_often and is_request and view.is_paused == asked.is_paused):
            raise schedules.changed(project, process, view.version)
        return view

    async def remove(
        self, project: str, process: schedules.Process, *, if_version: str | None = None
    ) -> None:
        """What runs goes on to its end. The engine does not compare here: a change within milliseconds is removed with it.

        Errors: NotFound, DependencyDown; PreconditionFailed for another than `if_version`.
        """
        if if_version is not None and (current := (await self.find(project, process)).version) != if_version:
            raise schedules.changed(project, process, current)
        try:
            await self._client.get_schedule_handle(schedules.schedule_id(project, process)).delete()
        except service.RPCError as error:
            raise _typed(error, project, process) from error

    async def find(self, project: str, process: schedules.Process) -> schedules.ScheduleView:
        """Errors: NotFound, DependencyDown."""
        return await self._view(await self._describe(project, process), project, process)

    async def _view(
        self, found: temporal.ScheduleDescription, project: str, process: schedules.Process
    ) -> schedules.ScheduleView:
        request = await self._request(found, process)
        interval = found.schedule.spec.intervals[0].every
        is_paused = found.schedule.state.paused
        view = schedules.ScheduleView(
            project=project,
            process=process,
            every_minutes=interval / timedelta(minutes=1),
            is_paused=is_paused,
            request=request.model_dump(mode="json", exclude=set(schedules.GIVEN), exclude_defaults=True),
            on_behalf_of=getattr(request, "on_behalf_of", ""),
            next_at=None if is_paused else next(iter(found.info.next_action_times), None),
            runs=tuple(
                schedules.ScheduledRun(run_id=one.action.workflow_id, started_at=one.started_at)
                for one in reversed(found.info.recent_actions)
                if isinstance(one.action, temporal.ScheduleActionExecutionStartWorkflow)
            ),
        )
        return schedules.versioned(view)

    async def run_now(
        self, project: str, process: schedules.Process, key: str, *, prompted_by: str = ""
    ) -> str:
        """Start what is scheduled, now; the same `key` (`[a-z0-9_]+`) again is the same run. Returns its id.

        `prompted_by`: who asked for it, and answers for what it starts beside who put the schedule.
        Errors: NotFound without a schedule; DependencyDown.
        """
        request = await self._request(await self._describe(project, process), process)
        if "prompted_by" in type(request).model_fields:
            request = request.model_copy(update={"prompted_by": prompted_by})
        run_id = f"{schedules.schedule_id(project, process)}-now-{key}"
        try:
            await self._starts.start(
                schedules.PROCESSES[process][0],
                request,
                id=run_id,
                task_queue=self._task_queue,
                id_conflict_policy=common.WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=common.WorkflowIDReusePolicy.REJECT_DUPLICATE,
            )
        except exceptions.WorkflowAlreadyStartedError:
            pass  # and ended: the same key is the same run
        except service.RPCError as error:
            raise _typed(error, project, process) from error
        return run_id

    async def outcome(
        self, project: str, process: schedules.Process, run_id: str
    ) -> schedules.ScheduledOutcome:
        """What came of a run of this schedule. Errors: NotFound, DependencyDown."""
        begin = schedules.schedule_id(project, process) + "-"
        if not (run_id.startswith(begin) and _RUN.fullmatch(run_id.removeprefix(begin))):
            raise _no_run(project, process, run_id)
        handle = self._client.get_workflow_handle(run_id)
        try:
            status = (await handle.describe()).status
            if status is temporal.WorkflowExecutionStatus.COMPLETED:
                result: dict[str, Any] = await handle.result()
                return schedules.ScheduledOutcome(run_id=run_id, state="done", result=result)
            if status not in _ENDED_BADLY:
                return schedules.ScheduledOutcome(run_id=run_id, state="running")
            await handle.result()
        except temporal.WorkflowFailureError as failure:
            wire = errors.to_wire(failures.from_failure(failure))
            state: Any = "cancelled" if exceptions.is_cancelled_exception(failure.cause) else "failed"
            return schedules.ScheduledOutcome(run_id=run_id, state=state, error=wire)
        except service.RPCError as error:
            if error.status is service.RPCStatusCode.NOT_FOUND:
                raise _no_run(project, process, run_id) from error
            raise _typed(error, project, process) from error
        raise errors.InvariantViolated(f"run `{run_id}` failed and has a result", where="client.schedules")

    async def _describe(self, project: str, process: schedules.Process) -> temporal.ScheduleDescription:
        try:
            return await self._client.get_schedule_handle(schedules.schedule_id(project, process)).describe()
        except service.RPCError as error:
            raise _typed(error, project, process) from error

    async def _request(self, found: temporal.ScheduleDescription, process: schedules.Process) -> base.Message:
        action = found.schedule.action
        assert isinstance(action, temporal.ScheduleActionStartWorkflow)
        (request,) = await self._client.data_converter.decode(
            list(action.args), [schedules.PROCESSES[process][1]]
        )
        assert isinstance(request, base.Message)
        return request


def _typed(error: service.RPCError, project: str, process: schedules.Process) -> errors.MainspringError:
    if error.status is service.RPCStatusCode.NOT_FOUND:
        return schedules.missing(project, process)
    return errors.DependencyDown(f"temporal answered `{error.message}`; look at its log", name="temporal")


def _no_run(project: str, process: schedules.Process, run_id: str) -> errors.NotFound:
    return errors.NotFound(
        f"`{run_id}` is no run of `{process}` of project `{project}`; see `mainspring schedule show {project} {process}`",
        resource="scheduled run",
        name=run_id,
    )
