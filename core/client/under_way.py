"""How far the steps under way of a run are: what its activities' heartbeats said last, asked of Temporal and not of a worker."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from temporalio import client as temporal
from temporalio import converter, service

from mainspring.core import errors
from mainspring.core.contracts import progress, training

__all__ = ["added"]

#: Stages whose activities tell; at the others Temporal is not asked.
_TELLING: Final = frozenset(
    {training.Stage.TRAIN, training.Stage.TUNE, training.Stage.SCORE, training.Stage.STEP}
)


async def added(
    handle: temporal.WorkflowHandle[Any, Any],
    status: training.RunStatus,
    by: converter.DataConverter,
    *,
    within_seconds: float,
) -> training.RunStatus:
    """The status with what is under way; as it was where there is nothing, and where Temporal does not say it in time."""
    if status.stage not in _TELLING:
        return status
    try:
        found = await handle.describe(rpc_timeout=timedelta(seconds=within_seconds))
    except service.RPCError:
        return status
    told = [await _told(one, by) for one in found.raw_description.pending_activities]
    steps = sorted((one for one in told if one is not None), key=lambda one: one.step)
    changes: dict[str, Any] = {"step_progress": steps}
    if len(steps) == 1 and not status.progress:
        changes["progress"] = steps[0].fraction
    return status.model_copy(update=changes) if steps else status


async def _told(activity: Any, by: converter.DataConverter) -> progress.StepProgress | None:
    """None for one that tells nothing, or not so that this release understands it: it is for people to look at."""
    payloads = activity.heartbeat_details.payloads
    if not payloads:
        return None
    try:
        (found,) = await by.decode(payloads[:1], [progress.StepProgress])
    # Pydantic's, and KeyError for an encoding that nobody knows.
    except (errors.MainspringError, ValueError, KeyError):
        return None
    return found if isinstance(found, progress.StepProgress) else None
