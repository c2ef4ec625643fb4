"""`mainspring workflow`: what Temporal's namespace must have, and its runs by what they were started with."""

from __future__ import annotations

from typing import Final

import rich_click as click

from mainspring.platform.cli import output, session

__all__ = ["workflow"]

_COLUMNS: Final = ("run_id", "process", "status", "project", "environment", "started_at")


@click.group()
def workflow() -> None:
    """Temporal, asked directly: prepare its namespace, find runs in its index."""


@workflow.command("bootstrap")
@session.DRY_RUN
@session.JSON
def workflow_bootstrap(dry_run: bool, as_json: bool) -> None:
    """Register our search attributes in `workflow.namespace`; the same again changes nothing."""
    from mainspring.core import settings
    from mainspring.core.client import search_attributes

    told = search_attributes.bootstrap(settings.load().workflow, dry_run=dry_run)
    output.show(told.model_dump(mode="json"), as_json=as_json)


@workflow.command("list")
@click.option("--project", default="")
@click.option("--environment", default="")
@click.option("--process", default="", help="A workflow type without its version, such as `TrainModel`.")
@click.option("--endpoint", default="")
@click.option("--requested-by", default="")
@click.option("--bundle-digest", default="")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@session.JSON
def workflow_list(
    project: str,
    environment: str,
    process: str,
    endpoint: str,
    requested_by: str,
    bundle_digest: str,
    limit: int,
    as_json: bool,
) -> None:
    """Runs in Temporal's index, newest first, also those that the control API did not start."""
    import asyncio

    from mainspring.core import settings
    from mainspring.core.client import search_attributes, workflows

    wanted = search_attributes.Wanted(
        project=project,
        environment=environment,
        process=process,
        endpoint=endpoint,
        requested_by=requested_by,
        bundle_digest=bundle_digest,
    )

    async def find() -> list[search_attributes.FoundRun]:
        client = await workflows.WorkflowClient.connect_by(settings.load().workflow)
        return await client.find(wanted, limit=limit)

    found = [one.model_dump(mode="json") for one in asyncio.run(find())]
    output.show(found, as_json=as_json, columns=_COLUMNS)
