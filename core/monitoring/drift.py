"""What a drift check answers, free of the engine that computed it."""

from __future__ import annotations

from typing import Literal

from mainspring.core.contracts import base


class ColumnDrift(base.Message):
    """One column. A column has drifted if its values or its share of missing ones moved."""

    name: str
    kind: Literal["numerical", "categorical"]
    psi: float | None
    """Population stability index of the values present; None if a side has none."""
    missing_reference: float
    """Share of rows that are null, NaN or infinite, 0 to 1."""
    missing_current: float
    is_drifted: bool
    reason: str = ""
    """Why it counts as drifted; empty if it does not."""


class DriftReport(base.Message):
    """Current rows against reference rows, column by column, in the reference's order."""

    rows_reference: int
    rows_current: int
    psi_threshold: float
    missing_threshold: float
    share_threshold: float
    columns: tuple[ColumnDrift, ...]

    @property
    def drifted(self) -> tuple[ColumnDrift, ...]:
        return tuple(c for c in self.columns if c.is_drifted)

    @property
    def drifted_share(self) -> float:
        """Of all columns, 0 to 1."""
        return len(self.drifted) / len(self.columns)

    @property
    def is_drifted(self) -> bool:
        """True if at least `share_threshold` of the columns have drifted."""
        return self.drifted_share >= self.share_threshold
