"""Show what the policies answered about reads."""

from __future__ import annotations

import contextlib
import json

from mainspring.core import errors
from mainspring.core.contracts import control
from mainspring.platform import plane as control_plane
from mainspring.platform import reads
from mainspring.platform.decisions import store, writing


async def read(
    plane: control_plane.ControlPlane,
    credential: str,
    *,
    project: str,
    wanted: store.Wanted,
    before: str,
    limit: int,
) -> control.Page:
    """A page, newest first: of the projects whose audit log the caller may read, and of the platform if he may read all.

    Errors: NotFound for the project; InvalidRequest for a cursor that is none.
    """
    place = _place(before)
    plane.issuer.authenticate(credential)
    # What this process has not written yet is answered, too; where it cannot be written, what is there is.
    with contextlib.suppress(errors.DependencyDown):
        await writing.write(plane)
    async with reads.reading(plane, credential, action="audit.read") as reader:
        projects = await reader.projects(project)
        rows = await store.page(
            reader.connection, projects=projects, wanted=wanted, before=place, limit=limit + 1
        )
    items = [store.view(row).model_dump(mode="json") for row in rows[:limit]]
    last = rows[limit - 1] if len(rows) > limit else None
    return control.Page(
        items=items, next="" if last is None else json.dumps([last.first_at, last.decision_key])
    )


def _place(before: str) -> tuple[str, str] | None:
    if not before:
        return None
    with contextlib.suppress(ValueError, TypeError):
        at, key = json.loads(before)
        if isinstance(at, str) and isinstance(key, str) and (at + key).isascii() and "\0" not in at + key:
            return at, key
    raise errors.InvalidRequest(
        f"cursor `{before[:100]}` is not one of ours; send the `next` of a page", field="before"
    )
