"""Legal holds: what must be kept, why, who placed it, and the two persons who lifted it."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import Field, StringConstraints, model_validator

from mainspring.core.contracts import erasure, retention
from mainspring.core.contracts.base import Message, Request, Slug, UtcTime

__all__ = ["HoldCreate", "HoldDecision", "HoldLift", "HoldState", "HoldSubject", "HoldView"]

_Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=1000)]
_Matter = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
#: Nothing of ours was written before.
_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)


class HoldState(StrEnum):
    """Where a hold is. Only grows."""

    IN_FORCE = "in_force"
    LIFT_ASKED = "lift_asked"
    """In force, and somebody asks to lift it: somebody else decides, or the time for that passes."""
    LIFTED = "lifted"


class HoldSubject(Request):
    """One subject. Its key is in no row of the control database and in no log."""

    entity: erasure.ColumnName
    key: erasure.SubjectKey


class HoldCreate(Request):
    """Place a hold: on what was written in a time, or on one subject, whose erasure it forbids."""

    matter: _Matter
    """The case, as those who know it call it: a reference number."""
    reason: _Reason
    """Why it must be kept, without a subject's key in it: reasons are on record, and told to whoever asks for an erasure."""
    kinds: Annotated[tuple[retention.KeptKind, ...], Field(max_length=50)] = ()
    """What is kept; none: everything."""
    since: UtcTime | None = None
    """None: from the beginning."""
    until: UtcTime | None = None
    """None: and all that comes."""
    subject: HoldSubject | None = None
    """None: it is on all rows of the time."""

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        if self.subject is not None:
            if self.kinds or self.since or self.until:
                raise ValueError(
                    "a hold on a subject has no kinds and no time: which files have its rows is not known; place another for those"
                )
            erasure.check_reason(self.subject.key, self.reason)
            erasure.check_reason(self.subject.key, self.matter)
        if self.since is not None and self.until is not None and self.until < self.since:
            raise ValueError("until lies before since; a hold goes forward in time")
        return self


class HoldLift(Request):
    """Ask that a hold be lifted. It is in force until somebody else approves."""

    reason: _Reason


class HoldDecision(Request):
    """Approve or refuse the lifting, as somebody else than who asked for it."""

    approve: bool
    reason: Annotated[str, Field(max_length=1000)] = ""


class HoldView(Message):
    """A legal hold, and where it is."""

    hold_id: str
    project: Slug
    state: HoldState = HoldState.IN_FORCE
    kinds: tuple[retention.KeptKind, ...] = ()
    """None: everything."""
    since: UtcTime | None = None
    until: UtcTime | None = None
    entity: str = ""
    """Of one subject, and else empty."""
    subject_hash: str = ""
    """The subject's keyed hash; empty: it is on all rows of its time."""
    matter: str = ""
    reason: str
    placed_at: UtcTime
    placed_by: str
    origin: str = ""
    """Of one that a retention's schedule had, that hold's digest: it is taken over once."""
    lift_asked_at: UtcTime | None = None
    lift_asked_by: str = ""
    lift_reason: str = ""
    lift_due_at: UtcTime | None = None
    """Until when somebody else may decide; then the asking has lapsed."""
    lifted_at: UtcTime | None = None
    """None: it is in force."""
    lifted_by: str = ""
    """Who approved that."""
    decision_reason: str = ""
    version: str = ""
    """Its ETag."""
    stopped: list[str] = []
    """Erasures that were under way when it was placed: they erase nothing more. Told to whoever placed it."""

    def of_retention(self) -> tuple[retention.LegalHold, ...]:
        """What of it a retention keeps, while it is in force; of a subject nothing, as nobody knows which files have its rows."""
        if self.subject_hash or self.lifted_at is not None:
            return ()
        reason = f"{self.hold_id} ({self.matter})" if self.matter else self.hold_id
        return tuple(
            retention.LegalHold(kind=kind, since=self.since or _BEGINNING, until=self.until, reason=reason)
            for kind in self.kinds or (None,)
        )
