"""The privacy budget of a dataset: how much may be told of it in all, and what was told."""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

from pydantic import Field

from mainspring.core.contracts.base import Message, Request, Slug, UtcTime

__all__ = [
    "NANOS",
    "PrivacyBudgetPut",
    "PrivacyBudgetView",
    "PrivacySpend",
    "PrivacySpent",
    "Question",
    "to_nanos",
]

#: Epsilon is kept as whole billionths: sums are exact.
NANOS: Final = 1_000_000_000

Question: TypeAlias = Literal["count", "sum", "mean"]
#: Above 20 nothing is private any more; below a millionth nothing is told.
_Epsilon = Annotated[float, Field(ge=1e-6, le=20, allow_inf_nan=False)]


class PrivacyBudgetPut(Request):
    """How much epsilon may be spent on a dataset, for as long as it is kept. It does not grow back."""

    epsilon: _Epsilon
    reason: Annotated[str, Field(min_length=3, max_length=2000)]


class PrivacySpend(Request):
    """One answer that is to be published: charged before it is computed, whatever becomes of it."""

    epsilon: _Epsilon
    question: Question
    column: Annotated[str, Field(max_length=1000)] = ""
    """Of a sum or mean."""
    spend_key: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{8,100}$")]
    """Charged once, however often it is sent."""
    reason: Annotated[str, Field(min_length=3, max_length=2000)]


class PrivacyBudgetView(Message):
    """A dataset's budget."""

    project: Slug
    dataset: str
    epsilon: float
    spent: float
    left: float
    answers: int
    version: str = ""
    """Of what people set, and not of what is spent: its ETag, which a change names as `If-Match`."""
    set_at: UtcTime
    set_by: str


class PrivacySpent(Message):
    """A charge, and what is left."""

    spend_key: str
    epsilon: float
    left: float


def to_nanos(epsilon: float) -> int:
    """Never less than asked for: a charge is rounded up."""
    return -int(-epsilon * NANOS // 1)
