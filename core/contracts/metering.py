"""What serving used: whole units by model version and caller, so that any grouping adds up to the last unit."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mainspring.core.contracts.base import Digest, Message, Request, Slug, UtcTime
from mainspring.core.contracts.capacity import Capacity

#: Sums of nine million such records fit 63 bits.
_Count = Annotated[int, Field(ge=0, le=10**12)]


class ServingUsage(Message):
    """What one model version used for one caller in one window of one serving process."""

    usage_key: Annotated[str, Field(min_length=1, max_length=200)]
    """Idempotency key: process, window, model version and caller."""
    project: Slug
    environment: str = "dev"
    endpoint: Slug
    model_version: Digest
    caller: Annotated[str, Field(min_length=1, max_length=200)]
    """The authenticated actor who asked."""
    requests: _Count
    predictions: _Count
    """Rows scored."""
    cpu_microseconds: _Count
    """CPU time of the process that these requests took."""
    started_at: UtcTime
    ended_at: UtcTime
    capacity: Capacity = Capacity.ON_DEMAND
    """Of the nodes that the process runs on."""


class ServingUsageBatch(Request):
    """Records of one report: all are kept, or none is."""

    records: Annotated[list[ServingUsage], Field(min_length=1, max_length=1000)]


class ServingUsageReceipt(Message):
    """How many came, and how many were not known before."""

    received: int
    new: int


class Metered(Message):
    """A sum of serving usage; `cost` in the price book's currency."""

    requests: int
    predictions: int
    cpu_microseconds: int
    cost: float


class ServingUsageSummary(Message):
    """Serving usage added up over one key: the groups add up to the total to the last unit."""

    group_by: str
    currency: str
    total: Metered
    groups: dict[str, Metered]
