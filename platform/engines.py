"""The two engines of the control database, and how a transaction begins on each.

| | SQLite | PostgreSQL |
|---|---|---|
| a writer begins by | BEGIN IMMEDIATE | an advisory lock, then READ COMMITTED: each statement sees what was committed before |
| a reader sees | the snapshot of its first statement | the same (REPEATABLE READ), READ ONLY |
| a writer waits at most | `busy_timeout` | `lock_timeout` |
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from mainspring.core import errors

SQLITE: Final = "sqlite+aiosqlite"
POSTGRESQL: Final = "postgresql+psycopg"

#: How long a writer waits for the one before it.
WAIT_SECONDS: Final = 10
#: Of the advisory lock that all writers of one PostgreSQL database take: "mainspri" in ASCII, so that nobody else's is it.
WRITER_LOCK: Final = int.from_bytes(b"mainspri", "big")


def is_sqlite(url: str) -> bool:
    return sa.make_url(url).drivername == SQLITE


def make_folder(url: str) -> None:
    """The folder of SQLite's file."""
    Path(str(sa.make_url(url).database)).parent.mkdir(parents=True, exist_ok=True)


def create(url: str) -> AsyncEngine:
    """Errors: InvalidSettings for a URL that is none of the two engines'."""
    try:
        parsed = sa.make_url(url)
    except exc.ArgumentError:
        raise _refusal("is not a URL of a database") from None  # the message would hold a password
    if parsed.drivername == SQLITE and parsed.database:
        return _sqlite(url)
    if parsed.drivername == POSTGRESQL and parsed.database:
        return _postgresql(url)
    raise _refusal(f"has driver `{parsed.drivername}` and database `{parsed.database or ''}`")


def _refusal(what: str) -> errors.InvalidSettings:
    return errors.InvalidSettings(
        f"`control.database_url` {what}; expected `{SQLITE}:///<file>` or"
        f" `{POSTGRESQL}://<role>:<password>@<host>/<database>`",
        problems=("control.database_url",),
    )


def _sqlite(url: str) -> AsyncEngine:
    engine = create_async_engine(url)

    @event.listens_for(engine.sync_engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        # The driver would begin transactions on its own, late and deferred.
        connection.isolation_level = None
        cursor = connection.cursor()
        wait = f"busy_timeout={WAIT_SECONDS * 1000}"
        for pragma in ("journal_mode=WAL", "foreign_keys=ON", wait, "synchronous=FULL"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        is_writer = connection.get_execution_options().get("is_writer", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writer else "BEGIN")

    return engine


def _postgresql(url: str) -> AsyncEngine:
    # A connection that the server closed meanwhile is found out before it is used.
    return create_async_engine(
        url, isolation_level="READ COMMITTED", pool_pre_ping=True, connect_args={"connect_timeout": 10}
    )


@asynccontextmanager
async def begin_reading(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """One snapshot for all that the block asks. Errors: InvalidRequest, as :func:`begin_writing`."""
    options: dict[str, Any] = {}
    if engine.dialect.name == "postgresql":
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    try:
        async with engine.execution_options(**options).begin() as connection:
            yield connection
    except exc.DataError as error:
        raise _beyond(error.orig) from error
    except OverflowError as error:
        if not _is_of_sqlite(error):
            raise
        raise _beyond(error) from error


@asynccontextmanager
async def begin_writing(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """One writing transaction, the only one of this database.

    Errors: Overloaded if the one before does not end.

    InvalidRequest for a value that the engine cannot hold, as a zero character is for PostgreSQL.
    """
    try:
        async with engine.execution_options(is_writer=True).begin() as connection:
            if engine.dialect.name == "postgresql":
                await connection.execute(sa.text(f"SET LOCAL lock_timeout = '{WAIT_SECONDS}s'"))
                await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(WRITER_LOCK)))
            yield connection
    except exc.DataError as error:
        raise _beyond(error.orig) from error
    except OverflowError as error:
        if not _is_of_sqlite(error):
            raise
        raise _beyond(error) from error
    except exc.OperationalError as error:
        if not _is_busy(error):
            raise
        raise errors.Overloaded(
            f"another writer held the control database for {WAIT_SECONDS} s; try again",
            retry_after_seconds=1.0,
        ) from error


def _beyond(why: object) -> errors.InvalidRequest:
    return errors.InvalidRequest(
        f"the control database cannot hold a value: {str(why).splitlines()[0]}; send another"
    )


def _is_of_sqlite(error: OverflowError) -> bool:
    """Its driver refuses a number of more than 64 bits by itself, and with no error of databases."""
    return "SQLite INTEGER" in str(error)


def _is_busy(error: exc.OperationalError) -> bool:
    return "database is locked" in str(error.orig) or getattr(error.orig, "sqlstate", None) == "55P03"
