"""What tells of persons: findings of a detector, and what a person decided about them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from mainspring.core.contracts.base import Message, Request, Slug, UtcTime
from mainspring.core.contracts.catalog import Classification

__all__ = [
    "CERTAIN_ENOUGH", "KINDS", "ClassificationDecision", "ClassificationState", "ClassificationView", "ColumnFinding",
    "Findings", "FindingsReceipt", "PiiKind",
]  # fmt: skip

#: What a column may hold of a person. `special`: what GDPR article 9 names and is not health, such as religion.
PiiKind: TypeAlias = Literal[
    "address", "bank_account", "birth_date", "card_number", "credential", "device", "email", "gender", "health",
    "ip_address", "location", "national_id", "person_key", "person_name", "phone", "postcode", "special",
]  # fmt: skip

#: What a finding is classified as until a person says otherwise.
KINDS: Final[dict[PiiKind, Classification]] = {
    "address": "confidential",
    "bank_account": "restricted",
    "birth_date": "confidential",
    "card_number": "restricted",
    "credential": "restricted",
    "device": "confidential",
    "email": "confidential",
    "gender": "confidential",
    "health": "restricted",
    "ip_address": "confidential",
    "location": "confidential",
    "national_id": "restricted",
    "person_key": "confidential",
    "person_name": "confidential",
    "phone": "confidential",
    "postcode": "confidential",
    "special": "restricted",
}

#: An open finding of this confidence keeps its dataset or view out of the catalog until a person has decided.
CERTAIN_ENOUGH: Final = 0.6

_Name = Annotated[str, Field(min_length=1, max_length=1000)]


class ColumnFinding(Request):
    """A column that may tell of persons. It has no value of any row: reasons are counts and words."""

    column: _Name
    kind: PiiKind
    classification: Classification
    confidence: Annotated[float, Field(ge=0, le=1)]
    reasons: Annotated[tuple[Annotated[str, Field(max_length=200)], ...], Field(max_length=8)] = ()
    sampled_rows: Annotated[int, Field(ge=0)] = 0
    """Rows with a value that were looked at; 0: its name alone."""


class Findings(Request):
    """What a detector found in one entry of the catalog, or one that is to be in it."""

    entry: _Name
    findings: Annotated[list[ColumnFinding], Field(max_length=2000)]

    @model_validator(mode="after")
    def _once(self) -> Self:
        names = [finding.column for finding in self.findings]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"column `{twice[0]}` is given twice; send each once")
        return self


class FindingsReceipt(Message):
    """`changed`: findings that are new, surer than before, or open again; `waiting`: of the entry, for a person."""

    project: Slug
    entry: str
    changed: int
    waiting: int


class ClassificationState(StrEnum):
    """What became of a finding."""

    OPEN = "open"
    CONFIRMED = "confirmed"
    REJECTED = "rejected"


class ClassificationDecision(Request):
    """A person's word on one column: it tells of persons, or it does not."""

    entry: _Name
    column: _Name
    confirm: bool
    kind: PiiKind | None = None
    """Another one than the detector's."""
    classification: Literal["internal", "confidential", "restricted"] | None = None
    """Another one than the detector's; never public: what tells of persons is not."""
    reason: Annotated[str, Field(max_length=2000)] = ""

    @model_validator(mode="after")
    def _says_why(self) -> Self:
        if not self.confirm and not self.reason.strip():
            raise ValueError("a rejection needs a `reason`; say why the column tells of nobody")
        if not self.confirm and (self.kind or self.classification):
            raise ValueError("a rejected column has no `kind` and no `classification`; leave them out")
        return self


class ClassificationView(Message):
    """A finding, and what was decided about it."""

    project: Slug
    entry: str
    column: str
    kind: PiiKind
    classification: Classification
    confidence: float
    reasons: tuple[str, ...] = ()
    sampled_rows: int = 0
    state: ClassificationState
    found_at: UtcTime
    found_by: str
    decided_at: UtcTime | None = None
    decided_by: str = ""
    decision_reason: str = ""
