"""The data keys of a project, as they are shown and changed. No key is in any of it."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from mainspring.core.contracts.base import Message, Request, Slug

__all__ = ["CHANGES", "Change", "KeyView", "KeysetChange", "KeysetView"]

#: `rotate`: the ring gets a new version, and wraps the data keys by it. `rewrap`: the latter alone. `add`: a new data key
#: seals from now on. `forget`: a data key is destroyed, and so is what it still seals.
Change: TypeAlias = Literal["rotate", "rewrap", "add", "forget"]
CHANGES: tuple[Change, ...] = ("rotate", "rewrap", "add", "forget")


class KeyView(Message):
    """One data key: never the key."""

    id: str
    made_at: str
    wrapped_by: str
    """The ring's version that it is wrapped by."""
    is_current: bool


class KeysetView(Message):
    """A project's data keys, the one that seals first."""

    project: Slug
    ring: str
    keys: tuple[KeyView, ...] = ()


class KeysetChange(Request):
    """What is to be done with a project's data keys."""

    change: Change
    key_id: Annotated[str, Field(max_length=40)] = ""
    """Of `forget`."""
    reason: Annotated[str, Field(max_length=2000)] = ""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.change == "forget") != bool(self.key_id):
            raise ValueError("`key_id` names what is to be forgotten; give it for `forget` alone")
        if self.change == "forget" and not self.reason.strip():
            raise ValueError("what a forgotten key sealed is lost; say why as `reason`")
        return self
