"""The data protection impact assessment of a project: what was answered, what risk follows, and who signed it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

from mainspring.core.contracts.base import Digest, Message, Request, Slug, UtcTime
from mainspring.core.contracts.masking import PurposeWord

__all__ = ["DpiaAnswers", "DpiaDecision", "DpiaState", "DpiaView", "Risk"]

Risk: TypeAlias = Literal["low", "medium", "high"]
_Words = Annotated[str, Field(min_length=10, max_length=5000)]


class DpiaAnswers(Request):
    """The questionnaire. Every question is answered: a default would be an answer that nobody gave."""

    purpose: _Words
    """What the processing is for, and whom it serves."""
    purposes: Annotated[list[PurposeWord], Field(max_length=50)] = []
    """The same in words that runs say: for no other one is started while this is in force. Empty, as in those of earlier releases: for any."""
    lawful_basis: Literal[
        "consent", "contract", "legal-obligation", "vital-interests", "public-task", "legitimate-interests"
    ]
    """GDPR article 6."""
    necessity: _Words
    """Why it cannot be done with less data, or none of persons."""
    measures: _Words
    """What protects the persons: who sees what, what is sealed, how long it is kept."""
    special_categories: bool
    """Is it of health, religion, ethnicity or the like, or of offences (articles 9 and 10)?"""
    large_scale: bool
    """Is it of very many persons, or of a large share of some group?"""
    systematic_monitoring: bool
    """Are persons watched regularly, also in public places?"""
    automated_decisions: bool
    """Does a score decide about a person, with legal or similar effect (article 22)?"""
    vulnerable_persons: bool
    """Children, patients, employees, whoever cannot freely refuse?"""
    matched_datasets: bool
    """Are data joined that were collected for different purposes?"""
    new_technology: bool
    """Is something used whose effects on persons are not known yet?"""
    denies_service: bool
    """Can it keep a person from a right, a service or a contract?"""
    leaves_jurisdiction: bool
    """Do data leave the jurisdiction that protects them?"""
    is_sealed: bool
    """Are restricted columns sealed, and their keys held apart from the data?"""
    is_minimal: bool
    """Was every column asked about whether it is needed?"""
    human_review: bool
    """Does a person review what a score decides, with power to change it?"""
    limited_retention: bool
    """Is what is kept removed by a schedule?"""


class DpiaState(StrEnum):
    """What became of an assessment."""

    OPEN = "open"
    SIGNED = "signed"
    REJECTED = "rejected"
    SUPERSEDED = "superseded"
    """Another one was handed in before anybody decided, or signed since."""


class DpiaDecision(Request):
    """What somebody else says to an assessment."""

    digest: Digest
    """Of the answers that were read: what was handed in since is not signed by accident."""
    sign: bool
    reason: Annotated[str, Field(min_length=3, max_length=2000)]


class DpiaView(Message):
    """An assessment."""

    dpia_id: str
    project: Slug
    digest: Digest
    answers: dict[str, Any]
    risk: Risk
    score: int
    findings: tuple[str, ...] = ()
    """What makes the risk, and what lessens it, in words."""
    state: DpiaState
    submitted_at: UtcTime
    submitted_by: str
    decided_at: UtcTime | None = None
    decided_by: str = ""
    decision_reason: str = ""
    valid_until: UtcTime | None = None
    """A signed one counts until then."""
    is_in_force: bool = False
