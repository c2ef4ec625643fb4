"""What a bundle declares of its inputs: who they tell of, what training saw, and what to do with anything else."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from mainspring.core.contracts.base import Message
from mainspring.core.contracts.catalog import Classification

#: `accept`: silently; `warn`: counted and logged; `clip`: to the nearest bound, counted; `refuse`: the caller's mistake.
Action: TypeAlias = Literal["accept", "warn", "clip", "refuse"]

#: The optional file of a bundle that holds an :class:`InputPolicy`; listed in the manifest, so it is signed with it.
FILE = "input_policy.json"

_Bound = Annotated[float, Field(allow_inf_nan=False)]


class ColumnPolicy(Message):
    """One column by the name that the model knows it by: a key, a request column, `view__field`, or a derived one."""

    is_pii: bool = False
    """Logs hold a token of it."""
    classification: Classification = ""
    low: _Bound | None = None
    """The smallest value of the training rows, in the column's own unit; None: nobody measured it."""
    high: _Bound | None = None
    out_of_range: Action = "warn"
    missing: Literal["accept", "refuse"] = "accept"
    """Whether a row sent without a value is answered. An entity that has no features is not a missing value."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"`low` {self.low:g} is above `high` {self.high:g}")
        return self


class InputPolicy(Message):
    """The default accepts and refuses what a bundle without one does."""

    schema_version: Literal[1] = 1
    columns: dict[str, ColumnPolicy] = {}
    infinite: Literal["refuse", "missing"] = "refuse"
    """What an infinity that a caller sends is. NaN is a missing value in every protocol that can carry it."""
    unknown_fields: Literal["refuse", "ignore"] = "refuse"

    @property
    def private(self) -> frozenset[str]:
        """The columns that tell of a person."""
        return frozenset(name for name, column in self.columns.items() if column.is_pii)
