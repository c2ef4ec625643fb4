"""What is on record of a project, a model and a time, read in one snapshot of the control database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors
from mainspring.core.contracts import dpia
from mainspring.platform import database
from mainspring.platform.audit import merkle
from mainspring.platform.audit import store as audit_store
from mainspring.platform.evidence import verify

#: Rows of one kind in a pack; a longer time is asked for in parts.
MAX_ROWS: Final = 200_000
_PAGE: Final = 5000
#: What holds from before the time on: rows of these are in a pack, too.
_STAYS: Final = ("dpia.submit", "dpia.decide", "purpose.decide")


@dataclass(frozen=True)
class Asked:
    """Times are UTC; `since` belongs to it and `until` does not."""

    project: str
    model: str
    since: datetime
    until: datetime


@dataclass(frozen=True)
class Slice:
    """The project's rows of the log, and the tree over all of it up to the checkpoint at `size`."""

    rows: Sequence[sa.Row[Any]]
    earlier: Sequence[sa.Row[Any]]
    """Those of before the time that say what was in force in it."""
    proof: list[bytes]
    """That all of them are in the log."""
    size: int
    head: str
    root: bytes


async def audit_slice(connection: AsyncConnection, asked: Asked, size: int) -> Slice:
    """The rows about the project that fell into the time, among the first `size` of the log.

    Errors: InvalidRequest if they are more than a pack holds.
    """
    found: list[sa.Row[Any]] = []
    earlier: list[sa.Row[Any]] = []
    after = 0
    while page := await audit_store.page(connection, after=after, limit=_PAGE, projects={asked.project}):
        found += [r for r in page if r.sequence <= size and asked.since <= _at(r.at) < asked.until]
        earlier += [r for r in page if r.action in _STAYS and r.outcome == "done" and _at(r.at) < asked.since]
        after = page[-1].sequence
        if after > size:
            break
        _limit(found, "audit rows")
    hashes = [
        bytes.fromhex(h.removeprefix("sha256:"))
        for h in (
            await connection.execute(
                sa.select(database.audit.c.hash)
                .where(database.audit.c.sequence <= size)
                .order_by(database.audit.c.sequence)
            )
        ).scalars()
    ]
    if len(hashes) != size:
        raise errors.CorruptArtifact(
            f"the audit log has {len(hashes)} of the {size} rows that were signed; see `mainspring audit verify`",
            artifact="audit",
        )
    tree = merkle.Tree(hashes)
    head = f"sha256:{hashes[-1].hex()}" if hashes else ""
    proof = tree.proof_of([r.sequence - 1 for r in (*earlier, *found)])
    return Slice(found, earlier, proof, size, head, tree.root)


async def runs(connection: AsyncConnection, asked: Asked) -> list[dict[str, Any]]:
    """Runs that were under way in the time, oldest first."""
    table = database.runs.c
    rows = await connection.execute(
        sa.select(database.runs)
        .where(
            table.project == asked.project,
            table.created_at < asked.until.isoformat(),
            sa.or_(table.ended_at.is_(None), table.ended_at >= asked.since.isoformat()),
        )
        .order_by(table.run_id)
        .limit(MAX_ROWS + 1)
    )
    return _plain(rows, "runs")


def bundles_of(found: Sequence[dict[str, Any]]) -> list[str]:
    """Digests that runs made, deployed, scored with or took out of use, sorted."""
    digests = set()
    for run in found:
        for said in (run["request"] or {}, run["result"] or {}):
            digests |= {d for name in ("bundle_digest", "replace_by") if (d := said.get(name))}
    return sorted(digests)


async def costs(connection: AsyncConnection, asked: Asked) -> list[dict[str, Any]]:
    """Priced usage that began in the time, as the ledger shows it."""
    table = database.usage.c
    rows = await connection.execute(
        sa.select(table.view)
        .where(*_began(table, asked))
        .order_by(table.started_at, table.usage_key)
        .limit(MAX_ROWS + 1)
    )
    found = list(rows.scalars())
    _limit(found, "records of cost")
    return found


