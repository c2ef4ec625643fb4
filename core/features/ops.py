"""The typed operations of a transform plan, as declared and as fitted.

A dense column runs its ops in one fixed order, which is the kernel's: impute, clip, log1p, standardise; an
indicator column is made beside it. An id column has one op, the vocabulary. Declared ops hold choices, fitted ones
hold numbers; both are JSON. What each number means to the last bit is written in `mainspring.native.reference`.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

#: Ids that no value has: a row without a value, and a value the training split did not have.
MISSING_ID: Final = 0
UNKNOWN_ID: Final = 1
FIRST_VALUE_ID: Final = 2

Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Op(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Impute(_Op):
    """What a missing value becomes: the training split's mean or median, or a constant."""

    op: Literal["impute"] = "impute"
    method: Literal["mean", "median", "constant"] = "median"
    value: Finite | None = None

    @model_validator(mode="after")
    def _value_with_constant(self) -> Self:
        if (self.method == "constant") != (self.value is not None):
            raise ValueError(
                f"impute by {self.method} and value {self.value} do not go together; give `value` with `constant` only"
            )
        return self


class Clip(_Op):
    """Bounds in the column's own unit, or quantiles of the training split's present values; either side may be open."""

    op: Literal["clip"] = "clip"
    lower: Finite | None = None
    upper: Finite | None = None
    lower_quantile: Annotated[float, Field(ge=0, le=1)] | None = None
    upper_quantile: Annotated[float, Field(ge=0, le=1)] | None = None

    @model_validator(mode="after")
    def _one_bound_a_side(self) -> Self:
        if self.lower is not None and self.lower_quantile is not None:
            raise ValueError("clip has both `lower` and `lower_quantile`; give one")
        if self.upper is not None and self.upper_quantile is not None:
            raise ValueError("clip has both `upper` and `upper_quantile`; give one")
        if (self.lower, self.upper, self.lower_quantile, self.upper_quantile) == (None,) * 4:
            raise ValueError("clip has no bound; give at least one")
        for low, high in ((self.lower, self.upper), (self.lower_quantile, self.upper_quantile)):
            if low is not None and high is not None and low > high:
                raise ValueError(f"clip's lower bound {low} is above its upper bound {high}")
        return self


class Log1p(_Op):
    """log1p(max(x, 0)): a negative value counts as 0."""

    op: Literal["log1p"] = "log1p"


class Standardise(_Op):
    """(x - mean) / deviation of the training split, after the ops before it; a constant column is only centred."""

    op: Literal["standardise"] = "standardise"


class Indicator(_Op):
    """A second output beside the column: 1 where the input is missing, else 0."""

    op: Literal["indicator"] = "indicator"


class Vocabulary(_Op):
    """Values to ids: 0 missing, 1 never seen in training (or rarer than `min_count`), 2 and up the kept values, sorted.

    `max_values` keeps the most frequent; ties go to the smaller value. An empty string is missing.
    """

    op: Literal["vocabulary"] = "vocabulary"
    min_count: Annotated[int, Field(ge=1)] = 1
    max_values: Annotated[int, Field(ge=1)] | None = None


DenseOp = Annotated[Impute | Clip | Log1p | Standardise | Indicator, Field(discriminator="op")]

#: The order in which a dense column's ops run. Indicator reads the raw input, so its place does not matter.
DENSE_ORDER: Final = ("impute", "clip", "log1p", "standardise")


class DenseOutput(_Op):
    """One fitted column of the dense matrix. None bounds are open; an indicator uses none of the numbers."""

    name: str
    source: str
    indicator: bool = False
    fill: Finite = 0.0
    lower: Finite | None = None
    upper: Finite | None = None
    log1p: bool = False
    mean: Finite = 0.0
    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0


class IdOutput(_Op):
    """One fitted id column: `values[i]` has id i + 2."""

    name: str
    source: str
    values: tuple[str, ...] | tuple[int, ...]

    @property
    def size(self) -> int:
        """How many ids there are, missing and unknown included: the rows an embedding table needs."""
        return FIRST_VALUE_ID + len(self.values)
