"""The control database: ten tables, one writer at a time, an audit log that cannot be rewritten.

SQLite in WAL mode: readers never wait. A writer begins with BEGIN IMMEDIATE, so what it read cannot change before it
commits, and two audit rows never follow the same one. Money is integer billionths, times are ISO 8601 UTC text.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from mainspring.core import errors

metadata: Final = sa.MetaData()

projects: Final = sa.Table(
    "projects",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("owner", sa.String, nullable=False),
    sa.Column("description", sa.String, nullable=False),
    sa.Column("monthly_budget_nanos", sa.BigInteger),
    sa.Column("created_at", sa.String, nullable=False),
    sa.Column("created_by", sa.String, nullable=False),
)

runs: Final = sa.Table(
    "runs",
    metadata,
    sa.Column("run_id", sa.String, primary_key=True),
    sa.Column("project", sa.ForeignKey("projects.name"), nullable=False, index=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("environment", sa.String, nullable=False),
    sa.Column("stage", sa.String, nullable=False),
    sa.Column("requested_by", sa.String, nullable=False),
    sa.Column("created_at", sa.String, nullable=False),
    sa.Column("ended_at", sa.String),
    sa.Column("request", sa.JSON, nullable=False),
    sa.Column("result", sa.JSON, nullable=False),
    sa.Column("idempotency_key", sa.String),
    # NULLs are distinct: runs without a key never collide.
    sa.UniqueConstraint("requested_by", "idempotency_key"),
)

audit: Final = sa.Table(
    "audit",
    metadata,
    sa.Column("sequence", sa.Integer, primary_key=True),
    sa.Column("event_id", sa.String, nullable=False, unique=True),
    sa.Column("event_key", sa.String, unique=True),
    sa.Column("at", sa.String, nullable=False),
    sa.Column("actor", sa.String, nullable=False),
    sa.Column("action", sa.String, nullable=False),
    sa.Column("resource", sa.String, nullable=False, index=True),
    sa.Column("outcome", sa.String, nullable=False),
    sa.Column("detail", sa.String, nullable=False),
    sa.Column("previous_hash", sa.String, nullable=False, unique=True),
    sa.Column("hash", sa.String, nullable=False),
)

usage: Final = sa.Table(
    "usage",
    metadata,
    sa.Column("usage_key", sa.String, primary_key=True),
    sa.Column("project", sa.ForeignKey("projects.name"), nullable=False, index=True),
    sa.Column("run_id", sa.String, nullable=False, index=True),
    sa.Column("service", sa.String, nullable=False),
    sa.Column("started_at", sa.String, nullable=False, index=True),
    sa.Column("cost_nanos", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.String, nullable=False),
    sa.Column("record", sa.JSON, nullable=False),
    sa.Column("view", sa.JSON, nullable=False),
)

serving_usage: Final = sa.Table(
    "serving_usage",
    metadata,
    sa.Column("usage_key", sa.String, primary_key=True),
    sa.Column("project", sa.ForeignKey("projects.name"), nullable=False, index=True),
    sa.Column("environment", sa.String, nullable=False),
    sa.Column("endpoint", sa.String, nullable=False),
    sa.Column("model_version", sa.String, nullable=False),
    sa.Column("caller", sa.String, nullable=False),
    sa.Column("requests", sa.BigInteger, nullable=False),
    sa.Column("predictions", sa.BigInteger, nullable=False),
    sa.Column("cpu_microseconds", sa.BigInteger, nullable=False),
    sa.Column("cost_nanos", sa.BigInteger, nullable=False),
    sa.Column("started_at", sa.String, nullable=False, index=True),
    sa.Column("record", sa.JSON, nullable=False),
)

intents: Final = sa.Table(
    "intents",
    metadata,
    sa.Column("intent_id", sa.String, primary_key=True),
    sa.Column("run_id", sa.ForeignKey("runs.run_id"), nullable=False),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("actor", sa.String, nullable=False),
    sa.Column("request", sa.JSON, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("created_at", sa.String, nullable=False),
    sa.Column("settled_at", sa.String),
    # At most one is under way of each kind and run.
    sa.Index("intents_open", "run_id", "kind", unique=True, sqlite_where=sa.text("state = 'open'")),
)

lineage_events: Final = sa.Table(
    "lineage_events",
    metadata,
    sa.Column("event_digest", sa.String, primary_key=True),
    sa.Column("run_id", sa.String, nullable=False, index=True),
    sa.Column("job_namespace", sa.String, nullable=False),
    sa.Column("job_name", sa.String, nullable=False),
    sa.Column("event_type", sa.String, nullable=False),
    sa.Column("event_time", sa.String, nullable=False),
    sa.Column("received_at", sa.String, nullable=False),
    sa.Column("reported_by", sa.String, nullable=False),
    sa.Column("event", sa.JSON, nullable=False),
)

#: A dataset of one version (`column` empty), or one of its columns.
lineage_nodes: Final = sa.Table(
    "lineage_nodes",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("namespace", sa.String, nullable=False),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("version", sa.String, nullable=False),
    sa.Column("column", sa.String, nullable=False),
    sa.Column("kind", sa.String, nullable=False),
    sa.UniqueConstraint("namespace", "name", "version", "column"),
)

#: Numbers only, so that a walk over a million of them stays in memory; `job` and `run_id` of who did it first.
lineage_edges: Final = sa.Table(
    "lineage_edges",
    metadata,
    sa.Column("source", sa.ForeignKey("lineage_nodes.id"), primary_key=True),
    sa.Column("target", sa.ForeignKey("lineage_nodes.id"), primary_key=True, index=True),
    sa.Column("job", sa.String, nullable=False),
    sa.Column("run_id", sa.String, nullable=False),
)

#: `searched` is the text of names, columns, description, tags and owner, case folded.
catalog: Final = sa.Table(
    "catalog",
    metadata,
    sa.Column("project", sa.ForeignKey("projects.name"), primary_key=True),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("owner", sa.String, nullable=False),
    sa.Column("classification", sa.String, nullable=False),
    sa.Column("has_pii", sa.Boolean, nullable=False),
    sa.Column("searched", sa.String, nullable=False),
    sa.Column("updated_at", sa.String, nullable=False),
    sa.Column("entry", sa.JSON, nullable=False),
)

_TRIGGERS: Final = tuple(
    f"CREATE TRIGGER IF NOT EXISTS audit_no_{verb.lower()} BEFORE {verb} ON audit"
    " BEGIN SELECT RAISE(ABORT, 'audit rows are never changed'); END"
    for verb in ("UPDATE", "DELETE")
)


class Database:
    """One engine. Safe for concurrent tasks of one event loop; several processes may share the file."""

    def __init__(self, url: str) -> None:
        """Errors: InvalidSettings for another database than SQLite: its triggers and locking are not written."""
        parsed = sa.make_url(url)
        if parsed.drivername != "sqlite+aiosqlite" or not parsed.database:
            raise errors.InvalidSettings(
                f"`control.database_url` has driver `{parsed.drivername}`; expected `sqlite+aiosqlite:///<file>`",
                problems=("control.database_url",),
            )
        self.url = url
        self._file = Path(parsed.database)
        self._engine = _engine(url)
        # Tasks of one process queue here and not in SQLite, whose waiting is polling.
        self._writers = asyncio.Lock()

    async def open(self) -> None:
        """Create the file, tables and triggers that are missing."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        async with self._engine.execution_options(is_writer=True).begin() as connection:
            await connection.run_sync(metadata.create_all)
            for statement in _TRIGGERS:
                await connection.execute(sa.text(statement))

    async def close(self) -> None:
        await self._engine.dispose()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """One consistent snapshot."""
        async with self._engine.begin() as connection:
            yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """One writing transaction: commits at the end, rolls back on any error. Only `mutation.py` calls this."""
        async with self._writers, self._engine.execution_options(is_writer=True).begin() as connection:
            yield connection


def _engine(url: str) -> AsyncEngine:
    engine = create_async_engine(url)

    @event.listens_for(engine.sync_engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        # The driver would begin transactions on its own, late and deferred.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "foreign_keys=ON", "busy_timeout=10000", "synchronous=FULL"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        is_writer = connection.get_execution_options().get("is_writer", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writer else "BEGIN")

    return engine
