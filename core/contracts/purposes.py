"""What a project's data may be used for: what definitions and a person say of an entry, and what follows from what it is made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mainspring.core.contracts.base import Message, Request, Slug, UtcTime
from mainspring.core.contracts.masking import PurposeWord

__all__ = ["PurposesPut", "PurposesView"]


class PurposesPut(Request):
    """A person's word on one entry. It takes the place of the word before."""

    purposes: Annotated[list[PurposeWord], Field(min_length=1, max_length=50)]
    """All of them: for whatever is not named it may not be used."""
    reason: Annotated[str, Field(min_length=3, max_length=2000)]


class PurposesView(Message):
    """What an entry of the catalog may be used for."""

    project: Slug
    entry: str
    purposes: tuple[str, ...] | None
    """In force: what all of `bound_by` have in common. None: nobody has said anything, and it may be used for whatever the
    policies let it be."""
    bound_by: tuple[str, ...] = ()
    """The entries that something was said of: this one, or one that it is made of."""
    declared: tuple[str, ...] | None = None
    """By the entry's own definition, the tag `purposes`; None: it has none."""
    decided: tuple[str, ...] | None = None
    """By a person; None: nobody has decided."""
    decided_by: str = ""
    decided_at: UtcTime | None = None
    reason: str = ""
    version: str
    """Of what a person said: its ETag."""
