"""A control database of an earlier release: it is brought to today's revision with everything in it, or left as it is, with clear words."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import make_state
import pytest
import sqlalchemy as sa
import upgrade_state
from litestar.testing import TestClient

sys.path.insert(0, str(Path(__file__).parents[2] / "platform" / "tests"))

import platform_postgres

from mainspring.core import errors, identity, settings
from mainspring.platform import app as control_app
from mainspring.platform import backup, database, engines, migrations, upkeep
from mainspring.platform.runs import launcher

ISSUER = identity.TokenIssuer(make_state.ACTORS)
#: Of a later revision than any state's.
LATER = "CREATE TABLE alerts (alert_id VARCHAR PRIMARY KEY)"


@pytest.fixture(params=upgrade_state.STATES, ids=lambda p: p.name.partition(".")[0])
def state(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """What the release had answered; its home is `tmp_path`, without its settings."""
    expected = upgrade_state.unpack(request.param, tmp_path)
    (tmp_path / "mainspring.toml").unlink()
    return expected


@pytest.fixture
def file(tmp_path: Path, state: dict[str, Any]) -> Path:
    return tmp_path / ".mainspring" / "control.db"


@pytest.fixture(scope="module")
def postgres() -> Iterator[platform_postgres.Server]:
    if platform_postgres.programs() is None:
        pytest.skip("PostgreSQL is not installed; install it by tools/apt.sh")
    with platform_postgres.started() as server:
        yield server


def controls(file: Path) -> settings.ControlSettings:
    return settings.ControlSettings(database_url=f"sqlite+aiosqlite:///{file}")


def rows(file: Path, question: str) -> list[Any]:
    with closing(sqlite3.connect(file)) as connection:
        found = connection.execute(question).fetchall()
        connection.commit()
        return found


def content(file: Path) -> dict[str, list[Any]]:
    """Every row of every table."""
    names = [name for (name,) in rows(file, "SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {name: rows(file, f'SELECT * FROM "{name}"') for name in names}


def goes_on(home: Path, expected: dict[str, Any]) -> None:
    """Today's control API over the state: nothing is lost, the log proves it, keys are known, and there is more to come."""
    s = settings.load({}, directory=home)
    app = control_app.create_app(s, issuer=ISSUER, launcher=launcher.MemoryLauncher())
    with TestClient(app, raise_server_exceptions=False) as client:

        def call(
            actor: str, method: str, path: str, expect: int = 200, body: Any = None, **headers: str
        ) -> Any:
            said = {"Authorization": f"Bearer {actor}", **headers}
            answer = client.request(method, f"/api/v1{path}", json=body, headers=said)
            assert answer.status_code == expect, (path, answer.status_code, answer.text)
            return answer.json()

        for name, path in make_state.ASKED.items():
            assert upgrade_state.lost(expected["control"][name], call("admin", "GET", path), name) == []
        proof = call("approver", "GET", "/audit:verify")
        assert proof["ok"] and proof["rows"] >= len(expected["control"]["audit"]["items"]) > 10
        # The same key once more is the run that it started then.
        before = {run["run_id"] for run in expected["control"]["runs"]["items"]}
        first = {"project": "alpha", "endpoint": "delay", "idempotency_key": "first"}
        assert call("developer", "POST", "/runs", 201, first)["run_id"] in before
        assert call("developer", "POST", "/runs", 201, {"project": "beta"})["run_id"] not in before
        again = call("approver", "GET", "/audit:verify")
        assert again["ok"] and again["rows"] > proof["rows"]


def test_sqlite_is_upgraded_with_everything_in_it(tmp_path: Path, file: Path, state: dict[str, Any]) -> None:
    before = content(file)
    done = asyncio.run(upkeep.upgrade(controls(file)))
    assert (done.before, done.after) == (state["revision"], migrations.HEAD)
    asyncio.run(upkeep.check(controls(file)))
    after = content(file)
    for table, found in before.items():
        if table != "alembic_version":
            assert [row[: len(found[0])] for row in after[table]] == found or not found, table
    # What it was lies beside it, readable by whom the file is.
    kept = Path(done.backup)
    assert kept == backup.path_of(controls(file).database_url, state["revision"])
    assert content(kept) == before and kept.stat().st_mode == file.stat().st_mode
    goes_on(tmp_path, state)


def test_a_copy_that_is_put_back_is_what_was(file: Path, state: dict[str, Any]) -> None:
    before = content(file)
    kept = Path(asyncio.run(upkeep.upgrade(controls(file))).backup)
    kept.replace(file)
    assert content(file) == before
    assert asyncio.run(upkeep.upgrade(controls(file))).before == state["revision"]
    assert asyncio.run(upkeep.upgrade(controls(file))) == upkeep.Upgraded(migrations.HEAD, migrations.HEAD)


