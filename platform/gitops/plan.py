"""What a commit wants and what there is: the difference, by name, and bringing it about. Safe to repeat.

Everything goes through the control API as the one who applies: asked of the policies, paid from the budget, on record
with the commit.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mainspring.core import canonical, errors
from mainspring.core.client import control as control_client
from mainspring.core.contracts import control, pipelines, schedules
from mainspring.core.contracts.base import Message
from mainspring.core.pipelines import build
from mainspring.platform.gitops import checkout as git
from mainspring.platform.gitops import document as documents
from mainspring.platform.gitops import resources
from mainspring.platform.gitops.items import ACTING, Action, Item

__all__ = ["Action", "Item", "Plan", "Prepared", "apply", "prepare"]

#: Runs of the project, newest first, among which a pipeline's or a deployment's is looked for.
_MAX_RUNS: Final = 2000


class Plan(Message):
    """What would be done for a commit."""

    project: str
    commit: str
    items: list[Item]

    @property
    def changes(self) -> list[Item]:
        return [item for item in self.items if item.action in ACTING]

    @property
    def digest(self) -> str:
        """What somebody who looked at it approves: another commit, or another state of things, is another plan."""
        return canonical.digest(
            [
                self.project,
                self.commit,
                [item.model_dump(mode="json", exclude={"says", "version"}) for item in self.changes],
            ]
        )


@dataclass(frozen=True)
class Prepared:
    """A plan with what is needed to apply it."""

    plan: Plan
    document: documents.Document
    packs: dict[str, pipelines.Pack] = field(default_factory=dict)
    """By the item's `what`."""


def prepare(client: control_client.ControlClient, found: git.Checkout) -> Prepared:
    """Look, and change nothing. Errors: those of the document, of building its pipelines, and of the control API."""
    wanted = documents.read(found.folder)
    packs = {
        _name(one): build.apart(_file(found.folder, one), one.pipeline, one.parameters)
        for one in wanted.pipelines
    }
    about = list(resources.plan_project(client, wanted))  # NotFound, before anything else is said
    runs = list(_runs(client, wanted.project)) if wanted.pipelines or wanted.deployments else []
    items = [
        *about,
        *resources.plan_members(client, wanted),
        *_schedules(client, wanted),
        *_pipelines(wanted, packs, [run for run in runs if run.pack]),
        *resources.plan_deployments(wanted, runs),
    ]
    return Prepared(Plan(project=wanted.project, commit=found.commit, items=items), wanted, packs)


def apply(
    client: control_client.ControlClient,
    prepared: Prepared,
    *,
    approved: str | None = None,
    author: str = "",
) -> list[Item]:
    """Do what the plan says, in its order; each change is whole, and what was done before an error stays done.

    `author`: whose signature the commit has; what it starts is prompted by him, and not his to decide on. That is for
    service accounts to say. `approved` is the digest of the plan that somebody approved. Errors: PreconditionFailed if it is another by now.
    """
    plan = prepared.plan
    if approved is not None and approved != plan.digest:
        raise errors.PreconditionFailed(
            f"the plan is `{plan.digest}` by now, and `{approved}` was approved; look at `mainspring gitops plan` again",
            resource="plan",
            name=plan.project,
            current=plan.digest,
        )
    cause = f"gitops: commit {plan.commit}"
    return [_do(client, prepared, item, cause, author) for item in plan.changes]


