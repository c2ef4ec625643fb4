"""What the retirement says to its activities, by name."""

from __future__ import annotations

from typing import Final

from mainspring.core.contracts.base import Message, Slug
from mainspring.core.contracts.retiring import RetireRequest

LOOK: Final = "mainspring.retiring.look.v1"
MOVE: Final = "mainspring.retiring.move.v1"
WITHDRAW: Final = "mainspring.retiring.withdraw.v1"
UNREGISTER: Final = "mainspring.retiring.unregister.v1"


class Looked(Message):
    """Where the bundle is in traffic."""

    stable_on: list[str] = []
    shadow_on: list[str] = []


class Move(Message):
    """Take the bundle out of one endpoint's traffic."""

    request: RetireRequest
    endpoint: Slug


class Moved(Message):
    """`version` is in force; `changed` is False where the bundle had left before."""

    version: int
    changed: bool


class Withdrawn(Message):
    """Whose mark is in the store: that of an earlier run stays."""

    by: str
    reason: str


class Unregistered(Message):
    """`version` is empty where the registry has no such version."""

    version: str = ""
    aliases: list[str] = []
