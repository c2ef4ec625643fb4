"""What an evidence pack is asked for, and what is answered."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from mainspring.core.contracts.base import Digest, Message, Request, UtcTime

__all__ = ["EvidenceCreate", "EvidencePack"]


class EvidenceCreate(Request):
    """Of which model and time; `since` belongs to it and `until` does not."""

    model: str = ""
    """Its name in the registry; empty: the project's own."""
    since: UtcTime
    until: UtcTime

    @model_validator(mode="after")
    def _is_a_time(self) -> Self:
        if self.since >= self.until:
            raise ValueError("`until` must be later than `since`")
        return self


class EvidencePack(Message):
    """A signed zip file."""

    digest: Digest
    """Of its manifest, which has every file's: what is on record of the export."""
    files: int
    content: str
    """The zip file in base64."""
