"""Runs that wait for a decision: as their workflows say, and where those are away, as they said last."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors
from mainspring.core.contracts import approvals, control, training
from mainspring.core.contracts.approvals import ApprovalState
from mainspring.platform import access, database
from mainspring.platform import plane as control_plane
from mainspring.platform.approvals import kinds
from mainspring.platform.runs import intents, outbox, service, store

_runs, _intents = database.runs, database.intents
#: Open runs that are asked where they are at a time.
_AT_ONCE: Final = 50


class RunKind:
    name = approvals.ApprovalKind.RUN
    reads = "run.read"
    action = "run.decide"

    async def page(
        self, plane: control_plane.ControlPlane, connection: AsyncConnection, wanted: kinds.Wanted
    ) -> Sequence[kinds.Waiting]:
        found: list[kinds.Waiting] = []
        piece = dataclasses.replace(wanted, limit=max(wanted.limit, _AT_ONCE))
        while len(found) < wanted.limit:
            rows = (await connection.execute(self._query(piece))).all()
            made = await asyncio.gather(*(self._made(plane, row) for row in rows))
            decisions = await _decisions(connection, [row.run_id for row in rows])
            for row, (status, one) in zip(rows, made, strict=True):
                is_open = store.stage_of(row, status) is training.Stage.APPROVAL
                if wanted.state is ApprovalState.OPEN and is_open:
                    found.append(one)
                elif wanted.state is ApprovalState.DECIDED and row.run_id in decisions:
                    found.append(_decided(one, decisions[row.run_id]))
            if len(rows) < piece.limit:
                break
            last = kinds.Cursor(rows[-1].created_at, str(self.name), rows[-1].run_id)
            piece = dataclasses.replace(piece, before=last)
        return found[: wanted.limit]

    def _query(self, wanted: kinds.Wanted) -> sa.Select[Any]:
        query = wanted.of(self.name, _runs, _runs.c.created_at, _runs.c.run_id)
        if wanted.state is ApprovalState.OPEN:
            return query.where(_runs.c.stage.not_in([str(stage) for stage in store.TERMINAL]))
        asked = sa.select(_intents.c.run_id).where(_intents.c.kind == str(intents.Kind.DECIDE))
        return query.where(_runs.c.run_id.in_(asked))

    async def find(
        self, plane: control_plane.ControlPlane, connection: AsyncConnection, own_id: str
    ) -> kinds.Waiting | None:
        try:
            row = await store.find(connection, own_id)
        except errors.NotFound:
            return None
        status, made = await self._made(plane, row)
        if store.stage_of(row, status) is training.Stage.APPROVAL:
            return made
        decision = (await _decisions(connection, [own_id])).get(own_id)
        return None if decision is None else _decided(made, decision)

    async def _made(
        self, plane: control_plane.ControlPlane, row: sa.Row[Any]
    ) -> tuple[training.RunStatus | None, kinds.Waiting]:
        is_over = training.Stage(row.stage) in store.TERMINAL
        status = None if is_over else await outbox.live_status(plane, row.run_id)
        awaits = f": {status.message}" if status is not None and status.message else ""
        to = f" to `{row.request['endpoint']}`" if row.request.get("endpoint") else ""
        return status, kinds.Waiting(
            self.name,
            row.run_id,
            row.project,
            f"{row.kind}{to}{awaits}",
            row.requested_by,
            row.created_at,
            f"mainspring run approve {row.run_id}",
            access.run(row, approve=True),
            ApprovalState.OPEN,
            store.version(row, status),
            environment=row.environment,
        )

    async def decide(
        self,
        plane: control_plane.ControlPlane,
        credential: str,
        waiting: kinds.Waiting,
        decision: approvals.ApprovalDecision,
        if_match: str,
    ) -> None:
        asked = control.DecisionCreate(approve=decision.approve, reason=decision.reason, step=decision.step)
        await service.decide(plane, credential, waiting.own_id, asked, if_match=if_match)


async def _decisions(connection: AsyncConnection, run_ids: Sequence[str]) -> dict[str, sa.Row[Any]]:
    """The last decision of each that has one."""
    query = sa.select(_intents).where(
        _intents.c.run_id.in_(run_ids), _intents.c.kind == str(intents.Kind.DECIDE)
    )
    rows = (await connection.execute(query.order_by(_intents.c.intent_id))).all()
    return {row.run_id: row for row in rows}


def _decided(waiting: kinds.Waiting, intent: sa.Row[Any]) -> kinds.Waiting:
    said = training.Decision.model_validate(intent.request)
    outcome = "approved" if said.approve else "rejected"
    if intent.state == intents.State.REFUSED:
        outcome = "refused"
    return dataclasses.replace(
        waiting,
        state=ApprovalState.DECIDED,
        outcome=outcome,
        decided_by=said.by,
        decided_at=intent.created_at,
        reason=said.reason,
    )
