"""`python -m mainspring.workflows.skew.schedule PROJECT --every-minutes 60`: have a project checked again and again.

The same again changes the schedule; `--remove` ends it. A check that is still running lets the next one pass by.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from datetime import timedelta

from temporalio import client as temporal
from temporalio import service

from mainspring.core import errors, ids, settings
from mainspring.core.contracts import skew
from mainspring.workflows import worker

__all__ = ["ensure", "main", "remove"]


async def ensure(
    client: temporal.Client, request: skew.SkewRequest, *, every: timedelta, task_queue: str
) -> None:
    """One schedule a project: made, or changed to this. Errors: DependencyDown."""
    schedule = temporal.Schedule(
        action=temporal.ScheduleActionStartWorkflow(
            skew.SKEW_WORKFLOW,
            request,
            id=skew.schedule_id(request.project),
            task_queue=task_queue,
        ),
        spec=temporal.ScheduleSpec(intervals=[temporal.ScheduleIntervalSpec(every=every)]),
        policy=temporal.SchedulePolicy(overlap=temporal.ScheduleOverlapPolicy.SKIP),
    )
    try:
        await client.create_schedule(skew.schedule_id(request.project), schedule)
    except temporal.ScheduleAlreadyRunningError:
        handle = client.get_schedule_handle(skew.schedule_id(request.project))
        await handle.update(lambda _: temporal.ScheduleUpdate(schedule=schedule))
    except service.RPCError as error:
        raise _down(error) from error


async def remove(client: temporal.Client, project: str) -> None:
    """Errors: NotFound if the project has no schedule; DependencyDown."""
    try:
        await client.get_schedule_handle(skew.schedule_id(project)).delete()
    except service.RPCError as error:
        if error.status == service.RPCStatusCode.NOT_FOUND:
            raise errors.NotFound(
                f"project `{project}` has no scheduled skew check; make one without `--remove`",
                resource="schedule",
                name=project,
            ) from error
        raise _down(error) from error


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="mainspring.workflows.skew.schedule", description=__doc__)
    parser.add_argument("project")
    parser.add_argument("--every-minutes", type=float, default=60.0)
    parser.add_argument("--sample-fraction", type=float, default=1.0)
    parser.add_argument("--remove", action="store_true")
    asked = parser.parse_args(arguments)
    try:
        asyncio.run(_main(asked))
    except errors.MainspringError as error:
        print(f"mainspring.workflows.skew.schedule: {error.message}", file=sys.stderr)
        return 1
    return 0


async def _main(asked: argparse.Namespace) -> None:
    in_force = settings.load()
    client = await worker.connect(in_force)
    project = ids.check_slug(asked.project, "project")
    if asked.remove:
        await remove(client, project)
        return
    if not asked.every_minutes > 0:
        raise errors.InvalidRequest(
            f"`--every-minutes` is {asked.every_minutes}; give more than 0", field="every-minutes"
        )
    await ensure(
        client,
        skew.SkewRequest(project=project, sample_fraction=asked.sample_fraction),
        every=timedelta(minutes=asked.every_minutes),
        task_queue=in_force.workflow.task_queue,
    )


def _down(error: service.RPCError) -> errors.DependencyDown:
    return errors.DependencyDown(
        f"temporal does not answer: {error}; start it and ask again", name="temporal"
    )


if __name__ == "__main__":
    sys.exit(main())
