"""How long a project's logs, reports and events of lineage are kept. Workflow type: `mainspring.EnforceRetention.v1`."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from mainspring.core.contracts.base import Digest, Fraction, Message, Slug, UtcTime

__all__ = [
    "RETENTION_WORKFLOW",
    "KeptKind",
    "LegalHold",
    "RemovedKind",
    "RetentionOutcome",
    "RetentionRecord",
    "RetentionRecorded",
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
    PIPELINE_CONTENTS = "pipeline_contents"
    """What runs of pipelines made: their folders, answers in the cache, and contents that neither needs any more."""
    LINEAGE_EVENTS = "lineage_events"
    """What jobs told of data, in the control database. The graph that was made of it stays."""
    JOB_LOGS = "job_logs"
    """What jobs of runs wrote, kept for when Ray has forgotten them: a run's as a whole."""


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

    def covers(self, kind: KeptKind, first: datetime, last: datetime) -> bool:
        """Was anything of this kind that was written from `first` to `last` written in its time."""
        if self.kind is not None and self.kind is not kind:
            return False
        return self.since <= last and (self.until is None or first <= self.until)


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
    pipeline_contents_days: _Days | None = None
    """A run that has not ended, and one that is younger, keep all that they refer to."""
    lineage_events_days: _Days | None = None
    """By when a job told last. What is in service was made by jobs whose events stay."""
    job_logs_days: _Days | None = None
    """By when a job of the run ended last."""
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


class RetentionRecord(Message):
    """What a retention is about to remove, for the record; what it has of lineage the control API removes in the same step."""

    event_key: Annotated[str, Field(min_length=1, max_length=200)]
    kinds: Annotated[tuple[RemovedKind, ...], Field(max_length=100)] = ()
    """Of files."""
    report_path: Annotated[str, Field(max_length=4096)] = ""
    report_digest: Digest | None = None
    lineage_before: UtcTime | None = None
    """Events of jobs that told last before then; None: no lineage goes."""
    holds: Annotated[tuple[LegalHold, ...], Field(max_length=1000)] = ()
    in_service: Annotated[tuple[str, ...], Field(max_length=10_000)] = ()
    """Versions whose whole descent keeps its events."""
    is_dry: bool = False


class RetentionRecorded(Message):
    """What of lineage is gone, or would be."""

    lineage: RemovedKind | None = None
    has_more: bool = False
    """So much is removed at once that others can write between; ask again, with another key."""


class RetentionOutcome(Message):
    """What a run removed, or would have."""

    project: Slug
    is_dry: bool
    kinds: tuple[RemovedKind, ...]
    report_path: str
    """The name of everything that was removed or held, on the worker's machine."""