@pytest.mark.integration
def test_postgresql_is_upgraded_with_everything_in_it(
    tmp_path: Path, file: Path, state: dict[str, Any], postgres: platform_postgres.Server
) -> None:
    name = postgres.create()
    app, owner, root = (
        postgres.url(name, role) for role in (platform_postgres.APP, platform_postgres.OWNER, "postgres")
    )
    asyncio.run(filled(owner, root, file, state["revision"]))
    control = settings.ControlSettings(database_url=app, migration_url=owner)
    with pytest.raises(
        errors.Misconfigured, match=rf"revision `{state['revision']}`.*run `mainspring db upgrade`"
    ):
        asyncio.run(opened(app))
    done = asyncio.run(upkeep.upgrade(control))
    assert (done.before, done.after, done.backup) == (state["revision"], migrations.HEAD, "")
    asyncio.run(upkeep.check(control))
    (tmp_path / "mainspring.toml").write_text(f'[control]\ndatabase_url = "{app}"\n')
    goes_on(tmp_path, state)


async def opened(url: str) -> None:
    db = database.Database(url)
    try:
        await db.open()
    finally:
        await db.close()


async def filled(owner: str, root: str, file: Path, revision: str) -> None:
    """The state's rows in tables of its revision, as its release would have made them on PostgreSQL."""

    def tables(connection: sa.Connection) -> None:
        from alembic import command

        command.upgrade(migrations._config(connection), revision)
        migrations.grant(connection, platform_postgres.APP)

    def copied(connection: sa.Connection) -> None:
        connection.exec_driver_sql(
            "SET session_replication_role = replica"
        )  # rows of others come as they are
        there = sa.MetaData()
        there.reflect(connection)
        here = sa.create_engine(f"sqlite:///{file}")
        try:
            with here.connect() as source:
                known = sa.MetaData()
                known.reflect(source)
                for table in known.sorted_tables:
                    if table.name in there.tables and table.name != "alembic_version":
                        found = [dict(row._mapping) for row in source.execute(sa.select(table))]
                        if found:
                            connection.execute(sa.insert(there.tables[table.name]), found)
        finally:
            here.dispose()

    for url, work in ((owner, tables), (root, copied)):
        engine = engines.create(url)
        async with engine.begin() as connection:
            await connection.run_sync(work)
        await engine.dispose()


def test_a_start_that_is_killed_in_the_middle_leaves_what_was(file: Path, state: dict[str, Any]) -> None:
    """Killed once every revision has run and nothing is committed; the next one does it all."""
    before = content(file)
    script = (
        "import asyncio, os, signal, sys\n"
        "from mainspring.platform import database, migrations\n"
        "migrations.guards.install = lambda connection: os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(database.Database(sys.argv[1]).open())\n"
    )
    url = controls(file).database_url
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", script, url], env=environment, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert rows(file, "PRAGMA integrity_check") == [("ok",)]
    assert content(file) == before
    assert content(backup.path_of(url, state["revision"])) == before
    asyncio.run(opened(url))
    asyncio.run(upkeep.check(controls(file)))


def test_without_a_copy_nothing_is_upgraded(file: Path, state: dict[str, Any]) -> None:
    kept = backup.path_of(controls(file).database_url, state["revision"])
    kept.with_name(f"{kept.name}.new").mkdir()  # what would be written first
    before = content(file)
    with pytest.raises(
        errors.DependencyDown, match="was not upgraded, as no copy of it could be kept.*make room"
    ):
        asyncio.run(upkeep.upgrade(controls(file)))
    assert content(file) == before


def test_a_half_migrated_database_is_refused_and_goes_on_once_it_is_mended(
    file: Path, state: dict[str, Any]
) -> None:
    """It has a table of a later revision than it says that it is at."""
    rows(file, LATER)
    before = content(file)
    for attempt in (upkeep.upgrade(controls(file)), opened(controls(file).database_url)):
        with pytest.raises(
            errors.Misconfigured, match=r"at revision `\d+` and has other tables.*alerts.*db upgrade"
        ):
            asyncio.run(attempt)
    assert content(file) == before
    rows(file, "DROP TABLE alerts")
    assert asyncio.run(upkeep.upgrade(controls(file))).after == migrations.HEAD
    asyncio.run(upkeep.check(controls(file)))


def test_a_database_that_lost_a_table_is_refused(file: Path, state: dict[str, Any]) -> None:
    rows(file, "PRAGMA foreign_keys=OFF")
    rows(file, "DROP TABLE alembic_version")
    with pytest.raises(errors.Misconfigured, match="at revision `none` and has other tables"):
        asyncio.run(upkeep.upgrade(controls(file)))


@pytest.mark.parametrize(
    ("revision", "words"), [("9999", "run the newer version"), ("0003x", "0003x.*restore")]
)
def test_a_database_of_another_version_is_refused_and_left_alone(
    file: Path, state: dict[str, Any], revision: str, words: str
) -> None:
    rows(file, f"UPDATE alembic_version SET version_num = '{revision}'")
    before = content(file)
    with pytest.raises(errors.Misconfigured, match=f"(?i){words}"):
        asyncio.run(upkeep.upgrade(controls(file)))
    assert content(file) == before
