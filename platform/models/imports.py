"""Put a bundle that was imported among a project's models: what is told of it is what its signed provenance says, not who asks."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors, identity, settings
from mainspring.core.contracts import control
from mainspring.core.models import bundle, signing
from mainspring.core.supply import imported
from mainspring.platform import access, mutation
from mainspring.platform import plane as control_plane
from mainspring.platform.models import store
from mainspring.platform.projects import store as project_store


@dataclass(frozen=True)
class _Begun:
    actor: identity.Actor
    known: sa.Row[Any] | None
    """The same, from an earlier time."""


async def register(
    plane: control_plane.ControlPlane, credential: str, project: str, asked: control.ModelImport
) -> control.ModelVersionView:
    """On record that it was asked for, the bundle verified outside of any transaction, and then what came of it.

    Roles: developer, admin of the project in all environments. Errors: NotFound for the project, and for a bundle that is not here
    or another project's; InvalidRequest for one that was not imported; those of `BundleStore.open`.
    """
    resource = f"model/{project}/{asked.bundle_digest}"

    async def on(connection: AsyncConnection) -> access.Target:
        await project_store.find(connection, project)
        return access.project(project)

    async def intend(connection: AsyncConnection, actor: identity.Actor) -> mutation.Change[_Begun]:
        known = await store.find_import(connection, project, asked.bundle_digest)
        if known is not None and asked.version not in ("", known.result["model_version"]):
            known = None  # one that the registry has by now
        begun = _Begun(actor, known)
        detail = {"version": asked.version}
        return mutation.Change(begun, resource, detail, outcome="requested", is_new=known is None)

    begun = await mutation.mutate(
        plane, credential, action="model.import", resource=resource, on=on, do=intend
    )
    if begun.known is not None:
        return store.view(begun.known)
    try:
        told = await asyncio.to_thread(_told, plane.serving, project, asked)
    except errors.MainspringError as error:
        wire = errors.to_wire(error)

        async def failed(_: AsyncConnection) -> mutation.Change[None]:
            return mutation.Change(None, resource, wire, outcome="failed")

        await mutation.settle(plane, actor=begun.actor.name, action="model.import", do=failed)
        raise

    async def do(connection: AsyncConnection) -> mutation.Change[sa.Row[Any]]:
        row = await store.put_import(connection, project, told, by=begun.actor.name)
        return mutation.Change(row, resource, {"run_id": row.run_id, **told})

    return store.view(await mutation.settle(plane, actor=begun.actor.name, action="model.import", do=do))


def _told(s: settings.ServingSettings, project: str, asked: control.ModelImport) -> dict[str, Any]:
    """What goes on record of the bundle, all of it verified."""
    digest = asked.bundle_digest
    missing = errors.NotFound(
        f"no bundle `{digest}` of `{project}` is where this control API sees bundles (`serving.bundle_dir`); import it there",
        resource="bundle",
        name=digest,
    )
    try:
        opened = bundle.BundleStore(s.bundle_dir).open(digest, signing.TrustedKeys.load(s.trusted_keys_dir))
    except errors.NotFound:
        raise missing from None  # what it would suggest are others' bundles
    if opened.manifest.project != project:
        raise missing
    if opened.origin is None:
        raise errors.InvalidRequest(
            f"bundle `{digest}` does not say how it was built; import the model by `mainspring model import`",
            field="bundle_digest",
        )
    return {
        "bundle_digest": digest,
        "model_name": opened.manifest.name,
        "model_version": asked.version,
        "imported": imported.origin(opened.origin).model_dump(mode="json"),
    }
