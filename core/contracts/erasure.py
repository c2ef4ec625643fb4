"""Right to erasure: what is asked for, what was found and erased, and what proves it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from mainspring.core.contracts.base import Digest, Message, Request, Slug, UtcTime

__all__ = [
    "CertifiedPlace",
    "ErasureCertificate",
    "Found",
    "Kept",
    "LegalGround",
    "OnlineRows",
    "OnlineSubject",
    "TrainedModel",
]

#: A column's name, as entities and columns of tables have them.
ColumnName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
SubjectKey = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=512)]


class LegalGround(StrEnum):
    """Why somebody's data is erased: GDPR, article 17(1), (a) to (f). Only grows."""

    NO_LONGER_NEEDED = "no-longer-needed"
    CONSENT_WITHDRAWN = "consent-withdrawn"
    OBJECTION = "objection"
    UNLAWFUL = "unlawful"
    LEGAL_DUTY = "legal-duty"
    CHILD = "child"


class Found(Message):
    """What one place has of a subject."""

    place: str
    rows: int = 0
    items: int = 0
    """Files, objects or views that the rows are in."""
    datasets: list[Digest] = []
    """Digests of the published folders among them: what models say that they were trained on."""


class CertifiedPlace(Message):
    """One place in a certificate. A place that had nothing is there, too: it was read."""

    place: str
    rows_before: int
    items_before: int
    rows_after: int
    """Read again after all places were erased."""


class OnlineSubject(Request):
    """One subject as an online store knows it."""

    views: Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(max_length=1000)]
    columns: Annotated[list[ColumnName], Field(min_length=1, max_length=100)]
    """Names that the key may have among a view's join keys."""
    key: SubjectKey


class OnlineRows(Message):
    """By view, how many rows; views that are not there have none."""

    rows: dict[str, int]


class TrainedModel(Message):
    """A model that learned from the subject's rows, or may have. Weights are not erased."""

    bundle_digest: Digest
    name: str
    basis: Literal["lineage", "unknown"]
    """`lineage`: its data had the subject. `unknown`: its data is not there any more, so nobody can say."""
    what_to_do: str


class Kept(Message):
    """What stays, deliberately."""

    what: str
    ground: str


class ErasureCertificate(Message):
    """What a signed certificate says. It has no key of a subject, but its keyed hash."""

    erasure_id: str
    project: Slug
    entity: ColumnName
    subject_hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """HMAC-SHA256 by the organisation's key for subjects: nobody without that key can try out who it is."""
    ground: LegalGround
    requested_by: str
    requested_at: UtcTime
    approved_by: str
    approved_at: UtcTime
    erased_at: UtcTime
    places: list[CertifiedPlace]
    models: list[TrainedModel] = []
    kept: list[Kept] = []

    @property
    def rows_erased(self) -> int:
        return sum(place.rows_before for place in self.places)
