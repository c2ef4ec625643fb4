"""The private keys of a producer of bundles while they change. There is one that signs at every moment, whatever crashes.

signing.key            signs
signing.key.next       a rotation's new key, before it signs
signing.key.previous   the one before, while both are trusted: what devices read is signed by both
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mainspring.core import durable, errors
from mainspring.core.models import signing

__all__ = ["Turn", "begin", "forget_previous", "previous", "replace", "switch"]


@dataclass(frozen=True)
class Turn:
    """From which key to which, by id."""

    old: str
    new: str


def begin(path: Path, trusted: Path) -> Turn:
    """The new key is there and published; nothing signs by it yet. A rotation that did not end goes on instead.

    Errors: MissingTool where no key signs yet; Misconfigured for a file that is no private key of ours.
    """
    current, before = signing.SigningKey.load(path), previous(path)
    if before is not None and before.key_id != current.key_id:
        return Turn(before.key_id, current.key_id)
    new = signing.ensure_key(_next(path))
    new.publish(trusted)
    return Turn(current.key_id, new.key_id)


def switch(path: Path, turn: Turn) -> bool:
    """The new key signs, and the old one lies beside it; False where that was so before. Errors: Conflict if other keys are there."""
    current = signing.SigningKey.load(path)
    if current.key_id == turn.new:
        return False
    fresh = _load(_next(path))
    if current.key_id != turn.old or fresh is None or fresh.key_id != turn.new:
        raise errors.Conflict(
            f"`{path.name}` or `{_next(path).name}` was changed while its rotation ran; start the rotation again",
            resource="key",
            name=turn.new,
        )
    _previous(path).unlink(missing_ok=True)
    os.link(path, _previous(path))
    # In one step: at no moment is there no key, or the next training would make itself one.
    _next(path).replace(path)
    durable.sync_folder(path.parent)
    return True


def replace(path: Path, denied: str, trusted: Path) -> str:
    """Another key signs if the denied one does, and no file has the denied one any more. The id of the key that signs now;
    empty where none does on this machine.
    """
    for one in (_next(path), _previous(path)):
        found = _load(one)
        if found is not None and found.key_id == denied:
            one.unlink()
    current = _load(path)
    if current is None or current.key_id != denied:
        return "" if current is None else current.key_id
    new = signing.ensure_key(_next(path))
    new.publish(trusted)
    _next(path).replace(path)
    durable.sync_folder(path.parent)
    return new.key_id


def previous(path: Path) -> signing.SigningKey | None:
    """The key that signed before, while it is still trusted."""
    return _load(_previous(path))


def forget_previous(path: Path) -> None:
    """After its withdrawal; again is no error."""
    _previous(path).unlink(missing_ok=True)


def _load(path: Path) -> signing.SigningKey | None:
    try:
        return signing.SigningKey.load(path)
    except errors.MissingTool:
        return None


def _next(path: Path) -> Path:
    return path.with_name(path.name + ".next")


def _previous(path: Path) -> Path:
    return path.with_name(path.name + ".previous")
