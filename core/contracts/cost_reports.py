"""What a month cost each receiver: charged, with a share of what is of all, or shown beside the month before."""

from __future__ import annotations

from enum import StrEnum

from mainspring.core.contracts.base import Message, UtcTime
from mainspring.core.contracts.capacity import Capacity

__all__ = ["SHARED", "Chargeback", "ReportLine", "Showback", "ShowbackReceiver", "Split"]

#: The receiver of what is of all, where nobody is charged a share of it.
SHARED = "(shared)"


class Split(StrEnum):
    """By what rule receivers share what is of all."""

    EVEN = "even"
    """Each has the same."""
    PROPORTIONAL = "proportional"
    """As what each has itself; evenly where nobody has anything."""
    NONE = "none"
    """Nobody has a share: it is told apart."""


class ReportLine(Message):
    """What a receiver has of one service, SKU and capacity."""

    receiver: str
    """A project, an environment or a tag's value; `(shared)` for what is of all and not split."""
    is_share: bool = False
    """Of what is of all."""
    service_name: str
    sku_id: str
    capacity: Capacity = Capacity.ON_DEMAND
    is_correction: bool = False
    """Of an earlier month, which was closed when it was put on record."""
    billed_cost: float


class _Report(Message):
    month: str
    """As `2026-11`, in UTC: what is billed in it."""
    by: str
    """`project`, `environment` or `tag:KEY`."""
    currency: str
    begins: UtcTime
    ends: UtcTime
    is_closed: bool
    """Nothing comes to it any more: the same is answered from now on."""
    total: float
    """Of `lines`, and of the ledger's records that are billed in the month, to the billionth."""
    shared: float
    """Of it, what is of all: projects that settings name as shared, use of no environment, or of no such tag."""
    lines: list[ReportLine]


class Chargeback(_Report):
    """What each receiver pays. The lines of `(shared)` are there where nobody has a share, or nobody is there to have one."""

    split: Split


class ShowbackReceiver(Message):
    """A receiver's month beside the one before. Nothing that is of all is in it."""

    receiver: str
    cost: float
    cost_before: float
    """Of the month before."""
    change: float
    forecast: float
    """What the month will have cost at the mean of the last seven days; of a month that is over what it cost."""
    budget: float | None = None
    """Of a project for the month, as it was at its end; None: it has none, or the receiver is no project."""


class Showback(_Report):
    """What each receiver used."""

    total_before: float
    receivers: list[ShowbackReceiver]
