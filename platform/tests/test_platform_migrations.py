"""Revisions make the tables that the code knows, on both engines, all of them or none."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from typing import Any

import platform_postgres
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.script import ScriptDirectory
from click.testing import CliRunner

from mainspring.core import errors, settings
from mainspring.platform import database, engines, migrations, upkeep
from mainspring.platform.cli import main as cli
from mainspring.platform.holds import store as hold_store

Raw = Callable[[str], list[Any]]


def ask(url: str, question: Callable[[sa.Connection], Any]) -> Any:
    async def walk() -> Any:
        db = database.Database(url)
        try:
            await db.open()
            async with db.read() as connection:
                return await connection.run_sync(question)
        finally:
            await db.close()

    return asyncio.run(walk())


def sqlite_url(folder: Path) -> str:
    return f"sqlite+aiosqlite:///{folder / 'control.db'}"


def test_the_newest_revision_is_the_one_of_the_files() -> None:
    script = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert script.get_heads() == [migrations.HEAD]
    numbers = [r.revision for r in script.walk_revisions()]
    assert numbers == [f"{n:04}" for n in range(len(numbers), 0, -1)]  # one line, no branches


def test_the_revisions_make_the_tables_that_the_code_knows(database_url: str) -> None:
    assert ask(database_url, migrations.current) == migrations.HEAD
    assert ask(database_url, lambda c: migrations.differences(c, database.metadata)) == []


def test_usage_from_before_has_its_environment_where_budgets_look(tmp_path: Path) -> None:
    def walk(connection: sa.Connection) -> list[str]:
        command.upgrade(migrations._config(connection), "0017")
        connection.exec_driver_sql("INSERT INTO projects VALUES ('a', 'o', '', NULL, '2026-11-30', 'o')")
        for n, view in enumerate(('{"environment": "dev"}', '{"environment": "prod"}')):
            row = f"('k{n}', 'a', 'r', 's', '2026-11-30T00:00:0{n}+00:00', 1, 'USD', '{{}}', '{view}')"
            connection.exec_driver_sql(f"INSERT INTO usage VALUES {row}")
        command.upgrade(migrations._config(connection), "head")
        asked = (
            "sum(cost_nanos) FROM usage WHERE project = 'a' AND environment = 'dev' AND started_at >= '2026'"
        )
        (plan,) = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN SELECT {asked}").all()
        assert "usage_of_budgets (project=? AND environment=? AND started_at>?)" in plan[3]
        return list(connection.exec_driver_sql("SELECT environment FROM usage ORDER BY usage_key").scalars())

    engine = sa.create_engine(f"sqlite:///{tmp_path / 'control.db'}")
    with engine.begin() as connection:
        assert walk(connection) == ["dev", "prod"]
    engine.dispose()


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def test_holds_on_subjects_are_holds_like_others(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Revision 0020: what was in force is in force, and what was lifted says by whom and why."""
    url = f"sqlite:///{tmp_path / 'control.db'}"
    if kind == "postgresql":
        server: platform_postgres.Server = request.getfixturevalue("postgres")
        url = server.url(server.create(), "postgres")
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        command.upgrade(migrations._config(connection), "0019")
        connection.exec_driver_sql("INSERT INTO projects VALUES ('flights', 'o', '', NULL, '2026', 'eva')")
        connection.exec_driver_sql(
            "INSERT INTO erasure_holds VALUES"
            " ('hold_1', 'flights', 'tailnum', 'aa', 'case 1', '2026-01-01T00:00:00+00:00', 'eva', NULL, '', ''),"
            " ('hold_2', 'flights', 'tailnum', 'aa', 'case 2', '2026-01-01T00:00:00+00:00', 'eva',"
            " '2026-02-01T00:00:00+00:00', 'ana', 'it is over')"
        )
    with engine.begin() as connection:
        migrations.upgrade(connection)
        rows = connection.execute(sa.select(database.holds).order_by(database.holds.c.hold_id)).all()
        assert migrations.differences(connection, database.metadata) == []
    engine.dispose()
    held, lifted = map(hold_store.view, rows)
    assert (held.state, held.entity, held.subject_hash, held.kinds) == ("in_force", "tailnum", "aa", ())
    assert (lifted.state, lifted.lifted_by, lifted.lift_reason) == ("lifted", "ana", "it is over")


def test_a_difference_is_seen(database_url: str, tamper: Raw) -> None:
    ask(database_url, migrations.current)
    tamper("ALTER TABLE usage DROP COLUMN currency")
    (found,) = ask(database_url, lambda c: migrations.differences(c, database.metadata))
    assert "add_column" in found and "currency" in found
    control = settings.ControlSettings(database_url=database_url)
    with pytest.raises(errors.Misconfigured, match="currency.*restore it"):
        asyncio.run(upkeep.check(control))


