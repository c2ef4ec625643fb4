"""`mainspring run`: start, follow, decide on and cancel runs."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

import rich_click as click

from mainspring.core import errors
from mainspring.platform.cli import output, pipelines, session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mainspring.core.client import control as control_client
    from mainspring.core.contracts import control, progress

__all__ = ["run"]

_COLUMNS: Final = ("run_id", "project", "kind", "stage", "cost", "requested_by")
_AT_REST: Final = ("done", "rolled_back", "rejected", "cancelled", "failed", "approval")


@click.group(cls=pipelines.RunGroup)
def run() -> None:
    """Runs: trainings, deployments, batch scorings, and pipelines: `mainspring run PIPELINE.py`."""


@run.command("start")
@click.argument("project_name")
@click.option("--environment", default="dev", show_default=True)
@click.option("--sample-fraction", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True)
@click.option("--epochs", type=click.IntRange(1, 1000))
@click.option("--endpoint", default="", help="Deploy here after approval.")
@click.option(
    "--max-cost",
    type=click.FloatRange(min=0, min_open=True),
    help="Kept free in the project's budget, and stopped there; default: `cost.run_reservation` is kept free.",
)
@click.option("--purpose", default="", help="What for, as `mainspring purpose list` has them.")
@click.option("--key", default="", help="Idempotency key; default: a fresh one.")
@session.AS
@session.JSON
def run_start(
    project_name: str,
    environment: str,
    sample_fraction: float,
    epochs: int | None,
    endpoint: str,
    max_cost: float | None,
    purpose: str,
    key: str,
    actor: str,
    as_json: bool,
) -> None:
    """Start a training."""
    from mainspring.core import ids
    from mainspring.core.contracts import control

    request = control.RunCreate(
        project=ids.check_slug(project_name, "project"),
        environment=environment,
        sample_fraction=sample_fraction,
        epochs=epochs,
        endpoint=endpoint,
        max_cost=max_cost,
        purpose=purpose,
        idempotency_key=key or ids.new_id("key"),
    )
    click.echo(f"idempotency key: {request.idempotency_key}", err=True)
    with session.client(actor or "developer@local") as client:
        made = client.create_run(request)
    if made.notice:
        click.echo(made.notice, err=True)
    output.show(made.model_dump(mode="json"), as_json=as_json)


@run.command("list")
@click.option("--project", "project_name", default="")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@session.AS
@session.JSON
def run_list(project_name: str, limit: int, actor: str, as_json: bool) -> None:
    """Runs, newest first."""
    with session.client(actor or "developer@local") as client:
        newest = itertools.islice(client.each_run(project=project_name), limit)
        found = [one.model_dump(mode="json") for one in newest]
    output.show(found, as_json=as_json, columns=_COLUMNS)


@run.command("show")
@click.argument("run_id")
@session.AS
@session.JSON
def run_show(run_id: str, actor: str, as_json: bool) -> None:
    """One run; on stderr how far the steps under way are."""
    with session.client(actor or "developer@local") as client:
        view = client.run(run_id)
    output.show(view.model_dump(mode="json"), as_json=as_json)
    if view.status is not None:
        _Steps(run_id).tell(view.status.step_progress)


@run.command("logs")
@click.argument("run_id")
@click.option("--job", default="", help="Ray's name of it; default: the newest of the run.")
@click.option("--start", type=click.IntRange(0), help="From this line on; default: the last ones.")
@click.option("--limit", type=click.IntRange(1, 5000), default=500, show_default=True)
@session.AS
@session.JSON
def run_logs(run_id: str, job: str, start: int | None, limit: int, actor: str, as_json: bool) -> None:
    """What its jobs wrote, without credentials, also of those that Ray has forgotten; which job on stderr."""
    with session.client(actor or "developer@local") as client:
        found = client.run_log(run_id, job=job, start=-1 if start is None else start, limit=limit)
    if found.unavailable and not found.jobs:
        raise errors.DependencyDown(found.unavailable, name="ray")
    if as_json:
        output.show(found.model_dump(mode="json"), as_json=True)
        return
    if found.unavailable:
        click.echo(f"warning: {found.unavailable}", err=True)
    last = found.first + len(found.lines)
    is_kept = any(one.name == found.job and one.is_kept for one in found.jobs)
    told = f"{found.job or 'no job in Ray'}{', as it was kept when it ended' if is_kept else ''}"
    click.echo(f"{told}: lines {found.first} to {last} of {found.total}", err=True)
    for line in found.lines:
        click.echo(line)


@run.command("watch")
@click.argument("run_id")
@click.option("--timeout-seconds", type=click.FloatRange(min=0), default=3600.0, show_default=True)
@session.AS
@session.JSON
def run_watch(run_id: str, timeout_seconds: float, actor: str, as_json: bool) -> None:
    """Wait until a run ends or awaits approval; a line on stderr for each stage, and for each epoch or the like."""
    with session.client(actor or "developer@local") as client:
        view = _at_rest(client, run_id, timeout_seconds)
    output.show(view.model_dump(mode="json"), as_json=as_json)
    if view.stage == "approval":
        raise errors.ApprovalRequired(
            f"`{run_id}` awaits a decision; an approver runs `mainspring run approve {run_id}`", run_id=run_id
        )
    if view.stage != "done":
        status = view.status
        if status is not None and status.error:
            raise errors.from_wire(status.error)
        why = (status.message if status is not None else "") or view.result.get("message", "no reason given")
        raise errors.JobFailed(
            f"`{run_id}` ended as `{view.stage}`: {why}; see `mainspring run show {run_id}`",
            job_id=run_id,
            status=str(view.stage),
        )


class _Steps:
    """Says on stderr how far the steps of a run are, each time that it is otherwise."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._said: dict[str, str] = {}

    def tell(self, found: Sequence[progress.StepProgress]) -> None:
        for one in found:
            if one.words and self._said.get(one.step) != one.words:
                self._said[one.step] = one.words
                output.note(f"{self._run_id}: {one.step}: {one.words}")


