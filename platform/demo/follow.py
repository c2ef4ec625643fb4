"""Follow one run until it ends, telling each step once, and decide for the approver when it is asked for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from mainspring.core import errors
from mainspring.core.client import control as control_client
from mainspring.core.contracts import control, training

ENDED: Final = frozenset(
    {
        training.Stage.DONE,
        training.Stage.ROLLED_BACK,
        training.Stage.REJECTED,
        training.Stage.CANCELLED,
        training.Stage.FAILED,
    }
)
_POLL_SECONDS: Final = 0.5


def follow(
    run_id: str,
    *,
    developer: control_client.ControlClient,
    approver: control_client.ControlClient,
    timeout_seconds: float,
    on_stage: Callable[[str, float], None],
    on_step: Callable[[training.StepReport], None],
) -> control.RunView:
    """The run's last view. `on_stage(stage, progress)` at every look, `on_step` once for each finished step.

    Errors: DeadlineExceeded after `timeout_seconds`; the run's own error if it failed; JobFailed if it ended in
    any other way than done.
    """
    told = 0
    has_decided = False

    def look(view: control.RunView) -> None:
        nonlocal told, has_decided
        steps = view.status.steps if view.status else []
        for step in steps[told:]:
            on_step(step)
        told = max(told, len(steps))
        on_stage(str(view.stage), view.status.progress if view.status else 0.0)
        if view.stage == training.Stage.APPROVAL and not has_decided:
            approver.decide(run_id, approve=True, reason="demo: gates, policy and leak check passed")
            has_decided = True

    return wait(run_id, developer=developer, timeout_seconds=timeout_seconds, on_view=look)


def wait(
    run_id: str,
    *,
    developer: control_client.ControlClient,
    timeout_seconds: float,
    wanted: training.Stage = training.Stage.DONE,
    on_view: Callable[[control.RunView], None] = lambda view: None,
) -> control.RunView:
    """The run's last view, once it has ended as `wanted`; each view goes to `on_view`, the last one too.

    Errors: DeadlineExceeded after `timeout_seconds`; the run's own error if it failed; JobFailed for another end.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        view = developer.run(run_id)
        on_view(view)
        if view.stage in ENDED:
            return _ended(view, wanted)
        if time.monotonic() > deadline:
            raise errors.DeadlineExceeded(
                f"run `{run_id}` is still at `{view.stage}` after {timeout_seconds:.0f} s; see `mainspring run show"
                f" {run_id}`",
                stage=str(view.stage),
            )
        time.sleep(_POLL_SECONDS)


def _ended(view: control.RunView, wanted: training.Stage) -> control.RunView:
    if view.stage == wanted:
        return view
    if view.status is not None and view.status.error:
        raise errors.from_wire(view.status.error)
    message = view.status.message if view.status else ""
    raise errors.JobFailed(
        f"run `{view.run_id}` ended as `{view.stage}`: {message or 'no reason given'}; see `mainspring run show"
        f" {view.run_id}`",
        job_id=view.run_id,
        status=str(view.stage),
    )
