"""The policies in force, and how an organisation changes its own without a restart: whole, on record, or not at all."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mainspring.core import errors
from mainspring.platform import mutation
from mainspring.platform.policies import engine, history, kept

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from mainspring.platform import plane as control_plane

_LOG: Final = logging.getLogger(__name__)

#: How often the folder is looked at, by names, sizes and times. A change counts once two looks saw the same: a set of files is
#: rarely written in one step, and half of one is another policy.
LOOK_SECONDS: Final = 1.0

_State = tuple[tuple[str, int, int, int], ...]


async def begin(plane: control_plane.ControlPlane) -> None:
    """Put on record that another set is in force than the one that decided last. Where nobody has decided yet, the first decision
    says by which."""
    async with plane.database.read() as connection:
        before = await history.last(connection)
    if before not in ("", plane.policies.version):
        detail = {"from": before, "to": plane.policies.version, "when": "start"}
        await _on_record(plane, "done", detail)
    await asyncio.to_thread(_keep, plane, plane.policies)


def _keep(plane: control_plane.ControlPlane, policies: engine.PolicyEngine) -> None:
    """For evidence of what it decides. Without it decisions go on, and a pack says that the set is not here."""
    if plane.state_dir is None:
        return
    try:
        kept.keep(plane.state_dir, policies)
    except OSError as error:
        _LOG.error("policies `%s` are not kept for evidence: %s", policies.version, error)


async def follow(plane: control_plane.ControlPlane, own: Path) -> None:
    """Put what `own` has in force after each change of it. A set that is not usable changes nothing, and is on record once.

    Each request is decided by one set from its first question on: nobody is refused because the set changed meanwhile.
    """
    # Nothing is taken for loaded: the folder may have changed between the load at the start and the first look here.
    done: _State | None = None
    seen: _State | None = None
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        now = await asyncio.to_thread(_state, own)
        if now != done and now == seen:
            try:
                await _load(plane, own)
                done = now
            # The edge of a task that nobody awaits: whatever went wrong is told, and tried again.
            except Exception:  # noqa: BLE001
                _LOG.exception(
                    "policies of `%s` could not be put in force; next try in %.0f s", own, LOOK_SECONDS
                )
        seen = now


async def _load(plane: control_plane.ControlPlane, own: Path) -> None:
    before = plane.policies
    try:
        loaded = await asyncio.to_thread(engine.PolicyEngine.load, own)
    except errors.InvalidSettings as error:
        _LOG.error("policies in force stay: %s", error.message)
        await _on_record(plane, "failed", {"version": before.version, "problem": error.message[:2000]})
        return
    if loaded.version != before.version:
        # On record first: what decides without being on record could not be told from what was there before.
        await _on_record(plane, "done", {"from": before.version, "to": loaded.version})
        plane.chosen.policies = loaded
        await asyncio.to_thread(_keep, plane, loaded)
        _LOG.warning("policies `%s` are in force, in the place of `%s`", loaded.version, before.version)


async def _on_record(plane: control_plane.ControlPlane, outcome: str, detail: dict[str, str]) -> None:
    async def do(_: AsyncConnection) -> mutation.Change[None]:
        return mutation.Change(None, history.RESOURCE, detail, outcome=outcome)

    await mutation.settle(plane, actor="control-api", action=history.ACTION, do=do)


def _state(folder: Path) -> _State:
    """What differs after every change of a file that is read; empty for a folder that is not there."""
    try:
        found = [(path.name, path.stat()) for path in sorted(folder.glob("*.cedar"))]
    except OSError:
        return ()
    return tuple((name, s.st_ino, s.st_size, s.st_mtime_ns) for name, s in found)
