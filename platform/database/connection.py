"""One writer at a time, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors
from mainspring.platform import engines, migrations
from mainspring.platform.audit import guards


class Database:
    """One engine. Safe for concurrent tasks of one event loop; several processes may share the database."""

    def __init__(self, url: str) -> None:
        """Errors: InvalidSettings for another database than SQLite or PostgreSQL, by another driver than ours."""
        self.url = url
        self._engine = engines.create(url)
        # Tasks of one process queue here: neither by SQLite's polling, nor each with a connection of its own.
        self._writers = asyncio.Lock()

    async def open(self) -> None:
        """Bring SQLite's file to the newest revision; see to it that PostgreSQL is at it, and may be trusted.

        Errors: Misconfigured, with the command that mends it.
        """
        if engines.is_sqlite(self.url):
            engines.make_folder(self.url)
            async with self._begin_writing() as connection:
                await connection.run_sync(migrations.upgrade)
            return
        async with self.read() as connection:
            await connection.run_sync(migrations.require_head)
            await connection.run_sync(migrations.require_app_role)

    async def close(self) -> None:
        await self._engine.dispose()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """One consistent snapshot."""
        async with engines.begin_reading(self._engine) as connection:
            yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """One writing transaction: commits at the end, rolls back on any error. Only `mutation.py` calls this.

        Errors: Overloaded if another writer does not end in time; InvariantViolated if the database refused the commit
        because no audit row came with the change.
        """
        try:
            async with self._writers, self._begin_writing() as connection:
                yield connection
        except exc.IntegrityError as error:
            if not guards.is_refusal(error):
                raise
            raise errors.InvariantViolated(
                "the database refused a change that is not on record", where="platform.audit.guards"
            ) from error

    @asynccontextmanager
    async def _begin_writing(self) -> AsyncIterator[AsyncConnection]:
        async with engines.begin_writing(self._engine) as connection:
            yield connection


def insert(connection: AsyncConnection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """An insert that knows `on_conflict_do_nothing` and `on_conflict_do_update`, in the words of this engine."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
