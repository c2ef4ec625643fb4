"""List and show held batches, and release one: the intent on record, the folder changed, the outcome on record."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from mainspring.core import errors, identity
from mainspring.core.contracts import control, quality
from mainspring.core.quality import gate
from mainspring.platform import access, mutation, reads
from mainspring.platform import plane as control_plane
from mainspring.platform.quarantine import store


async def read(
    plane: control_plane.ControlPlane, credential: str, project: str, *, after: str, limit: int
) -> control.Page:
    """A page of a project's held batches by name. Errors: NotFound for the project."""
    state = await _folders_of(plane, credential, project)
    found = await asyncio.to_thread(lambda: list(store.places(state, project)))
    rest = sorted((p for p in found if p.held.name > after), key=lambda p: p.held.name)
    items = [place.view(project).model_dump(mode="json") for place in rest[:limit]]
    return control.Page(items=items, next=rest[limit - 1].held.name if len(rest) > limit else "")


async def show(
    plane: control_plane.ControlPlane, credential: str, project: str, name: str
) -> quality.HeldBatch:
    """One held batch with its reports. Errors: NotFound."""
    state = await _folders_of(plane, credential, project)
    place = await asyncio.to_thread(store.find, state, project, name)
    return place.view(project, with_reports=True)


async def release(
    plane: control_plane.ControlPlane, credential: str, project: str, name: str, reason: str
) -> quality.HeldBatch:
    """Let a held batch take its folder's place. Role: approver. Safe to repeat.

    Files may be many: they are linked outside of any transaction, between two rows of the audit log.
    Errors: NotFound; Conflict if another batch was accepted since; PermissionDenied.
    """
    state = await _folders_of(plane, credential, project)  # before anybody learns what there is
    place = await asyncio.to_thread(store.find, state, project, name)

    async def work(actor: identity.Actor) -> tuple[None, dict[str, Any]]:
        made = await asyncio.to_thread(gate.release, place.target, name, actor=actor, reason=reason)
        return None, {"digest": made.digest}

    await mutation.around(
        plane,
        credential,
        action="quarantine.release",
        resource=f"quarantine/{project}/{name}",
        on=access.project(project),
        detail={
            "reason": reason,
            "failed": [check.name for check in place.held.failed],
            "instead_of": place.held.instead_of,
        },
        work=work,
    )
    after = await asyncio.to_thread(store.find, state, project, name)
    return after.view(project, with_reports=True)


async def _folders_of(plane: control_plane.ControlPlane, credential: str, project: str) -> Path:
    """Where the folders of a project are that exists: names out of a path are looked up before they are one."""
    async with reads.reading(plane, credential, action="quarantine.read") as reader:
        await reader.project(project)
    if plane.state_dir is None:
        raise errors.NotFound(
            "this control API has no folders of data; ask the one beside the workers",
            resource="folders",
            name=project,
        )
    return plane.state_dir
