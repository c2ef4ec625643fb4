"""`mainspring quota`: what a project may have at once, beside what it may spend."""

from __future__ import annotations

from typing import Any

import rich_click as click

from mainspring.platform.cli import output, session

__all__ = ["quota"]

_COLUMNS = ("quota", "limit", "used", "is_own")
_LIMIT = click.IntRange(min=0, max=1_000_000)


@click.group()
def quota() -> None:
    """What a project may have at once: runs, workers of one run, endpoints, storage."""


@quota.command("show")
@click.argument("project_name")
@session.AS
@session.JSON
def quota_show(project_name: str, actor: str, as_json: bool) -> None:
    """Limits in force, what is taken of them, and the version that a change names."""
    with session.client(actor or "developer@local") as client:
        _show(client.quota(project_name), as_json)


@quota.command("set")
@click.argument("project_name")
@click.option("--max-open-runs", type=_LIMIT, help="Runs that have not ended.")
@click.option("--max-workers", type=_LIMIT, help="Cores of one run.")
@click.option("--max-endpoints", type=_LIMIT, help="Names of endpoints.")
@click.option(
    "--max-storage-mib", type=click.IntRange(min=0, max=2**31 - 1), help="MiB on disks, as measured last."
)
@click.option(
    "--version", default="", help="Of the limits that are changed, from `show`; needed where some were set."
)
@session.AS
@session.JSON
def quota_set(
    project_name: str,
    max_open_runs: int | None,
    max_workers: int | None,
    max_endpoints: int | None,
    max_storage_mib: int | None,
    version: str,
    actor: str,
    as_json: bool,
) -> None:
    """Set a project's own limits, all of them: what is left out is as the platform's settings say."""
    from mainspring.core.contracts import quotas

    wanted = quotas.QuotaPut(
        max_open_runs=max_open_runs,
        max_workers=max_workers,
        max_endpoints=max_endpoints,
        max_storage_mib=max_storage_mib,
    )
    with session.client(actor or "admin@local") as client:
        _show(client.put_quota(project_name, wanted, version=version), as_json)


def _show(found: Any, as_json: bool) -> None:
    body = found.model_dump(mode="json")
    if as_json:
        output.show(body, as_json=True)
        return
    rows = [{"quota": name, **line} for name, line in body["quotas"].items()]
    output.show(rows, as_json=False, columns=_COLUMNS)
    click.echo(f"version {body['version']}")
