"""The project itself, its members and its deployments: what a document wants of them, and bringing it about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from mainspring.core import errors
from mainspring.core.client import control as control_client
from mainspring.core.contracts import control, members
from mainspring.platform.gitops import document as documents
from mainspring.platform.gitops.items import Action, Item

__all__ = ["DEPLOYMENT", "MEMBER", "PROJECT", "apply", "plan_deployments", "plan_members", "plan_project"]

PROJECT: Final = "project"
MEMBER: Final = "member "
DEPLOYMENT: Final = "deployment to "
_NOT_WELL: Final = ("failed", "cancelled", "rejected", "rolled_back")


def plan_project(client: control_client.ControlClient, wanted: documents.Document) -> Iterator[Item]:
    """Owner, description and budget, as far as they are written. Errors: NotFound for a project that nothing is written of."""
    after = {} if wanted.about is None else wanted.about.model_dump(mode="json", exclude_unset=True)
    try:
        found = client.project(wanted.project)
    except errors.NotFound:
        if wanted.about is None:
            raise
        if not wanted.about.owner:
            raise errors.InvalidRequest(
                f"project `{wanted.project}` is not there, and `about` names no `owner`; write who answers for it",
                field="about.owner",
            ) from None
        yield Item(what=PROJECT, action=Action.CREATE, after=after)
        return
    if after:
        before = found.model_dump(mode="json", include=set(after))
        action = Action.NONE if before == after else Action.CHANGE
        yield Item(what=PROJECT, action=action, before=before, after=after, version=found.version)


def plan_members(client: control_client.ControlClient, wanted: documents.Document) -> Iterator[Item]:
    """Exactly the roles that are written. Who is not named is told of, and removed with `prune`."""
    if wanted.members is None:
        return
    try:
        there = {one.actor: one for one in client.each_member(wanted.project)}
    except errors.NotFound:
        there = {}  # the project is still to be made
    for actor, roles in sorted(wanted.members.items()):
        after = {place: sorted(given) for place, given in sorted(roles.items())}
        found = there.pop(actor, None)
        if found is None:
            yield Item(what=MEMBER + actor, action=Action.CREATE, after=after)
            continue
        before = {place: sorted(given) for place, given in sorted(found.roles.items())}
        action = Action.NONE if before == after else Action.CHANGE
        yield Item(what=MEMBER + actor, action=action, before=before, after=after, version=found.version)
    for actor, found in sorted(there.items()):
        before = {place: sorted(given) for place, given in sorted(found.roles.items())}
        if wanted.prune:
            yield Item(what=MEMBER + actor, action=Action.REMOVE, before=before, version=found.version)
        else:
            says = f"not in `{documents.FILE}`; name it, remove it by hand, or set `prune`"
            yield Item(what=MEMBER + actor, action=Action.EXTRA, before=before, says=says)


def plan_deployments(wanted: documents.Document, runs: Sequence[control.RunView]) -> Iterator[Item]:
    """By the project's runs, newest first: the bundle that came into service last is what is there."""
    for one in wanted.deployments:
        after = {"bundle": one.bundle, "environment": one.environment}
        mine = [r for r in runs if r.endpoint == one.endpoint and r.kind in ("deploy", "train")]
        there = next((r for r in mine if r.stage == "done" and r.bundle_digest), None)
        newest = next((r for r in mine if r.bundle_digest == one.bundle), None)
        before = {} if there is None else {"bundle": there.bundle_digest, "environment": there.environment}
        what = DEPLOYMENT + one.endpoint
        is_last = newest is not None and (there is None or newest.run_id >= there.run_id)
        if not is_last or newest is None:
            action = Action.CREATE if there is None else Action.CHANGE
            says = "" if there is None else f"`{there.run_id}` brought what is there"
            version = "" if there is None else there.run_id
            yield Item(what=what, action=action, before=before, after=after, says=says, version=version)
            continue
        action = Action.FAILED if newest.stage in _NOT_WELL else Action.NONE
        says = f"`{newest.run_id}` is at `{newest.stage}`"
        if action is Action.FAILED:
            says += (
                f"; bring it there by hand with `mainspring endpoint promote {one.endpoint}`, or want another"
            )
        yield Item(what=what, action=action, before=before, after=after, says=says)


def apply(
    client: control_client.ControlClient, project: str, item: Item, cause: str, prompted_by: str
) -> str:
    """Do what one item of these says, as it was planned; what came of it, in words.

    Errors: PreconditionFailed where somebody changed it since; those of the control API, its policies' among them.
    """
    if item.what == PROJECT:
        if item.action is Action.CREATE:
            client.create_project(control.ProjectCreate(name=project, **item.after))
        else:
            client.update_project(project, control.ProjectPatch(**item.after), version=item.version)
        return "done"
    if item.what.startswith(MEMBER):
        actor = item.what.removeprefix(MEMBER)
        if item.action is Action.REMOVE:
            client.remove_member(project, actor, version=item.version)
        else:
            roles: Any = item.after
            client.put_member(project, actor, members.MemberPut(roles=roles), version=item.version)
        return "done"
    endpoint, digest = item.what.removeprefix(DEPLOYMENT), item.after["bundle"]
    run = client.create_run(
        control.RunCreate(
            project=project,
            kind=control.RunKind.DEPLOY,
            environment=item.after["environment"],
            endpoint=endpoint,
            bundle_digest=digest,
            cause=cause,
            prompted_by=prompted_by,
            # Applied twice, by two watchers or after a crash, it is one run; wanted again after another, it is a new one.
            idempotency_key=f"gitops-{endpoint}-{digest[-16:]}-after-{item.version or 'none'}",
        )
    )
    return f"started `{run.run_id}`"
