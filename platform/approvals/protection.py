"""What people decide about data: erasures, impact assessments, and whether a column tells of persons."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core.contracts import approvals, dpia, erasure, protection
from mainspring.core.contracts.approvals import ApprovalState
from mainspring.platform import access, database
from mainspring.platform import plane as control_plane
from mainspring.platform.approvals import kinds
from mainspring.platform.erasure import service as erasure_service
from mainspring.platform.http import versions
from mainspring.platform.protection import dpia_service, service

_OPEN = "open"


def _of_state(table: sa.Table, state: ApprovalState) -> sa.ColumnElement[bool]:
    """What ended without a person's word, by a legal hold or another assessment, is in neither list."""
    return table.c.state == _OPEN if state is ApprovalState.OPEN else table.c.decided_by != ""


def _state(row: sa.Row[Any]) -> ApprovalState:
    return ApprovalState.OPEN if row.state == _OPEN else ApprovalState.DECIDED


def _decided(row: sa.Row[Any]) -> dict[str, Any]:
    return {
        "outcome": "" if row.state == _OPEN else str(row.state),
        "decided_by": row.decided_by,
        "decided_at": row.decided_at,
        "reason": row.decision_reason,
    }


class _Asked:
    """What is asked for in a table of its own, an id and a time each."""

    name: approvals.ApprovalKind
    _table: sa.Table
    _id: sa.Column[Any]
    _at: sa.Column[Any]

    async def page(
        self, plane: control_plane.ControlPlane, connection: AsyncConnection, wanted: kinds.Wanted
    ) -> Sequence[kinds.Waiting]:
        query = wanted.of(self.name, self._table, self._at, self._id)
        rows = (await connection.execute(query.where(_of_state(self._table, wanted.state)))).all()
        return [self._made(row) for row in rows]

    async def find(
        self, plane: control_plane.ControlPlane, connection: AsyncConnection, own_id: str
    ) -> kinds.Waiting | None:
        row = (await connection.execute(sa.select(self._table).where(self._id == own_id))).one_or_none()
        return None if row is None else self._made(row)

    def _made(self, row: sa.Row[Any]) -> kinds.Waiting:
        raise NotImplementedError


class ErasureKind(_Asked):
    name = approvals.ApprovalKind.ERASURE
    reads = "erasure.read"
    action = "erasure.decide"
    _table = database.erasures
    _id = database.erasures.c.erasure_id
    _at = database.erasures.c.requested_at

    def _made(self, row: sa.Row[Any]) -> kinds.Waiting:
        return kinds.Waiting(
            self.name,
            row.erasure_id,
            row.project,
            f"erase one `{row.entity}` ({row.ground}): {row.reason}",
            row.requested_by,
            row.requested_at,
            f"mainspring erasure approve {row.project} {row.erasure_id}",
            access.project(row.project, requested_by=row.requested_by, approve=True),
            _state(row),
            versions.of(row.erasure_id, row.state, row.decided_by),
            **_decided(row),
        )

    async def decide(
        self,
        plane: control_plane.ControlPlane,
        credential: str,
        waiting: kinds.Waiting,
        decision: approvals.ApprovalDecision,
        if_match: str,
    ) -> None:
        versions.check(if_match, waiting.version, resource="erasure", name=waiting.own_id)
        said = erasure.ErasureDecision(approve=decision.approve, reason=decision.reason)
        await erasure_service.decide(plane, credential, waiting.project, waiting.own_id, said)


