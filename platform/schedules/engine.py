"""Where schedules live: the port, and the scheduler of tests and dry walks that keeps them in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

from mainspring.core import errors
from mainspring.core.contracts import base, schedules


class Scheduler(Protocol):
    """`core.client.schedules.ScheduleClient` is one. Every method raises DependencyDown when the engine is away."""

    async def put(
        self,
        project: str,
        process: schedules.Process,
        asked: schedules.ScheduleCreate,
        *,
        put_by: str = "",
        if_version: str | None = None,
    ) -> schedules.ScheduleView:
        """`put_by` answers for what it starts. `if_version`: in the place of that one only; empty: of none; None: of any.

        Errors: InvalidRequest for an option that the process has not; PreconditionFailed.
        """
        ...

    async def remove(
        self, project: str, process: schedules.Process, *, if_version: str | None = None
    ) -> None:
        """Errors: NotFound, PreconditionFailed."""
        ...

    async def find(self, project: str, process: schedules.Process) -> schedules.ScheduleView:
        """Errors: NotFound."""
        ...

    async def run_now(
        self, project: str, process: schedules.Process, key: str, *, prompted_by: str = ""
    ) -> str:
        """The run's id; the same key again is the same run. `prompted_by` answers for what it starts, too. Errors: NotFound."""
        ...

    async def outcome(
        self, project: str, process: schedules.Process, run_id: str
    ) -> schedules.ScheduledOutcome:
        """Errors: NotFound."""
        ...


class MemoryScheduler:
    """Keeps schedules and never runs them by itself; a run that is asked for is done at once, without a result."""

    def __init__(self) -> None:
        self._kept: dict[str, schedules.ScheduleView] = {}
        self.is_down = False
        self.prompted: list[str] = []
        """Who asked for a run beside its times, in order."""

    async def put(
        self,
        project: str,
        process: schedules.Process,
        asked: schedules.ScheduleCreate,
        *,
        put_by: str = "",
        if_version: str | None = None,
    ) -> schedules.ScheduleView:
        self._check_up()
        known = self._kept.get(schedules.schedule_id(project, process))
        _check_version(project, process, known, if_version)
        request = schedules.request_of(process, project, asked.request, put_by=put_by)
        view = schedules.ScheduleView(
            project=project,
            process=process,
            every_minutes=asked.every_minutes,
            is_paused=asked.is_paused,
            request=request.model_dump(mode="json", exclude=set(schedules.GIVEN), exclude_defaults=True),
            on_behalf_of=getattr(request, "on_behalf_of", ""),
        )
        self._kept[schedules.schedule_id(project, process)] = view = schedules.versioned(view)
        return view

    async def remove(
        self, project: str, process: schedules.Process, *, if_version: str | None = None
    ) -> None:
        _check_version(project, process, await self.find(project, process), if_version)
        del self._kept[schedules.schedule_id(project, process)]

    async def find(self, project: str, process: schedules.Process) -> schedules.ScheduleView:
        self._check_up()
        name = schedules.schedule_id(project, process)
        if name not in self._kept:
            raise schedules.missing(project, process)
        return self._kept[name]

    async def run_now(
        self, project: str, process: schedules.Process, key: str, *, prompted_by: str = ""
    ) -> str:
        view = await self.find(project, process)
        self.prompted.append(prompted_by)
        run_id = f"{schedules.schedule_id(project, process)}-now-{key}"
        if run_id not in [run.run_id for run in view.runs]:
            run = schedules.ScheduledRun(run_id=run_id, started_at=base.utc_now())
            name = schedules.schedule_id(project, process)
            self._kept[name] = view.model_copy(update={"runs": (run, *view.runs)})
        return run_id

    async def outcome(
        self, project: str, process: schedules.Process, run_id: str
    ) -> schedules.ScheduledOutcome:
        view = await self.find(project, process)
        if run_id not in [run.run_id for run in view.runs]:
            raise errors.NotFound(f"`{run_id}` never ran", resource="scheduled run", name=run_id)
        return schedules.ScheduledOutcome(run_id=run_id, state="done")

    def _check_up(self) -> None:
        if self.is_down:
            raise errors.DependencyDown("the scheduler is down; start it and try again", name="scheduler")


def _check_version(
    project: str, process: schedules.Process, known: schedules.ScheduleView | None, wanted: str | None
) -> None:
    found = "" if known is None else known.version
    if wanted is not None and wanted != found:
        raise schedules.changed(project, process, found)


Connect: TypeAlias = Callable[[], Awaitable[Scheduler]]


class LazyScheduler:
    """Connects to the engine when a schedule is first asked for, and again after a failed try. One event loop."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._connected: Scheduler | None = None
        self._connecting = asyncio.Lock()

    async def put(
        self,
        project: str,
        process: schedules.Process,
        asked: schedules.ScheduleCreate,
        *,
        put_by: str = "",
        if_version: str | None = None,
    ) -> schedules.ScheduleView:
        engine = await self._engine()
        return await engine.put(project, process, asked, put_by=put_by, if_version=if_version)

    async def remove(
        self, project: str, process: schedules.Process, *, if_version: str | None = None
    ) -> None:
        await (await self._engine()).remove(project, process, if_version=if_version)

    async def find(self, project: str, process: schedules.Process) -> schedules.ScheduleView:
        return await (await self._engine()).find(project, process)

    async def run_now(
        self, project: str, process: schedules.Process, key: str, *, prompted_by: str = ""
    ) -> str:
        return await (await self._engine()).run_now(project, process, key, prompted_by=prompted_by)

    async def outcome(
        self, project: str, process: schedules.Process, run_id: str
    ) -> schedules.ScheduledOutcome:
        return await (await self._engine()).outcome(project, process, run_id)

    async def _engine(self) -> Scheduler:
        async with self._connecting:
            if self._connected is None:
                self._connected = await self._connect()
            return self._connected
