"""Requests for a role for a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core.contracts import access_requests, approvals, base
from mainspring.core.contracts.access_requests import AccessState
from mainspring.core.contracts.approvals import ApprovalState
from mainspring.platform import access, database
from mainspring.platform import plane as control_plane
from mainspring.platform.access_requests import service, store
from mainspring.platform.approvals import kinds

_table = database.access_requests


class AccessKind:
    """Broken glass is none of them: nobody is asked for it, and its review is no yes."""

    name = approvals.ApprovalKind.ACCESS
    reads = "access.read"
    action = "access.decide"

    async def page(
        self, plane: control_plane.ControlPlane, connection: AsyncConnection, wanted: kinds.Wanted
    ) -> Sequence[kinds.Waiting]:
        is_open = (_table.c.state == str(AccessState.OPEN)) & (_table.c.due_at > base.utc_now().isoformat())
        query = wanted.of(self.name, _table, _table.c.requested_at, _table.c.request_id)
        query = query.where(
            ~_table.c.is_break_glass, is_open if wanted.state is ApprovalState.OPEN else ~is_open
        )
        return [self._made(row) for row in (await connection.execute(query)).all()]

    async def find(
        self, plane: control_plane.ControlPlane, connection: AsyncConnection, own_id: str
    ) -> kinds.Waiting | None:
        query = sa.select(_table).where(_table.c.request_id == own_id, ~_table.c.is_break_glass)
        row = (await connection.execute(query)).one_or_none()
        return None if row is None else self._made(row)

    def _made(self, row: sa.Row[Any]) -> kinds.Waiting:
        now = base.utc_now()
        state = store.state_of(row, now)
        is_open = state is AccessState.OPEN
        where = "all environments" if row.environment == access.EVERY else f"`{row.environment}`"
        return kinds.Waiting(
            self.name,
            row.request_id,
            row.project,
            f"role `{row.role}` in {where} for {row.minutes} minutes: {row.reason}",
            row.actor,
            row.requested_at,
            f"mainspring access approve {row.project} {row.request_id}",
            access.project(
                row.project,
                row.environment,
                environment=row.environment,
                role=row.role,
                requested_by=row.actor,
                approve=True,
            ),
            ApprovalState.OPEN if is_open else ApprovalState.DECIDED,
            store.version(row, now),
            environment="" if row.environment == access.EVERY else row.environment,
            due_at=row.due_at if is_open else None,
            outcome="" if is_open else str(state),
            decided_by=row.decided_by,
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
        said = access_requests.AccessDecision(approve=decision.approve, reason=decision.reason)
        await service.decide(plane, credential, waiting.project, waiting.own_id, said, if_match=if_match)
