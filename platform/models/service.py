"""Show which models there are, and what a bundle says of itself where it is at hand."""

from __future__ import annotations

import asyncio
from typing import Any

from mainspring.core import errors, settings
from mainspring.core.contracts import control, evaluation
from mainspring.core.models import bundle, signing, withdrawn
from mainspring.core.protection import showing
from mainspring.platform import plane as control_plane
from mainspring.platform import reads
from mainspring.platform.models import store
from mainspring.platform.protection import masking_service


async def read(
    plane: control_plane.ControlPlane, credential: str, *, project: str, before: str, limit: int
) -> control.Page:
    """A page of versions, newest first; a version that was trained twice is there twice. Errors: NotFound for `project`."""
    async with reads.reading(plane, credential, action="run.read") as reader:
        projects = await reader.projects(project)
        rows = await store.page(reader.connection, projects=projects, before=before, limit=limit + 1)
    return control.Page(
        items=[store.view(row).model_dump(mode="json") for row in rows[:limit]],
        next=rows[limit - 1].run_id if len(rows) > limit else "",
    )


async def show(
    plane: control_plane.ControlPlane, credential: str, project: str, digest: str
) -> control.ModelView:
    """Errors: NotFound, for the project, too. A bundle that cannot be opened is part of the answer, with the reason."""
    async with reads.reading(plane, credential, action="run.read") as reader:
        await reader.project(project)
        row = await store.find(reader.connection, project, digest)
        shown = await masking_service.shown_to(
            plane, reader, project, row.environment if row is not None else ""
        )
    if row is None:
        raise errors.NotFound(
            f"no training or import of `{project}` made bundle `{digest}`; see the project's models",
            resource="model",
            name=digest,
        )
    said = await asyncio.to_thread(_said, plane.serving, digest)
    if "card" in said:
        found = evaluation.Evaluation.model_validate(row.result.get("evaluation") or {})
        said["card"] = showing.card(said["card"], found, shown)
    return control.ModelView.model_validate({**store.view(row).model_dump(), **said})


def _said(s: settings.ServingSettings, digest: str) -> dict[str, Any]:
    """What the bundle says of itself, all of it verified, or why it cannot be asked."""
    mark = withdrawn.find(s.bundle_dir, digest)
    found: dict[str, Any] = {"withdrawn": mark.reason if mark else ""}
    try:
        trust = signing.TrustedKeys.load(s.trusted_keys_dir)
        # To look at, not to use: a withdrawn one has a card still.
        opened = bundle.BundleStore(s.bundle_dir).open(digest, trust, even_withdrawn=True)
        card = opened.read(bundle.CARD).decode(errors="replace")
    except errors.MainspringError as error:
        return {**found, "problem": error.message}
    said = opened.manifest
    return {
        **found,
        "kind": said.kind,
        "card": card,
        "signer": opened.signer,
        "input_columns": {one.name: one.dtype for one in said.input_columns},
        "request_columns": {one.name: one.dtype for one in said.request_columns},
        "views": [one.name for one in said.service.views],
        "files": {name: entry.bytes for name, entry in said.files.items()},
        "data_digest": said.data_digest,
        "code_version": said.code_version,
    }
