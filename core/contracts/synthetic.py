"""What a synthetic table is worth, and whether it tells of anybody."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mainspring.core.contracts.base import Message

__all__ = ["ColumnFidelity", "SyntheticReport"]

Share = Annotated[float, Field(ge=0, le=1)]


class ColumnFidelity(Message):
    """One column of it beside rows that it was not made of."""

    name: str
    distance: Share
    """The largest difference of shares: of values up to a number, or of a category; missing ones are one."""


class SyntheticReport(Message):
    """Rows that were held back are what both are compared with: nobody can tell more of them than chance tells."""

    rows: int
    fitted_rows: int
    held_rows: int
    seed: int
    identifiers: tuple[str, ...] = ()
    columns: tuple[ColumnFidelity, ...]
    correlation_difference: float
    """Mean absolute difference of ranks' correlations over pairs of columns."""
    target: str = ""
    auc_of_real: float | None = None
    """Of a linear model of the rows that it was made of, on those held back; None without a two-valued target."""
    auc_of_synthetic: float | None = None
    """Of the same model of synthetic rows, on the same."""
    copied: Share
    """Synthetic rows that are, but for identifiers, one of those that it was made of."""
    copied_by_chance: Share
    """The same of the rows held back."""
    nearer_to_fitted: Share
    """Synthetic rows whose nearest real row is one that it was made of, and not one held back; 0.5: no difference."""
    membership_auc: Share
    """How well somebody who has a row tells by the synthetic ones whether it was among those they were made of; 0.5: not at all."""
    problems: tuple[str, ...] = ()
    """Why it must not be given away; none: it may."""

    @property
    def is_private(self) -> bool:
        return not self.problems
