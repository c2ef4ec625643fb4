"""Expectations: typed claims about a batch, declared beside a source or a view, named by the digest of their JSON.

>>> flights = Suite(dataset="flights", expectations=(
...     Rows(),
...     NotNull(columns=("carrier",)),
...     Range(column="arr_delay", low=-180, high=2880),
...     Share(says="what arrived had departed", where="arr_delay IS NULL OR dep_delay IS NOT NULL"),
... ))
>>> [e.says for e in flights.expectations][2]
'arr_delay within [-180, 2880]'

A claim that fails with `fatal=True` refuses the batch; otherwise it is a warning. Shares are of 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mainspring.core import canonical

__all__ = [
    "PSI_FATAL", "PSI_WARNING", "Columns", "Distribution", "Expectation", "NotNull", "Range", "References", "Rows", "Share",
    "Suite", "Unique",
]  # fmt: skip

#: Population stability index between a batch and the last accepted one. Credit scoring has read it so for decades
#: (Siddiqi, Credit Risk Scorecards, 2006): below 0.1 nothing moved, above 0.25 it is another population. The
#: Kolmogorov-Smirnov test is not used: on a million rows its p-value refuses what nobody would see, and it needs the
#: sorted values of the old batch where this needs ten counts.
PSI_WARNING: Final = 0.1
PSI_FATAL: Final = 0.25

_Share = Annotated[float, Field(ge=0, le=1)]
_Names = Annotated[tuple[str, ...], Field(min_length=1)]


class _Claim(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    fatal: bool = True


class Columns(_Claim):
    """Each column is there with exactly that Polars type, such as `Int32` or `Datetime('us', 'UTC')`; others may be too.

    Where it fails, nothing else is asked of the batch: what is not there cannot be compared.
    """

    check: Literal["columns"] = "columns"
    types: Mapping[str, str] = Field(min_length=1)

    @property
    def says(self) -> str:
        return "columns and types"

    @property
    def columns(self) -> tuple[str, ...]:
        return ()


class Rows(_Claim):
    """How many rows a batch has."""

    check: Literal["rows"] = "rows"
    at_least: int = Field(default=1, ge=0)
    at_most: int | None = None

    @property
    def says(self) -> str:
        return "there are rows"

    @property
    def columns(self) -> tuple[str, ...]:
        return ()


class NotNull(_Claim):
    """At most `at_most` of the rows have a null (or NaN) in one of the columns."""

    check: Literal["not_null"] = "not_null"
    columns: _Names
    at_most: _Share = 0.0

    @property
    def says(self) -> str:
        return f"{_listed(self.columns)} not null"


class Range(_Claim):
    """At most `at_most` of the rows have a value outside `low` to `high`, both included. Null and NaN are not values."""

    check: Literal["range"] = "range"
    column: str
    low: float
    high: float
    at_most: _Share = 0.0

    @property
    def says(self) -> str:
        return f"{self.column} within [{self.low:g}, {self.high:g}]"

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)


class Unique(_Claim):
    """No two rows have the same values there; nulls are equal. Costs the memory of the distinct values."""

    check: Literal["unique"] = "unique"
    columns: _Names

    @property
    def says(self) -> str:
        return f"{_listed(self.columns)} is unique"


class Share(_Claim):
    """Of the rows for which `where` (a Polars SQL condition) is true or false, it is true for that share."""

    check: Literal["share"] = "share"
    says: str = Field(min_length=1)
    where: str = Field(min_length=1)
    at_least: _Share = 1.0
    at_most: _Share = 1.0

    @property
    def columns(self) -> tuple[str, ...]:
        return ()


class References(_Claim):
    """At most `at_most` of the rows have values in `columns` that no row of dataset `of` has in `to` (default: the same).

    A row with a null among them refers to nothing and passes, unless `null_passes` is False.
    """

    check: Literal["references"] = "references"
    columns: _Names
    of: str
    to: tuple[str, ...] = ()
    at_most: _Share = 0.0
    null_passes: bool = True

    @property
    def says(self) -> str:
        return f"{_listed(self.columns)} is in {self.of}"

    @property
    def referred(self) -> tuple[str, ...]:
        return self.to or self.columns

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        if len(self.referred) != len(self.columns):
            raise ValueError(f"{list(self.columns)} refers to {list(self.to)}: give one column for each")
        return self


class Distribution(_Claim):
    """The column's values, missing ones included, are spread as in the last accepted batch: PSI of at most `at_most`.

    Numbers in ten bins of equal count of that batch, anything else by its 20 most frequent values. A batch of fewer
    than `min_rows` rows is not compared: of 200 rows drawn from the very same population PSI is 0.05 on average (nine
    degrees of freedom over rows), of 50 it is 0.2.
    """

    check: Literal["distribution"] = "distribution"
    column: str
    at_most: float = Field(default=PSI_FATAL, gt=0)
    min_rows: int = Field(default=200, ge=1)

    @property
    def says(self) -> str:
        return f"{self.column} is spread as before"

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)


Expectation: TypeAlias = Columns | Rows | NotNull | Range | Unique | Share | References | Distribution


class Suite(BaseModel):
    """All that is expected of one dataset's batches."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str = Field(min_length=1)
    expectations: tuple[Annotated[Expectation, Field(discriminator="check")], ...]

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        names = [self.name(e) for e in self.expectations]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"expected twice: {twice}")
        return self

    def name(self, expectation: Expectation) -> str:
        """How a report calls it."""
        return f"{self.dataset}: {expectation.says}"

    @property
    def digest(self) -> str:
        return canonical.digest(self.model_dump(mode="json"))


def _listed(columns: tuple[str, ...]) -> str:
    return columns[0] if len(columns) == 1 else f"({', '.join(columns)})"