def test_a_database_of_a_newer_version_is_refused(database_url: str, tamper: Raw) -> None:
    ask(database_url, migrations.current)
    tamper("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(errors.Misconfigured, match="revision `9999`, this version knows up to"):
        ask(database_url, migrations.current)


def test_a_revision_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(connection: sa.Connection) -> None:
        migrations.upgrade(connection)
        raise RuntimeError("the machine was switched off")

    url = sqlite_url(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(migrations, "upgrade", half)
        with pytest.raises(RuntimeError):
            ask(url, migrations.current)
    engine = sa.create_engine(url.replace("+aiosqlite", ""))
    assert sa.inspect(engine).get_table_names() == []
    engine.dispose()
    assert ask(url, migrations.current) == migrations.HEAD


def test_starts_at_the_same_time_upgrade_once(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path)
    with futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: ask(url, migrations.current), range(4)))
    assert found == [migrations.HEAD] * 4


@pytest.mark.integration
def test_postgresql_is_upgraded_by_its_owner_and_never_by_a_start(
    postgres: platform_postgres.Server,
) -> None:
    name = postgres.create()
    app, owner = (postgres.url(name, role) for role in (platform_postgres.APP, platform_postgres.OWNER))
    with pytest.raises(errors.Misconfigured, match="revision `none`.*mainspring db upgrade"):
        ask(app, migrations.current)
    control = settings.ControlSettings(database_url=app, migration_url=owner)
    done = asyncio.run(upkeep.upgrade(control))
    assert done == upkeep.Upgraded("", migrations.HEAD, platform_postgres.APP)
    assert asyncio.run(upkeep.upgrade(control)).before == migrations.HEAD
    assert ask(app, migrations.current) == asyncio.run(upkeep.current(control)) == migrations.HEAD
    asyncio.run(upkeep.check(control))
    with postgres.connect(name, platform_postgres.APP) as connection:
        with pytest.raises(platform_postgres.psycopg.errors.InsufficientPrivilege):
            connection.execute("DROP TABLE audit")


@pytest.mark.integration
def test_a_role_without_rights_is_told_so(postgres: platform_postgres.Server) -> None:
    control = settings.ControlSettings(database_url=postgres.url(postgres.create(), platform_postgres.APP))
    with pytest.raises(errors.DependencyDown, match=r"permission denied for schema public.*migration_url"):
        asyncio.run(upkeep.upgrade(control))
    nowhere = settings.ControlSettings(database_url=f"postgresql+psycopg://x@/x?host={postgres.socket}/no")
    with pytest.raises(errors.DependencyDown, match="control.database_url"):
        asyncio.run(upkeep.current(nowhere))


def test_readers_keep_one_snapshot_while_others_write(database_url: str, tamper: Raw) -> None:
    count = sa.select(sa.func.count()).select_from(database.lineage_nodes)
    node = "(namespace, name, version, \"column\", kind) VALUES ('n', 'n', 'v', '', 'k')"

    async def walk() -> None:
        db = database.Database(database_url)
        await db.open()
        async with db.read() as reader:
            assert await reader.scalar(count) == 0
            await asyncio.to_thread(tamper, f"INSERT INTO lineage_nodes {node}")
            assert await reader.scalar(count) == 0
        async with db.read() as reader:
            assert await reader.scalar(count) == 1
        await db.close()

    asyncio.run(walk())


@pytest.mark.integration
def test_readers_on_postgresql_cannot_write(postgres: platform_postgres.Server) -> None:
    async def walk() -> None:
        db = database.Database(postgres.url(postgres.create(postgres.template), platform_postgres.APP))
        async with db.read() as reader:
            with pytest.raises(sa.exc.DBAPIError, match="read-only transaction"):
                await reader.execute(sa.delete(database.catalog))
        await db.close()

    asyncio.run(walk())


def test_a_writer_that_does_not_end_is_reported_as_busy(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "WAIT_SECONDS", 1)

    async def walk() -> None:
        one, other = database.Database(database_url), database.Database(database_url)
        await one.open()
        async with one.write():
            with pytest.raises(errors.Overloaded, match="another writer"):
                async with other.write():
                    pass
        async with other.write():
            pass  # the first has ended
        await one.close()
        await other.close()

    asyncio.run(walk())


def test_the_command_line(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tamper: Raw
) -> None:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, Any]:
        done = CliRunner().invoke(cli.cli, ["db", *arguments, "--json"])
        return done.exit_code, json.loads(done.stdout)

    code, told = run("upgrade")
    assert (code, told["data"]["after"]) == (0, migrations.HEAD)
    assert run("current")[1]["data"] == {"revision": migrations.HEAD, "expected": migrations.HEAD}
    assert run("check") == (
        0,
        {"schema": "mainspring.cli/v1", "data": {"ok": True, "revision": migrations.HEAD}},
    )
    tamper("DELETE FROM alembic_version")
    refused = CliRunner().invoke(cli.cli, ["db", "check"])
    assert refused.exit_code == 78 and "mainspring db upgrade" in refused.output
