"""What a kind of approval gives to the list, and how pages go over several kinds at once."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeGuard

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors
from mainspring.core.contracts import approvals
from mainspring.core.contracts.approvals import ApprovalState
from mainspring.platform import access
from mainspring.platform import plane as control_plane


@dataclass(frozen=True)
class Waiting:
    """One of them, with what the policies are asked about whoever would say yes."""

    kind: approvals.ApprovalKind
    own_id: str
    project: str
    about: str
    requested_by: str
    requested_at: str
    """As it is stored: pages are ordered by it."""
    decide_by: str
    target: access.Target
    state: ApprovalState
    version: str
    environment: str = ""
    due_at: str | None = None
    outcome: str = ""
    decided_by: str = ""
    decided_at: str | None = None
    reason: str = ""

    @property
    def id(self) -> str:
        return f"{self.kind}:{self.own_id}"

    @property
    def place(self) -> Cursor:
        return Cursor(self.requested_at, str(self.kind), self.own_id)


@dataclass(frozen=True, order=True)
class Cursor:
    """A place in the list, which is newest first: by time, then by kind and id."""

    at: str
    kind: str
    own_id: str

    @classmethod
    def of(cls, text: str) -> Self | None:
        """Errors: InvalidRequest for what is none of ours."""
        if not text:
            return None
        try:
            at, kind, own_id = json.loads(text)
        except (ValueError, TypeError):
            at = kind = own_id = None
        if not (is_text(at) and is_text(kind) and is_text(own_id)):
            raise errors.InvalidRequest(
                f"cursor `{text[:100]}` is not one of ours; send the `next` of a page", field="before"
            )
        return cls(at, kind, own_id)

    def __str__(self) -> str:
        return json.dumps([self.at, self.kind, self.own_id])


def is_text(value: Any) -> TypeGuard[str]:
    """That both databases take: JSON can have more."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        return bool(value.encode()) or not value
    except UnicodeEncodeError:
        return False


@dataclass(frozen=True)
class Wanted:
    """A piece of the list: of `projects` (None: of all), older than `before`."""

    state: ApprovalState
    projects: Collection[str] | None
    before: Cursor | None
    limit: int

    def of(
        self,
        kind: approvals.ApprovalKind,
        table: sa.Table,
        at: sa.Column[Any],
        *ids: sa.Column[Any],
        own_id: Sequence[str] = (),
    ) -> sa.Select[Any]:
        """The rows of a kind's table that may be in it. `ids` make one unique, `own_id` are those of the cursor's place."""
        query = sa.select(table).order_by(at.desc(), *(one.desc() for one in ids)).limit(self.limit)
        if self.projects is not None:
            query = query.where(table.c.project.in_(self.projects))
        if self.before is None:
            return query
        if self.before.kind == kind:
            last = sa.tuple_(
                *(sa.literal(one) for one in (self.before.at, *(own_id or (self.before.own_id,))))
            )
            return query.where(sa.tuple_(at, *ids) < last)
        return query.where(at < self.before.at if kind > self.before.kind else at <= self.before.at)


class Kind(Protocol):
    """Something that people decide on. Its own service decides: nothing here may let through what that refuses."""

    name: approvals.ApprovalKind
    reads: str
    """The right that shows it, beside `approval.read`."""
    action: str
    """The right that decides."""

    async def page(
        self, plane: control_plane.ControlPlane, connection: AsyncConnection, wanted: Wanted
    ) -> Sequence[Waiting]:
        """Newest first, no more than are wanted; fewer: there are no more."""
        ...

    async def find(
        self, plane: control_plane.ControlPlane, connection: AsyncConnection, own_id: str
    ) -> Waiting | None: ...

    async def decide(
        self,
        plane: control_plane.ControlPlane,
        credential: str,
        waiting: Waiting,
        decision: approvals.ApprovalDecision,
        if_match: str,
    ) -> None:
        """By the kind's own service. Errors: whatever that raises."""
        ...
