"""Keep and show packs of pipelines: who may bring code is asked, and what came is on record by its digest."""

from __future__ import annotations

import asyncio
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors, identity
from mainspring.core.contracts import pipelines
from mainspring.core.pipelines.store import PipelineStore
from mainspring.platform import access, mutation, reads
from mainspring.platform import plane as control_plane
from mainspring.platform.policies import questions
from mainspring.platform.projects import store as project_store


async def put(
    plane: control_plane.ControlPlane,
    credential: str,
    project: str,
    digest: str,
    pack: pipelines.Pack,
    environment: str,
) -> pipelines.PackReceipt:
    """Keep a pack. Its code runs as the project's, so this is the right `pipeline.run`. Safe to repeat.

    Errors: NotFound for the project; CorruptArtifact if it is not what its digest says; Denied kinds.
    """
    plane.issuer.authenticate(credential)
    if pack.digest != digest:
        raise errors.CorruptArtifact(
            f"the pipeline is `{pack.digest}` and was sent as `{digest}`; send it again",
            artifact="pipeline",
            expected=digest,
            got=pack.digest,
        )

    async def on(connection: AsyncConnection) -> access.Target:
        # Looked up in the transaction of the decision: who may not bring code here is on record.
        await project_store.find(connection, project)
        return access.project(project, environment, environment=environment[: questions.MAX_CHARACTERS])

    async def work(_: identity.Actor) -> tuple[bool, dict[str, Any]]:
        is_new = await asyncio.to_thread(store_of(plane, project).keep_pack, pack)
        return is_new, {"is_new": is_new}

    is_new = await mutation.around(
        plane,
        credential,
        action="pipeline.put",
        right="pipeline.run",
        resource=f"pipeline/{project}/{digest}",
        on=on,
        detail={"pipeline": pack.graph.name, "files": sorted(pack.sources), "environment": environment},
        work=work,
    )
    return pipelines.PackReceipt(project=project, digest=digest, pipeline=pack.graph.name, is_new=is_new)


async def show(
    plane: control_plane.ControlPlane, credential: str, project: str, digest: str
) -> pipelines.Pack:
    """Errors: NotFound; InvalidRequest for what is no digest."""
    store = await _store(plane, credential, project)
    return await asyncio.to_thread(store.pack, digest)


async def _store(plane: control_plane.ControlPlane, credential: str, project: str) -> PipelineStore:
    """Where the packs of a project are that exists: its name is looked up before it is part of a path."""
    async with reads.reading(plane, credential, action="pipeline.read") as reader:
        await reader.project(project)
    return store_of(plane, project)


def store_of(plane: control_plane.ControlPlane, project: str) -> PipelineStore:
    """Errors: NotFound where there are no folders here."""
    if plane.state_dir is None:
        raise errors.NotFound(
            "this control API has no folders of data; ask the one beside the workers",
            resource="folders",
            name=project,
        )
    return PipelineStore.of(plane.state_dir, project)
