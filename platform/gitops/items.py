"""One thing of a plan: as it is, as it is wanted, and what is to be done about it."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

from mainspring.core.contracts.base import Message

__all__ = ["ACTING", "Action", "Item"]


class Action(StrEnum):
    CREATE = "create"
    CHANGE = "change"
    REMOVE = "remove"
    RUN = "run"
    NONE = "none"
    EXTRA = "extra"
    """There is one, and the document does not name it."""
    FAILED = "failed"
    """It was brought about and did not end well; it is not tried again by itself."""


ACTING: Final = (Action.CREATE, Action.CHANGE, Action.REMOVE, Action.RUN)


class Item(Message):
    """One thing, as it is and as it is wanted."""

    what: str
    action: Action
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    says: str = ""
    version: str = ""
    """Of what there is: an apply changes this, and nothing that somebody has made of it since."""