async def callers(connection: AsyncConnection, asked: Asked) -> list[dict[str, Any]]:
    """Who asked which bundle of which endpoint how often."""
    table = database.serving_usage.c
    keys = (table.environment, table.endpoint, table.model_version, table.caller)
    rows = await connection.execute(
        sa.select(
            *keys,
            sa.func.sum(table.requests).label("requests"),
            sa.func.sum(table.predictions).label("predictions"),
            sa.func.min(table.started_at).label("first"),
            sa.func.max(table.started_at).label("last"),
        )
        .where(*_began(table, asked))
        .group_by(*keys)
        .order_by(*keys)
        .limit(MAX_ROWS + 1)
    )
    return [
        {**r, "requests": int(r["requests"]), "predictions": int(r["predictions"])}
        for r in _plain(rows, "callers")
    ]


async def access(
    connection: AsyncConnection, asked: Asked
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Members as they are now, and requests for access of the time."""
    members = await connection.execute(
        sa.select(database.members)
        .where(database.members.c.project == asked.project)
        .order_by(database.members.c.actor)
    )
    table = database.access_requests.c
    requests = await connection.execute(
        sa.select(database.access_requests)
        .where(
            table.project == asked.project,
            table.requested_at >= asked.since.isoformat(),
            table.requested_at < asked.until.isoformat(),
        )
        .order_by(table.request_id)
    )
    return _plain(members, "members"), _plain(requests, "access requests")


async def lineage(connection: AsyncConnection, asked: Asked) -> list[dict[str, Any]]:
    """OpenLineage events of the project's jobs, as they came."""
    table = database.lineage_events.c
    rows = await connection.execute(
        sa.select(table.event)
        .where(
            table.job_namespace == asked.project,
            table.event_time >= asked.since.isoformat(),
            table.event_time < asked.until.isoformat(),
        )
        .order_by(table.event_time, table.event_digest)
        .limit(MAX_ROWS + 1)
    )
    found = list(rows.scalars())
    _limit(found, "events of lineage")
    return found


async def assessments(
    connection: AsyncConnection, asked: Asked, said: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Impact assessments with their answers, and what the rows say of each: who handed it in, the risk, who decided how."""
    table = database.dpias.c
    query = sa.select(table.dpia_id, table.answers).where(table.project == asked.project)
    answers = {f"dpia/{asked.project}/{r.dpia_id}": r for r in await connection.execute(query)}
    return [
        {"dpia_id": answers[name].dpia_id, "answers": _answered(answers[name].answers), **one}
        for name, one in sorted(verify.assessments(list(said)).items())
    ]


def _answered(answers: dict[str, Any]) -> dict[str, Any]:
    """As they were digested when they were handed in: without what has a default."""
    return dpia.DpiaAnswers.model_validate(answers).model_dump(mode="json", exclude_defaults=True)


async def erasures(
    connection: AsyncConnection, asked: Asked, said: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Those that were done, each with the report that its row has the digest of, and in it the sealed certificate."""
    done = verify.erased(list(said))
    table = database.erasures
    query = sa.select(table).where(table.c.project == asked.project).order_by(table.c.erasure_id)
    found = []
    for row in await connection.execute(query):
        if f"erasure/{asked.project}/{row.erasure_id}" in done:
            report = {n: getattr(row, n) for n in ("state", "message", "rows_erased", "certificate")}
            told = {n: getattr(row, n) for n in ("erasure_id", "entity", "ground", "requested_by")}
            found.append({**told, "approved_by": row.decided_by, "report": report})
    return found


def _began(table: Any, asked: Asked) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        table.project == asked.project,
        table.started_at >= asked.since.isoformat(),
        table.started_at < asked.until.isoformat(),
    )


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _plain(rows: sa.CursorResult[Any], what: str) -> list[dict[str, Any]]:
    found = [dict(row._mapping) for row in rows]
    _limit(found, what)
    return found


def _limit(found: Sequence[Any], what: str) -> None:
    if len(found) > MAX_ROWS:
        raise errors.InvalidRequest(
            f"there are more than {MAX_ROWS} {what}; ask for a shorter time, in several packs", field="until"
        )
