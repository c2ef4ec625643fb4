"""Legal holds, which forbid erasures: those of the project's retention (`core/contracts/retention.py`)."""

from __future__ import annotations

from mainspring.core import errors
from mainspring.core.contracts import retention, schedules
from mainspring.platform import plane as control_plane
from mainspring.platform.runs import outbox

__all__ = ["RULE", "denial_of"]

RULE = "erasure.legal-hold"


async def denial_of(plane: control_plane.ControlPlane, project: str) -> errors.PolicyDenied | None:
    """Why nothing of the project may be erased now; None: no hold is on it.

    Whatever kind and time a hold names: whose rows are in what it covers nobody knows before everything is read.
    Errors: DependencyDown while the engine that has them is away: not knowing is no permission.
    """
    try:
        found = await outbox.ask(plane.scheduler.find(project, schedules.Process.RETENTION))
    except errors.NotFound:
        return None
    holds = retention.RetentionRequest.model_validate({"project": project, **found.request}).holds
    if not holds:
        return None
    reasons = "; ".join(hold.reason for hold in holds)
    return errors.PolicyDenied(
        f"rule `{RULE}` denies it: project `{project}` is under a legal hold ({reasons}); ask again when the hold is lifted from"
        f" its retention (`mainspring schedule show {project} retention`)",
        rule_id=RULE,
    )
