"""What stands for a subject in the control database."""

from __future__ import annotations

import asyncio

from mainspring.core import errors
from mainspring.core.erasure.subjects import SubjectHasher
from mainspring.platform import plane as control_plane


async def of(plane: control_plane.ControlPlane, project: str, entity: str, key: str) -> str:
    """The keyed hash. Errors: Misconfigured where this process has no key for subjects."""
    if plane.protection is None:
        raise errors.Misconfigured(
            "this control API has no `protection` settings; give it the key for subjects"
        )
    key_file = plane.protection.subjects_key
    hasher = await asyncio.to_thread(SubjectHasher.load, key_file)
    return hasher.hash(project, entity, key)
