"""How long a project's logs and reports are kept. Workflow type: `mainspring.EnforceRetention.v1`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from mainspring.core.contracts.base import Fraction, Message, Slug, UtcTime

__all__ = [
    "RETENTION_WORKFLOW",
    "KeptKind",
    "LegalHold",
    "RemovedKind",
    "RetentionOutcome",
    "RetentionRequest",
]

RETENTION_WORKFLOW: Final = "mainspring.EnforceRetention.v1"

_Days = Annotated[float, Field(ge=1, le=36_500)]


class KeptKind(StrEnum):
    """What is kept for a time. Only grows."""

    PREDICTIONS = "predictions"
    """Files of the prediction log, by endpoint."""
    READS = "reads"
    """Files of recorded reads of the online store, by view."""
    SKEW_REPORTS = "skew_reports"
    HELD_BATCHES = "held_batches"
    """Batches of data in quarantine, released ones too."""


class LegalHold(Message):
    """What was written in a time is not removed, however old it gets."""

    kind: KeptKind | None = None
    """None: everything."""
    since: UtcTime
    until: UtcTime | None = None
    """None: and all that comes."""
    reason: Annotated[str, Field(min_length=3, max_length=500)]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.until is not None and self.until < self.since:
            raise ValueError("until lies before since; a hold goes forward in time")
        return self


class RetentionRequest(Message):
    """Remove what is older than it may get. A kind without days is kept for ever."""

    project: Slug
    sample_fraction: Fraction = 1.0
    endpoints: tuple[Slug, ...] = ()
    """Whose predictions; the log is shared by all projects, so they are named."""
    predictions_days: _Days | None = None
    views: tuple[str, ...] = ()
    """Of which views the reads; likewise."""
    reads_days: _Days | None = None
    skew_reports_days: _Days | None = None
    held_batches_days: _Days | None = None
    holds: tuple[LegalHold, ...] = ()
    is_dry: bool = False
    """Count and report, remove nothing."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.predictions_days is not None and not self.endpoints:
            raise ValueError("predictions_days needs endpoints; name them")
        if self.reads_days is not None and not self.views:
            raise ValueError("reads_days needs views; name them")
        return self

    @property
    def days(self) -> dict[KeptKind, float]:
        """Of each kind that is not kept for ever."""
        found = {kind: getattr(self, f"{kind}_days") for kind in KeptKind}
        return {kind: days for kind, days in found.items() if days is not None}


class RemovedKind(Message):
    """What became of one kind; bytes are of what was removed."""

    kind: KeptKind
    removed: int
    bytes: int
    held: int
    """Old enough, and kept by a hold."""
    kept: int


class RetentionOutcome(Message):
    """What a run removed, or would have."""

    project: Slug
    is_dry: bool
    kinds: tuple[RemovedKind, ...]
    report_path: str
    """The name of everything that was removed or held, on the worker's machine."""
