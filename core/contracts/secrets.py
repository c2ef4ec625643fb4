"""Secrets that a project needs, by where they lie: references only. No value of a secret is sent, kept or shown."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from mainspring.core.contracts.base import Message, Request, Slug, UtcTime

__all__ = ["PLACE", "SecretPut", "SecretUse", "SecretUsed", "SecretView"]

#: OpenBao's place and field, a file that is mounted, or a variable of the process that uses it.
PLACE: Final = r"^(openbao:[a-z0-9][a-z0-9_-]*(/[A-Za-z0-9_.-]+)+#[A-Za-z0-9_-]+|file:(/[A-Za-z0-9_.-]+)+|env:[A-Z][A-Z0-9_]*)$"
_Place = Annotated[
    str,
    Field(
        max_length=300,
        pattern=PLACE,
        examples=["openbao:kv/flights/warehouse#password", "file:/run/secrets/warehouse", "env:WAREHOUSE_PASSWORD"],
    ),
]  # fmt: skip


class SecretPut(Request):
    """Where it lies, and what for."""

    place: _Place
    description: Annotated[str, Field(min_length=1, max_length=500)]


class SecretView(Message):
    """One reference. `version` is its ETag, which a change names as `If-Match`."""

    project: Slug
    name: str
    place: str
    description: str
    version: str
    set_at: UtcTime
    set_by: str


class SecretUse(Request):
    """Asked by the process that does a step of a run, before it reads what the reference leads to."""

    run_id: Annotated[str, Field(min_length=1, max_length=100)]
    step: Annotated[str, Field(min_length=1, max_length=100)]


class SecretUsed(Message):
    """It may be used, and that is on record. Where it lies; what it is is never sent."""

    project: Slug
    name: str
    place: str
