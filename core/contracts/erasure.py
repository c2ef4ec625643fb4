"""Right to erasure: what is asked for, what was found and erased, and what proves it. Workflow type: `mainspring.EraseSubject.v1`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from mainspring.core.contracts.base import Digest, Message, Request, Slug, UtcTime
from mainspring.core.contracts.training import Stage, StepReport

__all__ = [
    "ERASE_WORKFLOW",
    "CertifiedPlace",
    "EraseRequest",
    "EraseResult",
    "ErasureCertificate",
    "ErasureCreate",
    "ErasureDecision",
    "ErasureReport",
    "ErasureState",
    "ErasureView",
    "Found",
    "Kept",
    "LegalGround",
    "OnlineRows",
    "OnlineSubject",
    "TrainedModel",
    "Uncovered",
    "check_reason",
]

ERASE_WORKFLOW: Final = "mainspring.EraseSubject.v1"

_Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=1000)]
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


class Uncovered(Message):
    """What may have the subject and was not searched, or is not ours to change. Never a key."""

    what: str
    why: str
    until: UtcTime | None = None
    """When it is removed by itself; None: nobody has said."""


class Found(Message):
    """What one place has of a subject."""

    place: str
    rows: int = 0
    items: int = 0
    """Files, objects or views that the rows are in."""
    datasets: list[Digest] = []
    """Digests of the published folders among them: what models say that they were trained on."""
    clean: list[Digest] = []
    """Of published folders that were read and have nothing of the subject."""
    uncovered: list[Uncovered] = []
    """What of the place nobody can search."""


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
    uncovered: list[Uncovered] = []
    """Beside what was proven: what nobody could search, and copies that go later."""

    @property
    def rows_erased(self) -> int:
        return sum(place.rows_before for place in self.places)


class ErasureState(StrEnum):
    """Where an erasure is. Only grows."""

    OPEN = "open"
    """Nobody has decided yet."""
    REFUSED = "refused"
    """A legal hold forbids it."""
    ERASING = "erasing"
    REJECTED = "rejected"
    DONE = "done"
    """It has its certificate."""
    FAILED = "failed"
    """It may be asked for again, and goes on with what is left."""


class ErasureCreate(Request):
    """Ask for the erasure of one subject. The key is in no row of the control database and in no log."""

    entity: ColumnName
    key: SubjectKey
    also: Annotated[list[ColumnName], Field(max_length=50)] = []
    """Other columns that hold the same key."""
    ground: LegalGround
    reason: _Reason
    """Without the key in it: reasons are on record."""

    @model_validator(mode="after")
    def _names_nobody(self) -> Self:
        check_reason(self.key, self.reason)
        return self


class ErasureDecision(Request):
    """Approve or reject an open one, as somebody else than who asked."""

    approve: bool
    reason: Annotated[str, Field(max_length=1000)] = ""


class ErasureView(Message):
    """An erasure, and what became of it."""

    erasure_id: str
    project: Slug
    entity: ColumnName
    subject_hash: str
    ground: LegalGround
    reason: str
    state: ErasureState
    requested_at: UtcTime
    requested_by: str
    decided_at: UtcTime | None = None
    decided_by: str = ""
    decision_reason: str = ""
    ended_at: UtcTime | None = None
    message: str = ""
    """Why it was refused, or failed; or what was erased."""
    rows_erased: int = 0
    certificate: str = ""
    """The sealed certificate: only where one erasure is shown, and it is done."""
    copies: list[Uncovered] = []
    """Of the control database, as far as it knows them: only where one erasure is shown."""


class EraseRequest(Message):
    """Erase a subject. It waits for an approval."""

    erasure_id: str
    """`era_...`; also the idempotency key and the Temporal workflow id."""
    project: Slug
    requested_by: str
    requested_at: UtcTime
    entity: ColumnName
    key: SubjectKey
    also: list[ColumnName] = []
    ground: LegalGround
    subject_hash: str
    endpoints: list[str] = []
    """The project's: whose predictions are logged."""
    views: list[str] = []
    """The project's: whose rows are online, recorded and held."""
    outputs: list[str] = []
    """Where its batch scorings wrote."""
    inputs: list[str] = []
    """What they read."""


class EraseResult(Message):
    """Answer of the workflow. Without the subject's key."""

    erasure_id: str
    stage: Stage
    """`done` or `rejected`; one that fails ends with an error."""
    rows_erased: int = 0
    models: list[TrainedModel] = []
    certificate: str = ""
    steps: list[StepReport] = []
    message: str = ""


class ErasureReport(Request):
    """How an erasure ended, told by its worker."""

    state: Literal[ErasureState.DONE, ErasureState.REJECTED, ErasureState.FAILED]
    message: Annotated[str, Field(max_length=4000)] = ""
    rows_erased: Annotated[int, Field(ge=0)] = 0
    certificate: Annotated[str, Field(max_length=900_000)] = ""

    @model_validator(mode="after")
    def _is_proven(self) -> Self:
        if bool(self.certificate) != (self.state is ErasureState.DONE):
            raise ValueError("`done` comes with its certificate, and nothing else does")
        return self


def check_reason(key: str, reason: str) -> None:
    """Errors: ValueError if the words have the key in them."""
    if key.casefold() in reason.casefold():
        raise ValueError("reason has the subject's key in it, and reasons stay on record; write it without")
