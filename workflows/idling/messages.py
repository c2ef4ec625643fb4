"""What StopIdle says to its activities, by name."""

from __future__ import annotations

from typing import Final

from mainspring.core.contracts.base import Message, UtcTime
from mainspring.core.contracts.idling import IdleEndpoint, IdleEvent, StoppedEndpoint

LOOK: Final = "mainspring.idling.look.v1"
NOTE: Final = "mainspring.idling.note.v1"
REST: Final = "mainspring.idling.rest.v1"


class Looked(Message):
    endpoints: list[IdleEndpoint] = []
    """Those that are in traffic now."""


class Note(Message):
    endpoint: str
    event: IdleEvent


class Rest(Message):
    endpoint: str
    idle_since: UtcTime


class Rested(Message):
    stopped: StoppedEndpoint
