"""The end of a run as Temporal itself knows it, without a worker; and Temporal's own refusals as our errors."""

from __future__ import annotations

from typing import Any

from temporalio import client as temporal
from temporalio import exceptions, service

from mainspring.core import errors
from mainspring.core.client import failures
from mainspring.core.contracts import training

__all__ = ["ended", "typed"]


async def ended(handle: temporal.WorkflowHandle[Any, Any], run_id: str) -> training.RunStatus:
    """The final status, out of what the run answered or failed with; waits for the end."""
    try:
        answer = await handle.result()
    except temporal.WorkflowFailureError as failure:
        cause = failure.cause
        if exceptions.is_cancelled_exception(cause) or isinstance(cause, exceptions.TerminatedError):
            return training.RunStatus(
                run_id=run_id, stage=training.Stage.CANCELLED, progress=1.0, message="cancelled"
            )
        error = failures.from_failure(failure)
        return training.RunStatus(
            run_id=run_id,
            stage=training.Stage.FAILED,
            progress=1.0,
            message=error.message,
            error=errors.to_wire(error),
        )
    said = answer if isinstance(answer, dict) else {}
    return training.RunStatus.model_validate(
        {
            "run_id": run_id,
            "stage": said.get("stage", training.Stage.DONE),
            "steps": said.get("steps", []),
            "progress": 1.0,
            "message": said.get("message", ""),
        }
    )


def typed(error: service.RPCError, run_id: str) -> errors.MainspringError:
    """What Temporal refused with: NotFound, or DependencyDown."""
    if error.status is service.RPCStatusCode.NOT_FOUND:
        return errors.NotFound(
            f"no run `{run_id}`; list the runs to see their ids", resource="run", name=run_id
        )
    return errors.DependencyDown(f"temporal answered `{error.message}`; look at its log", name="temporal")
