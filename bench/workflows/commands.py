"""What a workflow's code would ask of Temporal where a stored history stands, found without Temporal's replayer.

The replayer is the guard that is measured, so another witness must say which changes break a run. Here a workflow is run
with `temporalio.workflow` replaced by an object that notes each command (an activity by name and number, a timer by number, a child
by name and id, the end) and answers with what the history has; the notes of each workflow task are compared with the history's.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import sys
import types
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import temporalio.workflow
from temporalio import exceptions
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter

from mainspring.bench.workflows import histories
from mainspring.bench.workflows.histories import Command

__all__ = ["ENDLESS", "Answer", "Outcome", "compare"]

#: Passes of the loop in one workflow task: more than any chain of awaits and shields here is long.
_PASSES: Final = 100

#: Lines of the workflow's own file that one history may take; the longest takes a few hundred.
_MAX_LINES: Final = 50_000

#: `Answer.why` of what was cut off.
ENDLESS: Final = "comes to no end"

#: `RAISE_ON_CANCELLING_COMPLETED_ACTIVITY` among what Python's SDK notes.
_RAISES_THEN: Final = 1
_TRY: Final = temporalio.workflow.ActivityCancellationType.TRY_CANCEL


class Outcome(StrEnum):
    SAME = "same"
    """The history's commands, all of them and no other."""
    OTHER = "other"
    """Another command than the history has somewhere, or one more or less."""
    STILLBORN = "stillborn"
    """An error of Python's, or no end: no run would come past it, old or new."""


@dataclass(frozen=True)
class Answer:
    """`why` has the first difference; `lines` are those of the workflow's file that were run."""

    outcome: Outcome
    why: str
    lines: frozenset[int]


def compare(cls: type, history: WorkflowHistory) -> Answer:
    """Run the workflow `cls` against `history`."""
    world = _World(history)
    lines = _Lines(inspect.getfile(cls.run))
    try:
        with _instead_of_temporal(cls, world), warnings.catch_warnings(), lines:
            warnings.simplefilter("ignore")  # a coroutine that a changed line does not await any more
            world.run(cls)
    except _Differs as found:
        return Answer(Outcome.OTHER, str(found), frozenset(lines.seen))
    except _Endless:
        return Answer(Outcome.STILLBORN, ENDLESS, frozenset(lines.seen))
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - whatever the changed code raises
        return Answer(Outcome.STILLBORN, repr(error), frozenset(lines.seen))
    return Answer(Outcome.SAME, "", frozenset(lines.seen))


class _Differs(BaseException):
    """Not the history's commands. A BaseException, so that the workflow's own handlers do not take it."""


class _Endless(BaseException):
    """More lines than any history needs."""