def _at_rest(client: control_client.ControlClient, run_id: str, timeout_seconds: float) -> control.RunView:
    """The run once it has ended or awaits approval; it tells of itself meanwhile. Errors: DeadlineExceeded."""
    view, seen, steps = client.run(run_id), "", _Steps(run_id)
    if view.stage in _AT_REST:
        return view
    try:
        for told in client.watch(run=run_id, within_seconds=timeout_seconds):
            stage = getattr(told, "stage", None) or client.run(run_id).stage
            if stage != seen and stage not in _AT_REST:
                click.echo(f"{run_id}: {stage}", err=True)
                seen = stage
            steps.tell(getattr(told, "step_progress", ()))
            # What the engine says first is on record a moment later.
            if stage in _AT_REST and (view := client.run(run_id)).stage in _AT_REST:
                return view
    except errors.DeadlineExceeded as error:
        stage = client.run(run_id).stage
        raise errors.DeadlineExceeded(
            f"`{run_id}` is still at `{stage}`; come back with `mainspring run watch {run_id}`",
            stage=str(stage),
        ) from error
    raise errors.DependencyDown(
        f"the watch of `{run_id}` ended without its run; come back with `mainspring run watch {run_id}`",
        name="control",
    )


def _decide(run_id: str, approve: bool, reason: str, actor: str, as_json: bool) -> None:
    with session.client(actor or "approver@local") as client:
        view = client.decide(run_id, approve=approve, reason=reason)
        output.show(view.model_dump(mode="json"), as_json=as_json)


@run.command("approve")
@click.argument("run_id")
@click.option("--reason", default="")
@session.AS
@session.JSON
def run_approve(run_id: str, reason: str, actor: str, as_json: bool) -> None:
    """Approve a waiting run."""
    _decide(run_id, True, reason, actor, as_json)


@run.command("reject")
@click.argument("run_id")
@click.option("--reason", required=True)
@session.AS
@session.JSON
def run_reject(run_id: str, reason: str, actor: str, as_json: bool) -> None:
    """Reject a waiting run."""
    _decide(run_id, False, reason, actor, as_json)


@run.command("cancel")
@click.argument("run_id")
@session.AS
@session.JSON
def run_cancel(run_id: str, actor: str, as_json: bool) -> None:
    """Ask a run to stop."""
    with session.client(actor or "developer@local") as client:
        output.show(client.cancel(run_id).model_dump(mode="json"), as_json=as_json)


@run.command("resume")
@click.argument("run_id")
@click.option(
    "--max-cost",
    type=click.FloatRange(min=0, min_open=True),
    help="What it may cost in all, with what it has cost; default: as before.",
)
@session.AS
@session.JSON
def run_resume(run_id: str, max_cost: float | None, actor: str, as_json: bool) -> None:
    """Go on with a run that failed, from what it has: a training from its last checkpoint."""
    with session.client(actor or "developer@local") as client:
        output.show(client.resume(run_id, max_cost=max_cost).model_dump(mode="json"), as_json=as_json)
