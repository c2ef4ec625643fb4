"""What a project keeps on disks: measured where the files are, charged where usage is kept."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from mainspring.core.contracts.base import Message, Request, Slug, UtcTime

__all__ = ["StorageMeasured", "StoragePlace", "StorageView"]

_Bytes = Annotated[int, Field(ge=0, le=10**18)]


class StoragePlace(StrEnum):
    """What the bytes are of."""

    TABLES = "tables"
    """Tables, features, and what runs make."""
    PIPELINES = "pipelines"
    """Contents and runs of pipelines."""
    JOB_LOGS = "job_logs"
    BUNDLES = "bundles"
    PREDICTIONS = "predictions"
    """The log of what serving answered."""
    READS = "reads"
    """The log of features that were read."""
    PUSHES = "pushes"
    """Pushes that are held back."""
    STREAMS = "streams"
    """States of streams' readers."""
    NOTEBOOKS = "notebooks"


class StorageMeasured(Request):
    """All that one project keeps, as found at one time: a place that is left out has nothing."""

    measured_at: UtcTime
    stored: dict[StoragePlace, _Bytes]
    """Bytes by place."""


class StorageView(Message):
    """What a project kept when it was last measured."""

    project: Slug
    stored: dict[StoragePlace, int]
    total_bytes: int
    measured_at: UtcTime | None
    """None: never, and then nothing is stored as far as is known."""
