"""`mainspring schedule`: processes of a project that run by the clock."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

import rich_click as click

from mainspring.core import errors
from mainspring.platform.cli import output, session

if TYPE_CHECKING:
    from mainspring.core.client import control as control_client
    from mainspring.core.contracts import schedules

__all__ = ["schedule"]

#: As `core.contracts.schedules.Process`, whose import would slow `--help` down; a test holds the two equal.
PROCESSES: Final = ("skew", "retrain", "retention", "materialize", "stop-idle", "drift")
_PROCESS: Final = click.argument("process", type=click.Choice(PROCESSES))
_POLL_SECONDS: Final = 0.5
#: What is put of a schedule.
_PUT: Final = {"every_minutes", "is_paused", "request"}


@click.group()
def schedule() -> None:
    """Schedules: checks and trainings that run by the clock."""


@schedule.command("put")
@click.argument("project_name")
@_PROCESS
@click.option("--every-minutes", type=click.FloatRange(min=0, min_open=True), default=60.0, show_default=True)
@click.option("--paused", is_flag=True, help="Keep it, and run nothing until it is put without this.")
@click.option(
    "--set",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help="An option of the process, JSON or text; repeat it.",
)
@session.DRY_RUN
@session.AS
@session.JSON
def schedule_put(
    project_name: str,
    process: str,
    every_minutes: float,
    paused: bool,
    options: tuple[str, ...],
    dry_run: bool,
    actor: str,
    as_json: bool,
) -> None:
    """Run a process again and again; put again, it is changed."""
    from mainspring.core.contracts import schedules

    wanted = schedules.ScheduleCreate(
        every_minutes=every_minutes, is_paused=paused, request=dict(map(_option, options))
    )
    with session.client(actor or "developer@local") as client:
        kind = schedules.Process(process)
        found = _find(client, project_name, kind)
        if dry_run:
            after = wanted.model_dump(mode="json", include=_PUT)
            _show_change(project_name, found, after, as_json=as_json)
            return
        version = "" if found is None else found.version
        made = client.put_schedule(project_name, kind, wanted, version=version)
        output.show(made.model_dump(mode="json"), as_json=as_json)


@schedule.command("list")
@click.argument("project_name")
@session.AS
@session.JSON
def schedule_list(project_name: str, actor: str, as_json: bool) -> None:
    """A project's schedules by process."""
    with session.client(actor or "developer@local") as client:
        found = client.schedules(project_name).items
    columns = ("process", "every_minutes", "is_paused", "next_at", "on_behalf_of")
    output.show(found, as_json=as_json, columns=columns)


@schedule.command("show")
@click.argument("project_name")
@_PROCESS
@session.AS
@session.JSON
def schedule_show(project_name: str, process: str, actor: str, as_json: bool) -> None:
    """When it is due next, and its last runs."""
    from mainspring.core.contracts import schedules

    with session.client(actor or "developer@local") as client:
        found = client.schedule(project_name, schedules.Process(process))
        output.show(found.model_dump(mode="json"), as_json=as_json)


@schedule.command("remove")
@click.argument("project_name")
@_PROCESS
@session.DRY_RUN
@session.AS
@session.JSON
def schedule_remove(project_name: str, process: str, dry_run: bool, actor: str, as_json: bool) -> None:
    """End it; what runs goes on."""
    from mainspring.core.contracts import schedules

    with session.client(actor or "developer@local") as client:
        kind = schedules.Process(process)
        found = client.schedule(project_name, kind)
        if dry_run:
            _show_change(project_name, found, None, as_json=as_json)
            return
        client.remove_schedule(project_name, kind, version=found.version)
        output.show({"project": project_name, "process": process, "removed": True}, as_json=as_json)


@schedule.command("run")
@click.argument("project_name")
@_PROCESS
@click.option("--timeout-seconds", type=click.FloatRange(min=0), default=600.0, show_default=True)
@session.AS
@session.JSON
def schedule_run(project_name: str, process: str, timeout_seconds: float, actor: str, as_json: bool) -> None:
    """Run it once, now, and wait for what it answers."""
    from mainspring.core.contracts import schedules

    kind, deadline = schedules.Process(process), time.monotonic() + timeout_seconds
    with session.client(actor or "developer@local") as client:
        found = client.run_schedule(project_name, kind)
        click.echo(found.run_id, err=True)
        while (found := client.scheduled_run(project_name, kind, found.run_id)).state == "running":
            if time.monotonic() >= deadline:
                raise errors.DeadlineExceeded(
                    f"`{found.run_id}` still runs; its end is shown by `mainspring schedule show {project_name} {process}`",
                    stage=process,
                )
            time.sleep(_POLL_SECONDS)
    if found.state != "done":
        raise (
            errors.from_wire(found.error)
            if found.error
            else errors.JobFailed(
                f"`{found.run_id}` was {found.state}; see its history in Temporal", job_id=found.run_id
            )
        )
    output.show(found.result, as_json=as_json)


def _find(
    client: control_client.ControlClient, project: str, process: schedules.Process
) -> schedules.ScheduleView | None:
    """What is there now: a change is of that, and refused if somebody else changes it meanwhile."""
    try:
        return client.schedule(project, process)
    except errors.NotFound:
        return None


def _show_change(
    project: str, found: schedules.ScheduleView | None, after: dict[str, Any] | None, *, as_json: bool
) -> None:
    before = None if found is None else found.model_dump(mode="json", include=_PUT)
    output.show_change(f"schedule of {project}", before, after, as_json=as_json)


def _option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise click.UsageError(f"`{text}` is no option; write NAME=VALUE")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value
