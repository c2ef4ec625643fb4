"""Audit rows: each carries the hash of the one before, over canonical JSON."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import canonical, errors, ids
from mainspring.core.contracts import base, control
from mainspring.platform import database
from mainspring.platform.audit import rows

#: Resources that are named by their project, and those that are something of it: `<kind>/<project>`, `<kind>/<project>/...`.
NAMED_BY_PROJECT: Final = (
    *("alert-rules", "catalog", "data-export", "data-read", "dpia", "erasure", "hold", "keyset"),
    *("monitoring", "project", "quota", "storage"),
)
BELOW_PROJECT: Final = (
    *("access", "alert", "budget", "classification", "dpia", "erasure", "hold", "lineage", "member"),
    *("model", "monitoring", "notebook", "pipeline"),
    *("privacy", "purposes", "quarantine", "reservation", "schedule", "sealed", "secret", "service-account"),
)
#: Those whose project is in a table of their own.
OF_A_PROJECT: Final = ("endpoint", "run", "usage")

_TABLES: Final[Mapping[str, tuple[sa.Table, str]]] = {
    "endpoint": (database.endpoints, "name"),
    "run": (database.runs, "run_id"),
    "usage": (database.usage, "usage_key"),
}
#: Names in one question: both engines take many more.
_AT_ONCE: Final = 500
#: Ends of projects in one question: SQLite takes 500 selects.
_ENDS_AT_ONCE: Final = 50
#: Numbers of rows fit into 64 bits.
_MAX_DIGITS: Final = 18


@dataclass(frozen=True)
class Fact:
    """Who did what to which thing, and what came of it; `event_key` is unique within the log."""

    actor: str
    action: str
    resource: str
    outcome: str
    detail: Mapping[str, Any]
    event_key: str | None = None


@dataclass(frozen=True)
class Wanted:
    """What is asked for of the log; empty: anything."""

    actor: str = ""
    action: str = ""
    resource: str = ""
    outcome: str = ""


EVERYTHING: Final = Wanted()


@dataclass(frozen=True)
class _Row:
    """A row as it is stored."""

    sequence: int
    event_id: str
    event_key: str | None
    at: str
    actor: str
    action: str
    resource: str
    outcome: str
    detail: str
    previous_hash: str
    project: str | None
    project_sequence: int | None
    project_previous: str | None


async def append(connection: AsyncConnection, facts: Sequence[Fact]) -> str:
    """Append facts in their order within the caller's writing transaction; returns the new head.

    One look at the head, one at the ends of their projects and one statement, however many they are.
    """
    last = (
        await connection.execute(
            sa.select(database.audit.c.sequence, database.audit.c.hash)
            .order_by(database.audit.c.sequence.desc())
            .limit(1)
        )
    ).one_or_none()
    sequence, head = (0, rows.GENESIS) if last is None else (last.sequence, last.hash)
    owners = await _projects_of(connection, facts)
    ends = await _project_ends(connection, sorted(set(owners.values())))
    now, new = base.utc_now().isoformat(), []
    for fact in facts:
        sequence += 1
        project = owners.get(fact.resource)
        number, before = (None, None) if project is None else ends[project]
        row = _Row(
            sequence=sequence,
            event_id=ids.new_id("evt"),
            event_key=fact.event_key,
            at=now,
            actor=fact.actor,
            action=fact.action,
            resource=fact.resource,
            outcome=fact.outcome,
            detail=canonical.dumps(fact.detail).decode(),
            previous_hash=head,
            project=project,
            project_sequence=None if number is None else number + 1,
            project_previous=before,
        )
        head = canonical.digest_bytes(rows.to_bytes(row))
        if project is not None and number is not None:
            ends[project] = number + 1, head
        new.append({**vars(row), "hash": head})
    if new:
        await connection.execute(sa.insert(database.audit), new)
    return head


async def _project_ends(connection: AsyncConnection, names: Sequence[str]) -> dict[str, tuple[int, str]]:
    """Number and hash of each one's last row; those of none. By one statement for some: waiting for an answer costs more than a look."""
    columns = database.audit.c
    ends = dict.fromkeys(names, (0, rows.GENESIS))
    for first in range(0, len(names), _ENDS_AT_ONCE):
        each = [
            sa.select(columns.project, columns.project_sequence, columns.hash)
            .where(columns.project == name)
            .order_by(columns.project_sequence.desc())
            .limit(1)
            .subquery()
            for name in names[first : first + _ENDS_AT_ONCE]
        ]
        found = await connection.execute(sa.union_all(*map(sa.select, each)))
        ends |= {row.project: (row.project_sequence, row.hash) for row in found}
    return ends


async def _projects_of(connection: AsyncConnection, facts: Sequence[Fact]) -> dict[str, str]:
    """Resource -> its project, as `_about` finds it, for those that have one."""
    found: dict[str, str] = {}
    asked: dict[str, set[str]] = {}
    for resource in {fact.resource for fact in facts}:
        kind, _, rest = resource.partition("/")
        name, _, below = rest.partition("/")
        if kind in OF_A_PROJECT and rest:
            asked.setdefault(kind, set()).add(rest)
        elif name and kind in (BELOW_PROJECT if below else NAMED_BY_PROJECT):
            found[resource] = name
    for kind, names in asked.items():
        table, key = _TABLES[kind]
        wanted = sorted(names)
        for first in range(0, len(wanted), _AT_ONCE):
            some = wanted[first : first + _AT_ONCE]
            query = sa.select(table.c[key], table.c.project).where(table.c[key].in_(some))
            found |= {f"{kind}/{row[0]}": row[1] for row in await connection.execute(query)}
    return found