class DpiaKind(_Asked):
    name = approvals.ApprovalKind.DPIA
    reads = "dpia.read"
    action = "dpia.decide"
    _table = database.dpias
    _id = database.dpias.c.dpia_id
    _at = database.dpias.c.submitted_at

    def _made(self, row: sa.Row[Any]) -> kinds.Waiting:
        return kinds.Waiting(
            self.name,
            row.dpia_id,
            row.project,
            f"impact assessment of {row.risk} risk (score {row.score})",
            row.submitted_by,
            row.submitted_at,
            f"mainspring dpia sign {row.project} {row.digest}",
            access.project(row.project, risk=row.risk, submitted_by=row.submitted_by, sign=True),
            _state(row),
            versions.of(row.dpia_id, row.state, row.digest),
            **_decided(row),
        )

    async def decide(
        self,
        plane: control_plane.ControlPlane,
        credential: str,
        waiting: kinds.Waiting,
        decision: approvals.ApprovalDecision,
        if_match: str,
    ) -> None:
        versions.check(if_match, waiting.version, resource="dpia", name=waiting.own_id)
        async with plane.database.read() as connection:
            query = sa.select(self._table.c.digest).where(self._table.c.dpia_id == waiting.own_id)
            digest = (await connection.execute(query)).scalar_one()
        said = dpia.DpiaDecision(digest=digest, sign=decision.approve, reason=decision.reason)
        await dpia_service.decide(plane, credential, waiting.project, said)


class ClassificationKind:
    """Its id is made of project, entry and column, which may be of any characters."""

    name = approvals.ApprovalKind.CLASSIFICATION
    reads = "classification.read"
    action = "classification.decide"
    _table = database.classifications

    async def page(
        self, plane: control_plane.ControlPlane, connection: AsyncConnection, wanted: kinds.Wanted
    ) -> Sequence[kinds.Waiting]:
        c = self._table.c
        last = (
            () if wanted.before is None or wanted.before.kind != self.name else _named(wanted.before.own_id)
        )
        query = wanted.of(
            self.name, self._table, c.found_at, c.project, c.entry, c.column_name, own_id=last or ("", "", "")
        )
        rows = (await connection.execute(query.where(_of_state(self._table, wanted.state)))).all()
        return [self._made(row) for row in rows]

    async def find(
        self, plane: control_plane.ControlPlane, connection: AsyncConnection, own_id: str
    ) -> kinds.Waiting | None:
        named = _named(own_id)
        if not named:
            return None
        c = self._table.c
        key = zip((c.project, c.entry, c.column_name), named, strict=True)
        query = sa.select(self._table).where(*(column == value for column, value in key))
        row = (await connection.execute(query)).one_or_none()
        return None if row is None else self._made(row)

    def _made(self, row: sa.Row[Any]) -> kinds.Waiting:
        column = f"{row.entry}.{row.column_name}"
        return kinds.Waiting(
            self.name,
            _id(row.project, row.entry, row.column_name),
            row.project,
            f"column `{column}` tells of persons: {row.kind}, {row.classification}, as sure as {row.confidence:.2f}",
            row.found_by,
            row.found_at,
            f"mainspring data confirm {row.project} {row.entry} {row.column_name}",
            access.project(row.project, confirm=True),
            _state(row),
            versions.of(column, row.state, row.kind, row.classification, row.found_at),
            **_decided(row),
        )

    async def decide(
        self,
        plane: control_plane.ControlPlane,
        credential: str,
        waiting: kinds.Waiting,
        decision: approvals.ApprovalDecision,
        if_match: str,
    ) -> None:
        versions.check(if_match, waiting.version, resource="classification", name=waiting.own_id)
        _, entry, column = _named(waiting.own_id)
        said = protection.ClassificationDecision(
            entry=entry, column=column, confirm=decision.approve, reason=decision.reason
        )
        await service.decide(plane, credential, waiting.project, said)


def _id(*names: str) -> str:
    return base64.urlsafe_b64encode(json.dumps(names).encode()).decode().rstrip("=")


def _named(own_id: str) -> tuple[str, ...]:
    """Project, entry and column; nothing for what is no id of ours."""
    try:
        found = json.loads(base64.urlsafe_b64decode(own_id + "=" * (-len(own_id) % 4)))
    except ValueError:
        return ()
    is_ours = isinstance(found, list) and len(found) == 3 and all(map(kinds.is_text, found))
    return tuple(found) if is_ours else ()
