"""Notebook workspaces, as the control API hears of them: who starts, extends and stops one, and how it ended."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mainspring.core.contracts.base import Message, Request, Slug

__all__ = ["NotebookChange", "NotebookEnd", "NotebookRecorded"]

_Id = Annotated[str, Field(pattern=r"^notebook_[0-9a-hjkmnp-tv-z]{26}$")]


class NotebookChange(Request):
    """Asked before it is done. `hours`: of a start, how long it may run; of an extension, how much longer; of a stop, none."""

    notebook_id: _Id
    change: Literal["start", "extend", "stop"]
    cores: Annotated[int, Field(ge=0, le=100_000)] = 0
    memory_gib: Annotated[float, Field(ge=0, le=1_000_000)] = 0.0
    hours: Annotated[float, Field(ge=0, le=8_760)] = 0.0


class NotebookEnd(Request):
    """That it has ended, and why; told once."""

    notebook_id: _Id
    reason: Annotated[str, Field(min_length=1, max_length=500)]


class NotebookRecorded(Message):
    """It is on record."""

    project: Slug
    notebook_id: str
    action: str
