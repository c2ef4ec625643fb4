"""Traces through Temporal: a workflow, its activities and its children are spans of the trace that started it.

Nothing here changes what a workflow does: ids are made of the execution's own, so a replay makes the same ones, headers are no
part of what a replay compares, and a span is kept once, by the worker that saw the end. What no request started, such as a
run by the clock, is a trace of its own.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from temporalio import activity, exceptions, worker, workflow

from mainspring.core import errors, traces
from mainspring.core.client import tracing

__all__ = ["SERVICE", "Tracing", "labels"]

SERVICE: Final = "mainspring-worker"
#: What workflows may call of the process around them.
_KEEP: Final = "mainspring.keep_span"
_SHARE: Final = "mainspring.trace_share"


class Tracing(worker.Interceptor):
    """Stands around everything that a worker runs. With no receiver it passes on what came, and makes no span."""

    def __init__(self, tracer: traces.Tracer) -> None:
        self._tracer = tracer

    def intercept_activity(
        self, next: worker.ActivityInboundInterceptor
    ) -> worker.ActivityInboundInterceptor:
        return _Activity(next, self._tracer)

    def workflow_interceptor_class(
        self, input: worker.WorkflowInterceptorClassInput
    ) -> type[worker.WorkflowInboundInterceptor]:
        exporter = self._tracer.exporter
        if exporter is not None:
            input.unsafe_extern_functions[_KEEP] = exporter.add
            input.unsafe_extern_functions[_SHARE] = lambda: self._tracer.share
        return _Workflow


def labels() -> dict[str, str]:
    """Of a log line: the run that is at work, and its step."""
    if activity.in_activity():
        info = activity.info()
        of_run = {"run_id": info.workflow_id} if info.workflow_id else {}
        return {**of_run, "step": info.activity_type, "attempt": str(info.attempt)}
    if workflow.in_workflow():
        return {"run_id": workflow.info().workflow_id, "process": workflow.info().workflow_type}
    return {}


class _Activity(worker.ActivityInboundInterceptor):
    """Each attempt is a span. What it says: which step of which run, and never of what."""

    def __init__(self, next: worker.ActivityInboundInterceptor, tracer: traces.Tracer) -> None:
        super().__init__(next)
        self._tracer = tracer

    async def execute_activity(self, input: worker.ExecuteActivityInput) -> Any:
        info = activity.info()
        said: dict[str, traces.Value] = {"mainspring.attempt": info.attempt}
        if info.workflow_id:
            said["mainspring.run_id"] = info.workflow_id
        name = f"activity {info.activity_type}"
        with self._tracer.within(tracing.sent(input.headers), name, _kind, **said):
            return await super().execute_activity(input)


class _Workflow(worker.WorkflowInboundInterceptor):
    def init(self, outbound: worker.WorkflowOutboundInterceptor) -> None:
        super().init(_Outbound(outbound))

    async def execute_workflow(self, input: worker.ExecuteWorkflowInput) -> Any:
        try:
            answer = await super().execute_workflow(input)
        except exceptions.FailureError as error:
            _keep(_kind(error))
            raise
        except asyncio.CancelledError as error:
            # A workflow that leaves this worker's memory is cancelled as well, and has not ended.
            if workflow.cancellation_reason() is not None:
                _keep(_kind(error))
            raise
        _keep("")
        return answer


class _Outbound(worker.WorkflowOutboundInterceptor):
    """What a workflow starts has the workflow's span as its parent."""

    def start_activity(self, input: worker.StartActivityInput) -> workflow.ActivityHandle[Any]:
        input.headers = tracing.with_trace(input.headers, _outgoing())
        return super().start_activity(input)

    def start_local_activity(self, input: worker.StartLocalActivityInput) -> workflow.ActivityHandle[Any]:
        input.headers = tracing.with_trace(input.headers, _outgoing())
        return super().start_local_activity(input)

    async def start_child_workflow(
        self, input: worker.StartChildWorkflowInput
    ) -> workflow.ChildWorkflowHandle[Any, Any]:
        input.headers = tracing.with_trace(input.headers, _outgoing())
        return await super().start_child_workflow(input)


def _outgoing() -> str:
    """The `traceparent` of this execution's span, or the one that came where none is made here."""
    came = tracing.sent(workflow.info().headers)
    trace_id, _, sampled = _trace(came)
    if not trace_id or _KEEP not in workflow.extern_functions():
        return came
    return f"00-{trace_id}-{_digits('span', 16)}-{int(sampled):02x}"


def _trace(came: str) -> tuple[str, str, bool]:
    """Trace, parent, and whether it is kept: those that came, or a trace of this execution's own; empty: none."""
    trace_id, parent_id, sampled = traces.read(came or None)
    if trace_id:
        return trace_id, parent_id, bool(sampled)
    share: Callable[[], float] | None = workflow.extern_functions().get(_SHARE)
    if share is None:
        return "", "", False
    own = _digits("trace", 32)
    return own, "", int(own[:8], 16) < share() * (1 << 32)


def _digits(what: str, count: int) -> str:
    return hashlib.sha256(f"{what}/{workflow.info().run_id}".encode()).hexdigest()[:count]


def _keep(error: str) -> None:
    """The execution has ended, for the first time."""
    keep: Callable[[traces.Span], None] | None = workflow.extern_functions().get(_KEEP)
    if keep is None or workflow.unsafe.is_replaying():
        return
    info = workflow.info()
    trace_id, parent_id, sampled = _trace(tracing.sent(info.headers))
    if not sampled:
        return
    begun, ended = _nanos(info.start_time), _nanos(workflow.now())
    name, said = f"workflow {info.workflow_type}", {"mainspring.run_id": info.workflow_id}
    ids = (trace_id, _digits("span", 16), parent_id)
    keep(traces.Span(*ids, name, traces.INTERNAL, begun, max(begun, ended), said, error))


def _nanos(at: datetime) -> int:
    return int(at.timestamp() * 1_000_000) * 1000


def _kind(error: BaseException) -> str:
    """An error's code where it is ours, else its class. Never its words, which may be about data."""
    if isinstance(error, asyncio.CancelledError) or exceptions.is_cancelled_exception(error):
        return "cancelled"
    if isinstance(error, errors.MainspringError):
        return error.code
    if isinstance(error, exceptions.ApplicationError) and error.type:
        return error.type
    if (
        isinstance(error, exceptions.ActivityError | exceptions.ChildWorkflowError)
        and error.cause is not None
    ):
        return _kind(error.cause)
    return type(error).__name__
