"""`mainspring notebook`: JupyterLab for a project, on this machine, for a time and within a quota."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich_click as click

from mainspring.platform.cli import output, session

if TYPE_CHECKING:
    from mainspring.core import settings
    from mainspring.platform.notebooks import workspaces

__all__ = ["notebook"]

_COLUMNS = ("notebook_id", "project", "actor", "cores", "memory_gib", "ends_at", "state")


@click.group()
def notebook() -> None:
    """Notebook workspaces of this machine."""


@notebook.command("start")
@click.argument("project_name")
@click.option("--cores", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--memory-gib", type=click.FloatRange(min=0, min_open=True), default=2.0, show_default=True)
@click.option("--hours", type=click.FloatRange(min=0, min_open=True), default=2.0, show_default=True)
@session.AS
@session.JSON
def notebook_start(
    project_name: str, cores: int, memory_gib: float, hours: float, actor: str, as_json: bool
) -> None:
    """Start JupyterLab, reachable from this machine by the URL that is told, until its time is over or nobody is there.

    What it may cost has to be free in the project's budget, and is charged while it runs. Packages that are installed in it
    go with it; files in its `work` folder stay.
    """
    from mainspring.core import settings
    from mainspring.platform.notebooks import workspaces

    s, who = settings.load(), actor or "developer@local"
    asked = workspaces.Asked(project=project_name, actor=who, cores=cores, memory_gib=memory_gib, hours=hours)
    with session.client(who) as client:
        made = workspaces.start(s, client, asked, progress=lambda line: click.echo(line, err=True))
    output.show({**_row(s, made), "url": workspaces.url(s, made)}, as_json=as_json)


@notebook.command("list")
@click.option("--all", "with_ended", is_flag=True, help="Those that have ended, too.")
@session.JSON
def notebook_list(with_ended: bool, as_json: bool) -> None:
    """Workspaces, oldest first."""
    from mainspring.core import settings
    from mainspring.platform.notebooks import workspaces

    s = settings.load()
    found = [_row(s, one) for one in workspaces.known(s) if with_ended or not one.ended]
    output.show(found, as_json=as_json, columns=_COLUMNS)


@notebook.command("stop")
@click.argument("notebook_id")
@session.AS
@session.JSON
def notebook_stop(notebook_id: str, actor: str, as_json: bool) -> None:
    """End it now; its `work` folder stays."""
    from mainspring.core import settings
    from mainspring.platform.notebooks import workspaces

    s = settings.load()
    with session.client(actor or "developer@local") as client:
        output.show(_row(s, workspaces.stop(s, client, notebook_id)), as_json=as_json)


@notebook.command("extend")
@click.argument("notebook_id")
@click.option("--hours", type=click.FloatRange(min=0, min_open=True), required=True, help="So much longer.")
@session.AS
@session.JSON
def notebook_extend(notebook_id: str, hours: float, actor: str, as_json: bool) -> None:
    """Let it end later, within the quota and the budget."""
    from mainspring.core import settings
    from mainspring.platform.notebooks import workspaces

    s = settings.load()
    with session.client(actor or "developer@local") as client:
        output.show(_row(s, workspaces.extend(s, client, notebook_id, hours)), as_json=as_json)


def _row(s: settings.Settings, one: workspaces.Workspace) -> dict[str, Any]:
    from mainspring.platform.notebooks import spending, workspaces

    folder = workspaces.folder_of(s, one.notebook_id)
    return {
        "notebook_id": one.notebook_id,
        "project": one.asked.project,
        "actor": one.asked.actor,
        "cores": one.asked.cores,
        "memory_gib": one.asked.memory_gib,
        "started_at": one.started_at.isoformat(),
        "ends_at": one.ends_at.isoformat(),
        "state": one.ended or spending.notice_of(folder) or "at work",
        "work": str(folder / "work"),
    }