def _do(
    client: control_client.ControlClient, prepared: Prepared, item: Item, cause: str, author: str
) -> Item:
    project = prepared.plan.project
    if item.what == resources.PROJECT or item.what.startswith((resources.MEMBER, resources.DEPLOYMENT)):
        return item.model_copy(update={"says": resources.apply(client, project, item, cause, author)})
    if item.action is Action.RUN:
        pack, environment = prepared.packs[item.what], item.after["environment"]
        client.put_pipeline(project, pack, environment=environment)
        asked = control.RunCreate(
            project=project,
            kind=control.RunKind.PIPELINE,
            environment=environment,
            pipeline=pipelines.PipelineOptions(pack=pack.digest),
            cause=cause,
            prompted_by=author,
            # Applied twice, by two watchers or after a crash, it is one run.
            idempotency_key=f"gitops-{environment}-{pack.digest.removeprefix('sha256:')}",
        )
        return item.model_copy(update={"says": f"started `{client.create_run(asked).run_id}`"})
    process = schedules.Process(item.what.partition(" ")[2])
    if item.action is Action.REMOVE:
        client.remove_schedule(project, process, version=item.version)
    else:
        wanted = schedules.ScheduleCreate(**item.after, cause=cause)
        client.put_schedule(project, process, wanted, version=item.version)
    return item.model_copy(update={"says": "done"})


def _schedules(client: control_client.ControlClient, wanted: documents.Document) -> Iterator[Item]:
    for process in schedules.Process:
        what, after = f"schedule {process}", _wanted(wanted, process)
        try:
            view = client.schedule(wanted.project, process)
        except errors.NotFound:
            if after:
                yield Item(what=what, action=Action.CREATE, after=after)
            continue
        before = view.model_dump(mode="json", include={"every_minutes", "is_paused", "request"})
        if after:
            action = Action.NONE if before == after else Action.CHANGE
            yield Item(what=what, action=action, before=before, after=after, version=view.version)
        elif wanted.prune:
            yield Item(what=what, action=Action.REMOVE, before=before, version=view.version)
        else:
            says = f"not in `{documents.FILE}`; name it, remove it by hand, or set `prune`"
            yield Item(what=what, action=Action.EXTRA, before=before, says=says)


def _wanted(wanted: documents.Document, process: schedules.Process) -> dict[str, Any]:
    """As the engine tells of one: options that have their defaults are left out."""
    one = wanted.schedules.get(process)
    if one is None:
        return {}
    request = schedules.request_of(process, wanted.project, one.request)
    return {
        "every_minutes": float(one.every_minutes),
        "is_paused": one.is_paused,
        "request": request.model_dump(mode="json", exclude=set(schedules.GIVEN), exclude_defaults=True),
    }


def _pipelines(
    wanted: documents.Document, packs: dict[str, pipelines.Pack], runs: list[control.RunView]
) -> Iterator[Item]:
    for one in wanted.pipelines:
        what = _name(one)
        after = {
            "environment": one.environment,
            "pack": packs[what].digest,
            "parameters": packs[what].graph.parameters,
        }
        mine = [r for r in runs if (r.environment, r.pack) == (one.environment, after["pack"])]
        if not mine:
            yield Item(what=what, action=Action.RUN, after=after)
            continue
        is_well = mine[0].stage not in ("failed", "cancelled", "rejected")
        says = f"`{mine[0].run_id}` is at `{mine[0].stage}`"
        if not is_well:
            says += "; mend the file, or go on by hand with `mainspring run FILE --resume`"
        yield Item(
            what=what, action=Action.NONE if is_well else Action.FAILED, before=after, after=after, says=says
        )


def _runs(client: control_client.ControlClient, project: str) -> Iterator[control.RunView]:
    return itertools.islice(client.each_run(project=project), _MAX_RUNS)


def _name(one: documents.WantedPipeline) -> str:
    name = f"{one.file}:{one.pipeline}" if one.pipeline else one.file
    parameters = f" {canonical.dumps(one.parameters).decode()}" if one.parameters else ""
    return f"pipeline {name} in {one.environment}{parameters}"


def _file(folder: Path, one: documents.WantedPipeline) -> Path:
    """Errors: InvalidRequest for a link that leads out of the repository."""
    path = folder / one.file
    if not path.resolve().is_relative_to(folder.resolve()):
        raise errors.InvalidRequest(
            f"`{one.file}` is a link out of the repository; copy it there", field=one.file
        )
    return path