def problem(row: sa.Row[Any], expected_sequence: int, head: str) -> str:
    """Why a row cannot stand there; empty if it can."""
    if row.sequence != expected_sequence:
        return f"row {expected_sequence} is missing"
    if row.previous_hash != head:
        return f"row {row.sequence} does not follow row {row.sequence - 1}"
    try:
        is_intact = canonical.digest_bytes(rows.to_bytes(row)) == row.hash
    except (TypeError, ValueError):  # no text any more, or none in UTF-8
        is_intact = False
    return "" if is_intact else f"row {row.sequence} was changed"


def problem_in_project(row: sa.Row[Any], last_sequence: int, last_hash: str) -> str:
    """Why a row cannot stand after the last one of its project; empty if it can, or has none."""
    follows = row.project_sequence == last_sequence + 1 and row.project_previous == last_hash
    return (
        ""
        if row.project is None or follows
        else f"row {row.sequence} does not follow the row before of `{row.project}`"
    )


async def page(
    connection: AsyncConnection,
    *,
    after: int,
    limit: int,
    projects: Collection[str] | None = None,
    wanted: Wanted = EVERYTHING,
    newest: bool = False,
    without: Collection[str] = (),
) -> Sequence[sa.Row[Any]]:
    """Up to `limit` rows after a sequence number, oldest first; those about `projects`, None: about anything.

    `newest`: newest first, and those before the number; 0: from the end. `without`: none of these outcomes.
    """
    columns = database.audit.c
    query = sa.select(database.audit).limit(limit)
    if newest:
        query = query.order_by(columns.sequence.desc())
        query = query.where(columns.sequence < after) if after else query
    else:
        query = query.order_by(columns.sequence).where(columns.sequence > after)
    for name, value in vars(wanted).items():
        if value:
            query = query.where(columns[name] == value)
    if projects is not None:
        query = query.where(_about(projects))
    if without:
        query = query.where(columns.outcome.not_in(without))
    return (await connection.execute(query)).all()


def position(cursor: str, field: str) -> int:
    """The row that a caller has seen last. Errors: InvalidRequest for what is no number of ours."""
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= _MAX_DIGITS):
        raise errors.InvalidRequest(
            f"`{cursor[:50]}` is no place in the log; send what an answer said last", field=field
        )
    return int(cursor)


async def leaves(connection: AsyncConnection, *, after: int, until: int) -> list[bytes]:
    """Hashes of the rows after one and up to another, as bytes, oldest first; as they stand there."""
    column = database.audit.c
    query = sa.select(column.hash).where(column.sequence > after, column.sequence <= until)
    found = (await connection.execute(query.order_by(column.sequence))).scalars()
    return [leaf(hash_) for hash_ in found]


def leaf(hash_: str) -> bytes:
    """What the tree over the log has of a row."""
    return bytes.fromhex(hash_.removeprefix("sha256:"))


async def last_sequence(connection: AsyncConnection) -> int:
    """Of the newest row; 0 without any."""
    found = await connection.execute(sa.select(sa.func.max(database.audit.c.sequence)))
    return int(found.scalar_one() or 0)


def _about(projects: Collection[str]) -> sa.ColumnElement[bool]:
    """Rows whose resource is a project of these, or something of it. Names of projects have no wildcards."""
    resource, runs, usage = database.audit.c.resource, database.runs.c, database.usage.c
    endpoints = database.endpoints.c
    named = [f"{kind}/{name}" for name in projects for kind in NAMED_BY_PROJECT]
    below = [f"{kind}/{name}/%" for name in projects for kind in BELOW_PROJECT]
    return sa.or_(
        resource.in_(named),
        *(resource.like(pattern) for pattern in below),
        resource.in_(sa.select("run/" + runs.run_id).where(runs.project.in_(projects))),
        resource.in_(sa.select("endpoint/" + endpoints.name).where(endpoints.project.in_(projects))),
        resource.in_(sa.select("usage/" + usage.usage_key).where(usage.project.in_(projects))),
    )


async def is_recorded(connection: AsyncConnection, event_key: str) -> sa.Row[Any] | None:
    """The row of an event that was reported before."""
    query = sa.select(database.audit).where(database.audit.c.event_key == event_key)
    return (await connection.execute(query)).one_or_none()


async def last_change(connection: AsyncConnection, resource: str) -> sa.Row[Any] | None:
    """The newest row about a resource that was neither denied nor failed."""
    table = database.audit.c
    query = sa.select(database.audit).where(
        table.resource == resource, table.outcome.not_in(("denied", "failed"))
    )
    return (await connection.execute(query.order_by(table.sequence.desc()).limit(1))).one_or_none()


async def details(connection: AsyncConnection, *, resource: str, action: str) -> list[dict[str, Any]]:
    """The details of every such fact, oldest first."""
    query = (
        sa.select(database.audit.c.detail)
        .where(database.audit.c.resource == resource, database.audit.c.action == action)
        .order_by(database.audit.c.sequence)
    )
    return [json.loads(text) for text in (await connection.execute(query)).scalars()]


def view(row: sa.Row[Any]) -> control.AuditView:
    fields = {**row._mapping, "detail": json.loads(row.detail)}
    return control.AuditView.model_validate(fields)
