"""What a project may have at once, whatever it has to spend."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, TypeAlias

from pydantic import Field

from mainspring.core.contracts.base import Message, Request, Slug, UtcTime

__all__ = ["Quota", "QuotaLine", "QuotaPut", "QuotaView"]

_Limit: TypeAlias = Annotated[int, Field(ge=0, le=1_000_000)] | None


class Quota(StrEnum):
    """What is counted."""

    OPEN_RUNS = "max_open_runs"
    WORKERS = "max_workers"
    ENDPOINTS = "max_endpoints"
    STORAGE = "max_storage_mib"


class QuotaPut(Request):
    """A project's own limits, all of them: what is null or left out is as the platform's settings (`quotas.*`) say."""

    max_open_runs: _Limit = None
    """Runs that have not ended. What takes something out of service is not counted and not refused."""
    max_workers: _Limit = None
    """Cores of one run: the workers of a training, study or batch scoring; of a pipeline, what its largest step asks for."""
    max_endpoints: _Limit = None
    """Names of endpoints that it has."""
    max_storage_mib: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    """MiB on disks: who has them begins nothing that makes files. What is under way goes on."""


class QuotaLine(Message):
    """One quota."""

    limit: int | None
    """In force; None: there is none."""
    is_own: bool
    """Set for the project; False: as the platform's settings say."""
    used: int
    """Taken by now; of `max_workers`, what a training, study or batch scoring takes; of `max_storage_mib`, what was measured last."""


class QuotaView(Message):
    """A project's quotas. `version` is of what was set: its ETag, which a change names as `If-Match`."""

    project: Slug
    quotas: dict[Quota, QuotaLine]
    version: str
    set_at: UtcTime | None = None
    """None: nobody has set any."""
    set_by: str = ""
