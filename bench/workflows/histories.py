"""A stored history in the words of `commands.py`: what each workflow task asked for, and what happened to the workflow."""

from __future__ import annotations

import json
import typing
from collections.abc import Callable, Set
from typing import Any, Final

from temporalio import exceptions
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter

__all__ = [
    "NUMBERED",
    "Command",
    "answer_of",
    "command_of",
    "fired_timers",
    "flags_of",
    "is_job",
    "markers",
    "updates_by_task",
]

Command: typing.TypeAlias = tuple[str, ...]
#: The SDK numbers these, each kind by itself, from 1 on. Replay compares the numbers of activities, and of timers that fire.
NUMBERED: Final = frozenset({"activity", "timer"})

#: What a workflow's own task adds to its history, and what is said of it; None: something else belongs to it.
_COMMANDS: Final[dict[str, Callable[[Any], Command | None]]] = {
    "activity_task_scheduled_event_attributes": lambda a: (
        "activity",
        a.activity_type.name,
        a.activity_id,
    ),
    "activity_task_cancel_requested_event_attributes": lambda _: ("cancel activity",),
    "timer_started_event_attributes": lambda a: ("timer", a.timer_id),
    "timer_canceled_event_attributes": lambda _: ("cancel timer",),
    "start_child_workflow_execution_initiated_event_attributes": lambda a: (
        "child",
        a.workflow_type.name,
        a.workflow_id,
    ),
    "request_cancel_external_workflow_execution_initiated_event_attributes": lambda a: (
        "cancel child",
        a.workflow_execution.workflow_id,
    ),
    "signal_external_workflow_execution_initiated_event_attributes": lambda a: (
        "signal",
        a.workflow_execution.workflow_id,
    ),
    "marker_recorded_event_attributes": lambda a: ("marker", _patch_of(a)),
    # The server's own, beside a marker.
    "upsert_workflow_search_attributes_event_attributes": lambda _: None,
    "workflow_execution_completed_event_attributes": lambda _: ("completed",),
    "workflow_execution_failed_event_attributes": lambda _: ("failed",),
    "workflow_execution_canceled_event_attributes": lambda _: ("cancelled",),
}

#: What happens to a workflow, and the field that says which of its commands that answers.
_JOBS: Final = {
    "activity_task_completed_event_attributes": "scheduled_event_id",
    "activity_task_failed_event_attributes": "scheduled_event_id",
    "activity_task_timed_out_event_attributes": "scheduled_event_id",
    "activity_task_canceled_event_attributes": "scheduled_event_id",
    "timer_fired_event_attributes": "started_event_id",
    "child_workflow_execution_completed_event_attributes": "initiated_event_id",
    "child_workflow_execution_failed_event_attributes": "initiated_event_id",
    "child_workflow_execution_canceled_event_attributes": "initiated_event_id",
    "external_workflow_execution_signaled_event_attributes": "initiated_event_id",
    "signal_external_workflow_execution_failed_event_attributes": "initiated_event_id",
    "workflow_execution_signaled_event_attributes": "",
    "workflow_execution_cancel_requested_event_attributes": "",
}


def markers(history: WorkflowHistory) -> frozenset[str]:
    """The patches that the run has met."""
    kind = EventType.EVENT_TYPE_MARKER_RECORDED
    return frozenset(
        _patch_of(e.marker_recorded_event_attributes) for e in history.events if e.event_type == kind
    )


def fired_timers(history: WorkflowHistory) -> frozenset[str]:
    """Numbers of the timers that fired."""
    kind = EventType.EVENT_TYPE_TIMER_FIRED
    return frozenset(e.timer_fired_event_attributes.timer_id for e in history.events if e.event_type == kind)


def flags_of(task: HistoryEvent) -> set[int]:
    """Ways of Python's SDK that a completed task notes as used."""
    return set(task.workflow_task_completed_event_attributes.sdk_metadata.lang_used_flags)


def updates_by_task(history: WorkflowHistory) -> dict[int, list[HistoryEvent]]:
    """What was accepted in each workflow task, by the number of the task's end: it stands behind it."""
    found: dict[int, list[HistoryEvent]] = {}
    task = 0
    for event in history.events:
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
            task = event.event_id
        elif event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED:
            found.setdefault(task, []).append(event)
    return found


def _patch_of(marker: Any) -> str:
    (payload,) = marker.details["patch-data"].payloads
    return str(json.loads(payload.data)["id"])


def _name(event: HistoryEvent) -> str:
    return event.WhichOneof("attributes") or ""


def command_of(event: HistoryEvent, task: Set[int]) -> Command | None:
    """What the workflow task asked for by this event; None if it is not one of its commands.

    `task` has the numbers of its end and of its start: the server that skips time names the start instead.
    """
    attributes = getattr(event, _name(event))
    if getattr(attributes, "workflow_task_completed_event_id", None) not in task:
        return None
    known = _COMMANDS.get(_name(event))
    return (_name(event),) if known is None else known(attributes)


def is_job(event: HistoryEvent) -> bool:
    return _name(event) in _JOBS


def answer_of(job: HistoryEvent) -> tuple[int, Any]:
    """The command's event, and its result's payloads or the failure as the workflow meets it."""
    attributes = getattr(job, _name(job))
    number = getattr(attributes, _JOBS[_name(job)])
    if "signal_external" in _name(job):
        return number, exceptions.ApplicationError("the workflow to be told does not run")
    if "canceled" in _name(job):
        cause: BaseException = exceptions.CancelledError("Cancelled")
    elif not hasattr(attributes, "failure"):
        return number, attributes.result.payloads if hasattr(attributes, "result") else []
    else:
        cause = pydantic_data_converter.failure_converter.from_failure(
            attributes.failure, pydantic_data_converter.payload_converter
        )
    if "child" in _name(job):
        failure: BaseException = exceptions.ChildWorkflowError(
            "Child workflow execution failed",
            namespace=attributes.namespace,
            workflow_id=attributes.workflow_execution.workflow_id,
            run_id=attributes.workflow_execution.run_id,
            workflow_type=attributes.workflow_type.name,
            initiated_event_id=number,
            started_event_id=attributes.started_event_id,
            retry_state=None,
        )
    else:
        failure = exceptions.ActivityError(
            "Activity task failed",
            scheduled_event_id=number,
            started_event_id=attributes.started_event_id,
            identity="",
            activity_type="",
            activity_id="",
            retry_state=None,
        )
    failure.__cause__ = cause
    return number, failure
