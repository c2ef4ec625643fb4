"""`mainspring batch score`: every row of a dataset, scored by one bundle."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from mainspring.core import errors
from mainspring.platform.cli import output, session

if TYPE_CHECKING:
    from mainspring.core.client import control as control_client
    from mainspring.core.contracts import control

__all__ = ["batch"]

_ENDED = ("done", "cancelled", "failed")


@click.group()
def batch() -> None:
    """Whole datasets."""


@batch.command("score")
@click.argument("project_name")
@click.option("--bundle", "bundle_digest", required=True, help="The digest of a signed bundle.")
@click.option("--input", "source", required=True, help="Parquet: a file or folder here, or s3://bucket/key.")
@click.option("--output", "target", required=True, help="A folder of its own, here or s3://bucket/key.")
@click.option(
    "--as-of",
    type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.%f%z"]),
    help="The time of every row, such as 2013-12-01T10:00:00Z; default: each row's own `as_of`.",
)
@click.option("--part-rows", type=click.IntRange(1, 10_000_000), default=100_000, show_default=True)
@click.option("--purpose", default="", help="What for, where the output leaves the project's places.")
@click.option("--environment", default="dev", show_default=True)
@click.option("--sample-fraction", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True)
@click.option(
    "--max-cost",
    type=click.FloatRange(min=0, min_open=True),
    help="Kept free in the project's budget until it has ended; default: `cost.run_reservation`.",
)
@click.option("--key", default="", help="Idempotency key; default: a fresh one.")
@click.option("--wait", is_flag=True, help="Until it ends, with its progress on stderr.")
@click.option("--timeout-seconds", type=click.FloatRange(min=0), default=86_400.0, show_default=True)
@session.AS
@session.JSON
def batch_score(
    project_name: str,
    bundle_digest: str,
    source: str,
    target: str,
    as_of: datetime | None,
    part_rows: int,
    purpose: str,
    environment: str,
    sample_fraction: float,
    max_cost: float | None,
    key: str,
    wait: bool,
    timeout_seconds: float,
    actor: str,
    as_json: bool,
) -> None:
    """Start a batch scoring; a stopped one goes on when it is started again with the same output."""
    from mainspring.core import ids
    from mainspring.core.contracts import control, scoring

    request = control.RunCreate(
        project=ids.check_slug(project_name, "project"),
        kind=control.RunKind.SCORE,
        environment=environment,
        sample_fraction=sample_fraction,
        max_cost=max_cost,
        bundle_digest=bundle_digest,
        score=scoring.ScoreOptions(
            input=_absolute(source),
            output=_absolute(target),
            as_of=as_of,
            part_rows=part_rows,
            purpose=purpose,
        ),
        idempotency_key=key or ids.new_id("key"),
    )
    click.echo(f"idempotency key: {request.idempotency_key}", err=True)
    with session.client(actor or "developer@local") as client:
        view = client.create_run(request)
        if wait:
            view = _follow(client, view, timeout_seconds)
    output.show(view.model_dump(mode="json"), as_json=as_json)
    if view.stage == "failed" and view.status is not None and view.status.error:
        raise errors.from_wire(view.status.error)
    if wait and view.stage != "done":
        raise errors.JobFailed(
            f"`{view.run_id}` ended as `{view.stage}`; see `mainspring run show {view.run_id}`",
            job_id=view.run_id,
        )


def _absolute(place: str) -> str:
    """A path of here as the worker understands it: links followed, or it would lead elsewhere than it says."""
    return place if "://" in place else str(Path(place).resolve())


def _follow(
    client: control_client.ControlClient, view: control.RunView, timeout_seconds: float
) -> control.RunView:
    """Errors: DeadlineExceeded; the run goes on."""
    deadline, told = time.monotonic() + timeout_seconds, ""
    while view.stage not in _ENDED:
        line = f"{view.run_id}: {view.stage}"
        if view.status is not None and view.status.message:
            line += f", {view.status.message}"
        if line != told:
            click.echo(line, err=True)
            told = line
        if time.monotonic() >= deadline:
            raise errors.DeadlineExceeded(
                f"`{view.run_id}` is still at `{view.stage}`; come back with `mainspring run watch {view.run_id}`",
                stage=str(view.stage),
            )
        time.sleep(1.0)
        view = client.run(view.run_id)
    return view
