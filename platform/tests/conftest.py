"""What several test files of the room share: a control database of either engine, and a PostgreSQL of the session."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import platform_postgres
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from mainspring.platform import migrations


@pytest.fixture(scope="session")
def postgres() -> Iterator[platform_postgres.Server]:
    """A server whose `template` database is at the newest revision, with the app's rights."""
    if platform_postgres.programs() is None:
        pytest.skip("PostgreSQL is not installed; install it by tools/apt.sh")
    with platform_postgres.started() as server:
        name = server.create()
        migrate(server.url(name, platform_postgres.OWNER))
        server.template = name
        yield server


def migrate(url: str) -> None:
    """As `mainspring db upgrade` does it for a role of its own."""

    async def walk() -> None:
        engine = create_async_engine(url)
        async with engine.begin() as connection:
            await connection.run_sync(migrations.upgrade)
            await connection.run_sync(migrations.grant, platform_postgres.APP)
        await engine.dispose()

    asyncio.run(walk())


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty control database, that settings loaded from `tmp_path` name; whoever asks for it runs once an engine."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / '.mainspring' / 'control.db'}"
    server: platform_postgres.Server = request.getfixturevalue("postgres")
    url = server.url(server.create(server.template), platform_postgres.APP)
    (tmp_path / "mainspring.toml").write_text(f'[control]\ndatabase_url = "{url}"\n')
    return url


Raw = Callable[..., list[Any]]


@pytest.fixture
def raw(database_url: str) -> Raw:
    """Run statements in one transaction from beside the platform, in the role that the platform has."""
    return lambda *statements: _run(database_url, *statements)


@pytest.fixture
def tamper(database_url: str, request: pytest.FixtureRequest) -> Raw:
    """Run a statement as somebody whom no trigger and no right stops: the owner of the file, or a superuser."""
    if database_url.startswith("sqlite"):
        names = "SELECT name FROM sqlite_master WHERE type = 'trigger'"

        def from_file(*statements: str) -> list[Any]:
            drops = [f"DROP TRIGGER {name}" for (name,) in _run(database_url, names)]
            return _run(database_url, *drops, *statements)

        return from_file
    server: platform_postgres.Server = request.getfixturevalue("postgres")
    url = server.url(str(sa.make_url(database_url).database), "postgres")
    return lambda *statements: _run(url, "SET session_replication_role = replica", *statements)


def _run(url: str, *statements: str) -> list[Any]:
    """One transaction; the rows of its last statement."""
    engine = sa.create_engine(url.replace("+aiosqlite", ""), poolclass=sa.NullPool)
    rows: list[Any] = []
    with engine.begin() as connection:
        for statement in statements:
            found = connection.exec_driver_sql(statement)
            rows = list(found.all()) if found.returns_rows else []
    engine.dispose()
    return rows