class _Lines:
    """Notes the lines of one file that are run in the block, and ends it where they are too many."""

    def __init__(self, path: str) -> None:
        self.seen: set[int] = set()
        self._path, self._left = path, _MAX_LINES

    def __enter__(self) -> None:
        self._before = sys.gettrace()
        sys.settrace(self._trace)

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _trace(self, frame: types.FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename != self._path:
            return None
        if event == "line":
            self.seen.add(frame.f_lineno)
            self._left -= 1
            if self._left < 0:
                raise _Endless
        return self._trace


@contextlib.contextmanager
def _instead_of_temporal(cls: type, world: _World) -> Iterator[None]:
    """The workflow's module, and ours that it uses, see `world` under the name `workflow`."""
    module = sys.modules[cls.__module__]
    ours = [m for m in vars(module).values() if isinstance(m, types.ModuleType)]
    seen = [m for m in (module, *ours) if vars(m).get("workflow") is temporalio.workflow]
    for one in seen:
        one.workflow = world
    try:
        yield
    finally:
        for one in seen:
            one.workflow = temporalio.workflow


@dataclass
class _Asked:
    """A command, and who waits for its answer."""

    command: Command
    answer: asyncio.Future[Any]
    kind: type | None = None
    is_taken_back: bool = False


@dataclass(frozen=True)
class _External:
    """Another workflow, which can be told something."""

    world: _World
    workflow_id: str

    async def signal(self, signal: str, *arguments: Any) -> None:
        await self.world.signal(self.workflow_id, signal)


@dataclass
class _World:
    """Stands where `temporalio.workflow` does; what it does not know itself is Temporal's own."""

    history: WorkflowHistory
    _asked: list[_Asked] = field(default_factory=list)
    _waiting: dict[int, _Asked] = field(default_factory=dict)
    _conditions: list[tuple[Callable[[], bool], asyncio.Future[None]]] = field(default_factory=list)
    _now: float = 0.0
    _broken: list[dict[str, Any]] = field(default_factory=list)
    """What the loop says of errors that nobody waits for: of handlers of signals."""
    _is_cancelled: bool = False
    _is_over: bool = False
    _patches: set[str] = field(default_factory=set)
    _numbers: Counter[str] = field(default_factory=Counter)
    _flags: set[int] = field(default_factory=set)
    """Ways of the SDK that the run has used by now, as its history notes them."""

    def __getattr__(self, name: str) -> Any:
        return getattr(temporalio.workflow, name)

    # What workflows call.

    async def execute_activity(
        self,
        activity: str,
        *arguments: Any,
        result_type: type | None = None,
        cancellation_type: temporalio.workflow.ActivityCancellationType = _TRY,
        **_: Any,
    ) -> Any:
        asked = self._put(("activity", activity), result_type)
        waits = cancellation_type is not _TRY
        return await self._through(asked, ("cancel activity",), waits=waits, flag=_RAISES_THEN)

    async def execute_child_workflow(
        self, workflow: str, *arguments: Any, id: str, result_type: type | None = None, **_: Any
    ) -> Any:
        asked = self._put(("child", workflow, id), result_type)
        return await self._through(asked, ("cancel child", id), waits=True)

    async def signal(self, workflow_id: str, name: str) -> None:
        await self._through(self._put(("signal", workflow_id)), ("cancel signal",), waits=False)

    async def sleep(self, duration: float | timedelta, **_: Any) -> None:
        timer = self._put(("timer",))
        try:
            await timer.answer
        except asyncio.CancelledError:
            self._take_back(timer)
            raise

    async def wait_condition(
        self, holds: Callable[[], bool], *, timeout: timedelta | float | None = None, **_: Any
    ) -> None:
        met: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._conditions.append((holds, met))
        if timeout is None:
            return await met
        if (timeout.total_seconds() if isinstance(timeout, timedelta) else timeout) <= 0:
            raise TimeoutError  # as asyncio.wait_for has it: at once, and without a timer
        timer = self._put(("timer",))
        try:
            done, _pending = await asyncio.wait((met, timer.answer), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            met.cancel()
            self._take_back(timer)
            raise
        if met not in done:
            met.cancel()
            raise TimeoutError
        self._take_back(timer)

    def patched(self, id: str) -> bool:
        """As when it is replayed: whether the run met it; told once."""
        is_there = id in histories.markers(self.history)
        if is_there and id not in self._patches:
            self._patches.add(id)
            self._put(("marker", id))
        return is_there

    def time(self) -> float:
        return self._now

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._now, UTC)

    def info(self) -> Any:
        first = self.history.events[0]
        started = first.workflow_execution_started_event_attributes
        return types.SimpleNamespace(
            start_time=first.event_time.ToDatetime(tzinfo=UTC),
            workflow_id=self.history.workflow_id,
            run_id=started.original_execution_run_id,
            workflow_type=started.workflow_type.name,
            parent=started.parent_workflow_execution
            if started.HasField("parent_workflow_execution")
            else None,
            is_continue_as_new_suggested=lambda: False,
        )

    def get_external_workflow_handle(self, workflow_id: str, **_: Any) -> _External:
        return _External(self, workflow_id)

    def _put(self, command: Command, kind: type | None = None) -> _Asked:
        if command[0] in histories.NUMBERED:  # also one that is taken back has taken a number
            self._numbers[command[0]] += 1
            command = (*command, str(self._numbers[command[0]]))
        asked = _Asked(command, asyncio.get_running_loop().create_future(), kind)
        self._asked.append(asked)
        return asked

    def _take_back(self, timer: _Asked) -> None:
        if timer in self._asked:
            timer.is_taken_back = True  # started and ended in one task: Temporal hears nothing of it
        elif not timer.answer.done() or timer.answer.cancelled():
            self._put(("cancel timer",))

    async def _through(self, asked: _Asked, cancel: Command, *, waits: bool, flag: int | None = None) -> Any:
        """Its answer; a cancellation of the workflow asks for its cancellation, and `waits` for what comes of that.

        Where both come in one task, the answer is lost in runs that have noted the `flag`.
        """
        while True:
            try:
                return await asyncio.shield(asked.answer)
            except asyncio.CancelledError:
                if self._is_over or asked.answer.cancelled():
                    raise
                if asked in self._asked:
                    asked.is_taken_back = True
                    raise
                if asked.answer.done() and flag in self._flags:
                    raise
                if asked.answer.done():
                    continue  # it had come in the same task: there is nothing left to cancel
                self._put(cancel)
                if not waits:
                    raise

    # How the history answers.

    def run(self, cls: type) -> None:
        """Errors: _Differs; what the workflow raises that is no failure in Temporal's sense."""
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda _, context: self._broken.append(context))
        try:
            self._run(loop, cls)
        finally:
            self._is_over = True
            for task in asyncio.all_tasks(loop):
                task.cancel()
            self._spin(loop)
            loop.close()

    def _run(self, loop: asyncio.AbstractEventLoop, cls: type) -> None:
        updates = histories.updates_by_task(self.history)
        jobs: list[HistoryEvent] = []
        began = 0
        workflow: Any = None
        end: asyncio.Task[Any] | None = None
        for event in self.history.events:
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED:
                self._now, began = event.event_time.ToMicroseconds() / 1e6, event.event_id
            elif event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
                self._flags |= histories.flags_of(event)
                if end is None:
                    workflow, end = self._begin(loop, cls)
                for update in updates.get(event.event_id, []):
                    loop.call_soon(self._update, workflow, update)
                for job in jobs:
                    loop.call_soon(self._apply, workflow, job, end)
                jobs = []
                self._spin(loop)
                self._check({event.event_id, began}, end)
            elif histories.is_job(event):
                jobs.append(event)

    def _begin(self, loop: asyncio.AbstractEventLoop, cls: type) -> tuple[Any, asyncio.Task[Any]]:
        definition = temporalio.workflow._Definition.must_from_class(cls)
        (kind,) = (definition.arg_types or [None])[:1]
        payloads = self.history.events[0].workflow_execution_started_event_attributes.input.payloads
        (request,) = pydantic_data_converter.payload_converter.from_payloads(
            payloads, [kind] if kind else None
        )
        takes_it = len(inspect.signature(cls).parameters) > 0
        workflow = cls(request) if takes_it else cls()
        return workflow, loop.create_task(definition.run_fn(workflow, request))

    def _update(self, workflow: Any, accepted: HistoryEvent) -> None:
        """What was accepted once is not asked to its validator again."""
        told = accepted.workflow_execution_update_accepted_event_attributes.accepted_request.input
        handler = temporalio.workflow._Definition.must_from_class(type(workflow)).updates[told.name]
        values = pydantic_data_converter.payload_converter.from_payloads(
            told.args.payloads, handler.arg_types
        )
        handler.fn(workflow, *values)

    def _apply(self, workflow: Any, job: HistoryEvent, end: asyncio.Task[Any]) -> None:
        if job.HasField("workflow_execution_cancel_requested_event_attributes"):
            self._is_cancelled = True
            end.cancel()
            return
        if job.HasField("workflow_execution_signaled_event_attributes"):
            told = job.workflow_execution_signaled_event_attributes
            handler = temporalio.workflow._Definition.must_from_class(type(workflow)).signals[
                told.signal_name
            ]
            values = pydantic_data_converter.payload_converter.from_payloads(
                told.input.payloads, handler.arg_types
            )
            handler.fn(workflow, *values)
            return
        number, answer = histories.answer_of(job)
        asked = self._waiting.pop(number, None)
        if asked is None or asked.answer.done():
            return
        if isinstance(answer, BaseException):
            asked.answer.set_exception(answer)
        else:
            values = pydantic_data_converter.payload_converter.from_payloads(
                answer, [asked.kind] if asked.kind else None
            )
            asked.answer.set_result(values[0] if values else None)

    def _spin(self, loop: asyncio.AbstractEventLoop) -> None:
        for _ in range(_PASSES):
            loop.call_soon(loop.stop)
            loop.run_forever()
            for holds, met in tuple(self._conditions):
                if not met.done() and holds():
                    met.set_result(None)

    def _check(self, task: Set[int], end: asyncio.Task[Any]) -> None:
        if self._broken and "exception" in self._broken[0]:
            raise self._broken[0]["exception"]
        said = [asked for asked in self._asked if not asked.is_taken_back]
        self._asked = []
        found = [self._replayed(asked.command) for asked in said]
        if end.done():
            found.append(_end_of(end, is_cancelled=self._is_cancelled))
        there = [
            (e.event_id, c) for e in self.history.events if (c := histories.command_of(e, task)) is not None
        ]
        wanted = [self._replayed(command) for _, command in there]
        if found != wanted:
            raise _Differs(f"{found} where the history has {wanted}")
        for asked, (number, _command) in zip(said, there, strict=False):
            self._waiting[number] = asked

    def _replayed(self, command: Command) -> Command:
        """As replay compares it: a timer that never fires is one of many."""
        return command[:1] if command[0] == "timer" and command[1] not in self._fired else command

    @functools.cached_property
    def _fired(self) -> frozenset[str]:
        return histories.fired_timers(self.history)


def _end_of(end: asyncio.Task[Any], *, is_cancelled: bool) -> Command:
    if end.cancelled():
        return ("cancelled",)
    error = end.exception()
    if error is None:
        return ("completed",)
    if is_cancelled and exceptions.is_cancelled_exception(error):
        return ("cancelled",)
    if isinstance(error, exceptions.FailureError | TimeoutError):
        return ("failed",)
    raise error
