"""The lifting of legal holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core.contracts import approvals, base
from mainspring.core.contracts import holds as hold_contracts
from mainspring.core.contracts.approvals import ApprovalState
from mainspring.core.contracts.holds import HoldState
from mainspring.platform import access, database
from mainspring.platform import plane as control_plane
from mainspring.platform.approvals import kinds
from mainspring.platform.holds import service, store

_table = database.holds


class HoldKind:
    """Of a hold, its last one: what was refused or has lapsed may be asked for again."""

    name = approvals.ApprovalKind.HOLD
    reads = "hold.read"
    action = "hold.decide"

    async def page(
        self, plane: control_plane.ControlPlane, connection: AsyncConnection, wanted: kinds.Wanted
    ) -> Sequence[kinds.Waiting]:
        now = base.utc_now().isoformat()
        is_open = _table.c.lifted_at.is_(None) & (_table.c.lift_due_at > now)
        query = wanted.of(self.name, _table, _table.c.lift_asked_at, _table.c.hold_id)
        query = query.where(
            _table.c.lift_asked_at.is_not(None), is_open if wanted.state is ApprovalState.OPEN else ~is_open
        )
        return [self._made(row) for row in (await connection.execute(query)).all()]

    async def find(
        self, plane: control_plane.ControlPlane, connection: AsyncConnection, own_id: str
    ) -> kinds.Waiting | None:
        query = sa.select(_table).where(_table.c.hold_id == own_id, _table.c.lift_asked_at.is_not(None))
        row = (await connection.execute(query)).one_or_none()
        return None if row is None else self._made(row)

    def _made(self, row: sa.Row[Any]) -> kinds.Waiting:
        state = store.state_of(row, base.utc_now())
        is_open = state is HoldState.LIFT_ASKED
        ended = "lifted" if state is HoldState.LIFTED else "refused" if row.lifted_by else "lapsed"
        what = f"on one `{row.entity}`" if row.subject_hash else "on what was written in a time"
        return kinds.Waiting(
            self.name,
            row.hold_id,
            row.project,
            f"lift legal hold `{row.matter}` {what}: {row.lift_reason}",
            row.lift_asked_by,
            row.lift_asked_at,
            f"mainspring hold decide {row.project} {row.hold_id} --approve",
            access.project(row.project, requested_by=row.lift_asked_by, approve=True),
            ApprovalState.OPEN if is_open else ApprovalState.DECIDED,
            store.version(row, state),
            due_at=row.lift_due_at if is_open else None,
            outcome="" if is_open else ended,
            decided_by=row.lifted_by,
            decided_at=row.lifted_at,
            reason=row.decision_reason,
        )

    async def decide(
        self,
        plane: control_plane.ControlPlane,
        credential: str,
        waiting: kinds.Waiting,
        decision: approvals.ApprovalDecision,
        if_match: str,
    ) -> None:
        said = hold_contracts.HoldDecision(approve=decision.approve, reason=decision.reason)
        await service.decide(plane, credential, waiting.project, waiting.own_id, said, if_match=if_match)
