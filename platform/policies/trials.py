"""Dry run: what a policy set would have decided about changes and reads of the last days, by what was asked then."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import canonical, errors, identity
from mainspring.core.contracts import base, policies
from mainspring.platform import access, database, mutation
from mainspring.platform import plane as control_plane
from mainspring.platform.decisions import store as decision_store
from mainspring.platform.decisions import writing
from mainspring.platform.policies import engine, questions, sources

#: Rows of the log that are asked again, some 3 s of one core; and changes that are told one by one.
MAX_ROWS: Final = 20_000
MAX_CHANGES: Final = 200


async def dry_run(
    plane: control_plane.ControlPlane, credential: str, trial: policies.PolicyTrial
) -> policies.PolicyTrialResult:
    """Ask `trial` what is on record since its days began. Roles: approver or admin of the platform. On record itself.

    Changes, reads and their denials alike; but a list of all projects is one read of the platform, whatever a policy would hide of it.
    Errors: InvalidRequest with every problem of the policies, by file and id.
    """

    async def work(_: identity.Actor) -> tuple[policies.PolicyTrialResult, dict[str, Any]]:
        tried = await asyncio.to_thread(_parsed, trial)
        since = base.utc_now() - timedelta(days=trial.days)
        with contextlib.suppress(errors.DependencyDown):  # what is on record is asked, then
            await writing.write(plane)
        async with plane.database.read() as connection:
            rows = await _rows(connection, since)
            read = await decision_store.since(connection, since, MAX_ROWS + 1)
        result = await asyncio.to_thread(_compare, tried, rows, read, since)
        found = {
            "decisions": result.decisions,
            "denied": result.newly_denied,
            "allowed": result.newly_allowed,
        }
        return result, found

    return await mutation.around(
        plane,
        credential,
        action="policy.dry-run",
        resource="policies",
        on=access.platform(),
        detail={"days": trial.days, "digest": canonical.digest(trial.policies)},
        work=work,
    )


def _parsed(trial: policies.PolicyTrial) -> engine.PolicyEngine:
    ours = sources.load(None)
    try:
        return engine.PolicyEngine.of(sources.Sources(ours.schema, ours.ours, trial.policies))
    except errors.InvalidSettings as error:
        raise errors.InvalidRequest(error.message, field="policies") from error


async def _rows(connection: AsyncConnection, since: datetime) -> Sequence[Any]:
    """Newest first, one more than are asked again."""
    table = database.audit.c
    query = (
        sa.select(table.sequence, table.at, table.actor, table.action, table.resource, table.detail)
        .where(table.at >= since.isoformat(), table.detail.contains(f'"{mutation.AUTHORISATION}"'))
        .order_by(table.sequence.desc())
        .limit(MAX_ROWS + 1)
    )
    return (await connection.execute(query)).all()


def _compare(
    tried: engine.PolicyEngine, rows: Sequence[sa.Row[Any]], read: Sequence[sa.Row[Any]], since: datetime
) -> policies.PolicyTrialResult:
    changes: list[policies.ChangedDecision] = []
    count, denied, allowed = 0, 0, 0
    asked: Iterable[tuple[sa.Row[Any], int, questions.Question, questions.Decision]] = itertools.chain(
        ((row, 1, *one) for row in rows[:MAX_ROWS] for one in _asked(row)),
        ((row, row._mapping["count"], *_read(row)) for row in read[:MAX_ROWS]),
    )
    for row, times, question, was in asked:
        count += times
        now = tried.decide(question)
        if now.allowed is was.allowed:
            continue
        denied, allowed = denied + times * was.allowed, allowed + times * now.allowed
        changes.append(_changed(tried, row, question, was, now))
    return policies.PolicyTrialResult(
        version=tried.version,
        since=since,
        decisions=count,
        reads=sum(row._mapping["count"] for row in read[:MAX_ROWS]),
        newly_denied=denied,
        newly_allowed=allowed,
        changes=tuple(sorted(changes, key=lambda one: one.at, reverse=True)[:MAX_CHANGES]),
        is_cut=max(len(rows), len(read)) > MAX_ROWS,
    )


def _read(row: sa.Row[Any]) -> tuple[questions.Question, questions.Decision]:
    return questions.Question.of_record(row.asked), questions.Decision(row.allowed, tuple(row.policies))


def _asked(row: sa.Row[Any]) -> Iterator[tuple[questions.Question, questions.Decision]]:
    """What the policies were asked for a row, and answered. Rows of others, or of another version, have none."""
    found = json.loads(row.detail).get(mutation.AUTHORISATION)
    told = found.get("decisions", ()) if isinstance(found, dict) else ()
    for one in told:
        try:
            decision = questions.Decision(bool(one["allowed"]), tuple(map(str, one["policies"])))
            yield questions.Question.of_record(one["asked"]), decision
        except (KeyError, TypeError, ValueError):
            continue


def _changed(
    tried: engine.PolicyEngine,
    row: sa.Row[Any],
    question: questions.Question,
    was: questions.Decision,
    now: questions.Decision,
) -> policies.ChangedDecision:
    is_read = "decision_key" in row._mapping
    where = question.resource.id if is_read else ""
    return policies.ChangedDecision(
        sequence=0 if is_read else row.sequence,
        at=row.last_at if is_read else row.at,
        is_read=is_read,
        count=row._mapping["count"] if is_read else 1,
        actor=question.principal.name,
        action=question.action,
        resource=where if is_read and row.project == "" else f"project/{where}" if is_read else row.resource,
        was_allowed=was.allowed,
        is_allowed=now.allowed,
        was_by=was.policies,
        is_by=now.policies,
        next_step="" if now.allowed else tried.advice(question, now),
    )
