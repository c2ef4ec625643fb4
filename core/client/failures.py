"""A Temporal failure, back as one of our errors.

Both ends read failures (a workflow from its activities, a client from its workflow), so the reading half lives here;
retry flags, the writing half, are only in `mainspring.workflows.errors`.
"""

from __future__ import annotations

from collections.abc import Mapping

from temporalio import exceptions

from mainspring.core import errors


def from_failure(failure: BaseException) -> errors.MainspringError:
    """The error inside `failure`, however many layers (activity, child workflow, client) Temporal put around it.

    An ApplicationError is rebuilt from its wire form, never from a class name; one without wire form becomes Broken.
    A Temporal timeout is DeadlineExceeded with the activity's name as `stage`. Cancellation is no error: callers
    test `temporalio.exceptions.is_cancelled_exception` first.
    """
    stage = ""
    current: BaseException | None = failure
    while current is not None:
        if isinstance(current, errors.MainspringError):
            return current
        if isinstance(current, exceptions.ApplicationError):
            return _from_application(current)
        if isinstance(current, exceptions.ActivityError):
            stage = current.activity_type
        elif isinstance(current, exceptions.ChildWorkflowError):
            stage = current.workflow_type
        elif isinstance(current, exceptions.TimeoutError):
            return errors.DeadlineExceeded(
                f"`{stage or 'workflow'}` did not end in time: {current}; look at its worker and at what it waits for",
                stage=stage or "workflow",
            )
        current = current.__cause__
    return errors.Broken(f"failure without a cause of ours: {failure}; see the workflow's history")


def _from_application(failure: exceptions.ApplicationError) -> errors.MainspringError:
    if failure.details and isinstance(failure.details[0], Mapping) and "code" in failure.details[0]:
        return errors.from_wire(failure.details[0])
    while not failure.type and isinstance(failure.__cause__, exceptions.ApplicationError):
        # Temporal's own words around what a codec said: "Failed decoding arguments".
        failure = failure.__cause__
    return errors.Broken(f"untyped failure `{failure.type}`: {failure.message}; see the workflow's history")
