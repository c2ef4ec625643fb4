"""Show a project's data keys, and change them: the intent on record, the keyset changed, the outcome on record."""

from __future__ import annotations

import asyncio
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors, identity
from mainspring.core.contracts import keysets as contracts
from mainspring.core.protection import keysets
from mainspring.platform import access, mutation, reads
from mainspring.platform import plane as control_plane
from mainspring.platform.projects import store as project_store


async def show(plane: control_plane.ControlPlane, credential: str, project: str) -> contracts.KeysetView:
    """Errors: NotFound for the project, or where this control API has no keys."""
    async with reads.reading(plane, credential, action="keyset.read") as reader:
        await reader.project(project)
    return await asyncio.to_thread(lambda: _view(plane, project, _keyset(plane, project)))


async def change(
    plane: control_plane.ControlPlane, credential: str, project: str, asked: contracts.KeysetChange
) -> contracts.KeysetView:
    """Rotating, wrapping anew and adding change no sealed value, and what was sealed before opens as ever.

    Role: admin. A ring elsewhere is asked outside of any transaction. Repeating `rotate` or `add` makes another version.
    Errors: NotFound for the project or key; Conflict for forgetting the key that seals; those of the ring.
    """

    async def on(connection: AsyncConnection) -> access.Target:
        await project_store.find(connection, project)
        return access.project(project, change=asked.change)

    async def work(_: identity.Actor) -> tuple[contracts.KeysetView, dict[str, Any]]:
        return await asyncio.to_thread(_change, plane, project, asked)

    return await mutation.around(
        plane,
        credential,
        action="keyset.change",
        resource=f"keyset/{project}",
        on=on,
        detail={"change": asked.change, "key_id": asked.key_id, "reason": asked.reason},
        work=work,
    )


def _change(
    plane: control_plane.ControlPlane, project: str, asked: contracts.KeysetChange
) -> tuple[contracts.KeysetView, dict[str, Any]]:
    kept = _keyset(plane, project)
    done: dict[str, Any] = {}
    if asked.change == "rotate":
        done["version"] = kept.ring.rotate()
    if asked.change in ("rotate", "rewrap"):
        done["rewrapped"] = kept.rewrap()
    if asked.change == "add":
        done["key_id"] = kept.add()
    if asked.change == "forget":
        kept.forget(asked.key_id)
        done["key_id"] = asked.key_id
    return _view(plane, project, kept), done


def _keyset(plane: control_plane.ControlPlane, project: str) -> keysets.Keyset:
    if plane.protection is None:
        raise errors.NotFound(
            "this control API has no keys; ask the one beside the workers", resource="keyset", name=project
        )
    return keysets.keyset(plane.protection, project)


def _view(plane: control_plane.ControlPlane, project: str, kept: keysets.Keyset) -> contracts.KeysetView:
    return contracts.KeysetView(
        project=project,
        ring=plane.protection.keyring if plane.protection is not None else "",
        keys=tuple(
            contracts.KeyView(
                id=key.id, made_at=key.made_at, wrapped_by=key.wrapped.rpartition(":")[0], is_current=i == 0
            )
            for i, key in enumerate(kept.keys())
        ),
    )
