"""The database itself refuses what is not on record, and every way round that raw SQL has."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

import platform_postgres
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainspring.core import errors
from mainspring.platform import database
from mainspring.platform.audit import guards, store

Raw = Callable[..., list[Any]]
FACT = store.Fact(actor="ana", action="project.create", resource="project/a", outcome="done", detail={"n": 1})
PROJECT = {"name": "a", "owner": "o", "description": "", "created_at": "t", "created_by": "ana"}
NEW = "INSERT INTO projects VALUES ('b', 'o', '', NULL, 't', 'eve', NULL)"
CHECKED = "PRAGMA foreign_keys = ON"


def told(url: str, story: Callable[[database.Database], Any]) -> Any:
    async def walk() -> Any:
        db = database.Database(url)
        try:
            await db.open()
            return await story(db)
        finally:
            await db.close()

    return asyncio.run(walk())


async def seed(db: database.Database) -> None:
    """Project `a` and its audit row; then a second row."""
    async with db.write() as connection:
        await connection.execute(sa.insert(database.projects).values(**PROJECT))
        await store.append(connection, [FACT])
    async with db.write() as connection:
        await store.append(connection, [FACT])


@pytest.fixture
def seeded(database_url: str) -> str:
    told(database_url, seed)
    return database_url


@contextlib.contextmanager
def refused(raw: Raw, why: str) -> Iterator[None]:
    """What is inside fails for that reason and changes neither projects nor the log."""
    every = ("SELECT * FROM projects ORDER BY name", "SELECT * FROM audit ORDER BY sequence")
    before = [raw(query) for query in every]
    assert [len(rows) for rows in before] == [1, 2]
    with pytest.raises(sa.exc.DBAPIError, match=why):
        yield
    assert [raw(query) for query in every] == before


def test_every_table_is_guarded(database_url: str) -> None:
    async def story(db: database.Database) -> Any:
        async with db.read() as connection:
            return await connection.run_sync(lambda c: (guards._guarded(c), guards.missing(c)))

    guarded, missing = told(database_url, story)
    assert missing == [] and guarded == sorted(set(database.metadata.tables) - set(guards.UNGUARDED))
    assert set(guards.UNGUARDED) == {
        "audit",
        "audit_due",
        "alembic_version",
        "read_decisions",
        "request_keys",
    }  # may only shrink


@pytest.mark.parametrize(
    "change", [sa.insert(database.projects).values(**{**PROJECT, "name": "b"}), sa.delete(database.projects)]
)
def test_a_change_without_its_audit_row_is_refused_at_commit(
    seeded: str, raw: Raw, change: sa.Executable
) -> None:
    async def story(db: database.Database) -> None:
        with pytest.raises(errors.InvariantViolated, match="not on record"):
            async with db.write() as connection:
                await connection.execute(change)
        async with db.write() as connection:  # the connection is as good as before
            await connection.execute(sa.update(database.projects).values(owner="p"))
            await store.append(connection, [FACT])

    told(seeded, story)
    assert [row.owner for row in raw("SELECT owner FROM projects")] == ["p"]


CHANGES = (NEW, "UPDATE projects SET owner = 'eve'", "DELETE FROM projects")


@pytest.mark.parametrize("statement", CHANGES)
def test_raw_changes_are_refused(seeded: str, raw: Raw, statement: str) -> None:
    why = "foreign_keys is off" if seeded.startswith("sqlite") else "not on record"
    with refused(raw, why):
        raw(statement)
    if seeded.startswith("sqlite"):
        with refused(raw, "FOREIGN KEY constraint failed"):
            raw(CHECKED, statement)


LOG = "SELECT sequence + {}, {}, {}, at, 'eve', action, resource, outcome, detail, {}, hash, NULL, NULL, NULL FROM audit"
ROUND_SQLITE = {
    "replace a row": "INSERT OR REPLACE INTO audit "
    + LOG.format(0, "event_id", "event_key", "previous_hash"),
    "replace by event id": (
        "INSERT OR REPLACE INTO audit "
        + LOG.format(2, "event_id", "event_key", "(SELECT hash FROM audit WHERE sequence = 2)")
        + " WHERE sequence = 1"
    ),
    "leave a gap": "INSERT INTO audit " + LOG.format(7, "'e'", "NULL", "'x'") + " WHERE sequence = 1",
    "follow nothing": "INSERT INTO audit " + LOG.format(2, "'e'", "NULL", "'x'") + " WHERE sequence = 1",
    "no number": "INSERT INTO audit "
    + LOG.replace("sequence + {}", "NULL{}").format("", "'e'", "NULL", "'x'")
    + " WHERE sequence = 1",
    "update the log": "UPDATE audit SET actor = 'eve'",
    "update or ignore": "UPDATE OR REPLACE audit SET actor = 'eve'",
    "delete from the log": "DELETE FROM audit WHERE sequence = 2",
    "forget what is due": (NEW, "DELETE FROM audit_due"),
    "put it off": (NEW, "UPDATE audit_due SET sequence = 1"),
    "defer it": ("PRAGMA defer_foreign_keys = ON", NEW),
    "switch it off meanwhile": (NEW, "PRAGMA foreign_keys = OFF"),
    "upsert": f"{NEW} ON CONFLICT (name) DO UPDATE SET owner = 'eve'",
    "replace a project": NEW.replace("INSERT", "REPLACE").replace("'b'", "'a'"),
    "update or replace": "UPDATE OR REPLACE projects SET owner = 'eve'",
}


@pytest.mark.parametrize("name", ROUND_SQLITE)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_no_way_round_on_sqlite(seeded: str, raw: Raw, name: str) -> None:
    statements = ROUND_SQLITE[name]
    if isinstance(statements, str):
        statements = (statements,)
    with refused(raw, "never changed|follows the last|FOREIGN KEY constraint|not on record"):
        raw(CHECKED, *statements)


ROUND_POSTGRESQL = {
    "replicate": ("SET session_replication_role = replica", NEW),
    "switch triggers off": "ALTER TABLE projects DISABLE TRIGGER ALL",
    "drop one": "DROP TRIGGER audited ON projects",
    "another function": (
        "CREATE OR REPLACE FUNCTION public.mainspring_must_be_audited() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN RETURN NULL; END'"
    ),
    "check at once": ("SET CONSTRAINTS ALL IMMEDIATE", NEW),
    "another log in front": ("CREATE TEMP TABLE audit AS SELECT * FROM public.audit", NEW),
    "a row in the other log": (
        "CREATE TEMP TABLE audit AS SELECT * FROM public.audit",
        "INSERT INTO audit SELECT * FROM public.audit",
        NEW,
    ),
    "truncate": "TRUNCATE projects CASCADE",
    "truncate the log": "TRUNCATE audit",
    "update the log": "UPDATE audit SET actor = 'eve'",
    "delete from the log": "DELETE FROM audit WHERE sequence = 2",
    "upsert the log": "INSERT INTO audit SELECT * FROM audit ON CONFLICT (sequence) DO UPDATE SET actor = 'eve'",
    "a row of old": (
        "INSERT INTO audit " + LOG.format(2, "'e'", "NULL", "(SELECT hash FROM audit WHERE sequence = 2)")
    )
    + " WHERE sequence = 1",
    "leave a gap": "INSERT INTO audit " + LOG.format(7, "'e'", "NULL", "'x'") + " WHERE sequence = 1",
    "become the owner": ("SET ROLE mainspring_owner", NEW),
    "give oneself the right": (
        "GRANT UPDATE ON audit TO mainspring_app",
        "UPDATE audit SET actor = 'eve'",
    ),
    "write the revision": "UPDATE alembic_version SET version_num = '9'",
    "update one row of many": "WITH x AS (UPDATE projects SET owner = 'eve' RETURNING *) SELECT * FROM x",
}


@pytest.mark.parametrize("name", ROUND_POSTGRESQL)
@pytest.mark.parametrize(
    "database_url", [pytest.param("postgresql", marks=pytest.mark.integration)], indirect=True
)
def test_no_way_round_on_postgresql(seeded: str, raw: Raw, name: str) -> None:
    statements = ROUND_POSTGRESQL[name]
    if isinstance(statements, str):
        statements = (statements,)
    why = "not on record|never changed|follows the last|permission denied|must be owner"
    with refused(lambda q: raw(q.replace("FROM audit", "FROM public.audit")), why):
        raw(*statements)


@pytest.mark.parametrize(
    "database_url", [pytest.param("postgresql", marks=pytest.mark.integration)], indirect=True
)
def test_even_the_owner_does_not_rewrite_or_truncate_by_mistake(
    seeded: str, postgres: platform_postgres.Server
) -> None:
    name = str(sa.make_url(seeded).database)
    mistakes = ("UPDATE audit SET actor = 'x'", "DELETE FROM audit", "TRUNCATE audit", "TRUNCATE usage", NEW)
    for statement in mistakes:
        with pytest.raises(platform_postgres.psycopg.errors.IntegrityConstraintViolation):
            with contextlib.closing(postgres.connect(name, platform_postgres.OWNER)) as connection:
                connection.execute(statement)
                connection.commit()


def test_a_dropped_guard_is_told_or_put_back(
    seeded: str, tamper: Raw, caplog: pytest.LogCaptureFixture
) -> None:
    async def nothing(_db: database.Database) -> None: ...

    if seeded.startswith("sqlite"):
        tamper("SELECT 1")  # drops them all
        with caplog.at_level(logging.WARNING):
            told(seeded, nothing)
        assert "audit_no_update" in caplog.text and "projects_insert_audited" in caplog.text
        caplog.clear()
        told(seeded, nothing)
        assert caplog.text == ""
        return
    for harm in (
        "ALTER TABLE projects DISABLE TRIGGER audited",
        "DROP TRIGGER audited ON projects",
    ):
        tamper(harm)
        with pytest.raises(errors.Misconfigured, match=r"switched off: projects.audited;.*db upgrade"):
            told(seeded, nothing)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("role", "grant", "why"),
    [
        (platform_postgres.OWNER, "", "it owns the table"),
        ("postgres", "", "it owns the table"),
        (platform_postgres.APP, "GRANT DELETE, TRUNCATE ON audit TO {}", "it has DELETE, TRUNCATE on it"),
        (platform_postgres.APP, "GRANT UPDATE (actor) ON audit TO {}", "it may update a column"),
        (platform_postgres.APP, "GRANT UPDATE ON audit TO PUBLIC", "it has UPDATE on it"),
    ],
)
def test_a_role_that_could_rewrite_the_log_is_not_served(
    postgres: platform_postgres.Server, role: str, grant: str, why: str
) -> None:
    name = postgres.create(postgres.template)
    if grant:
        with postgres.connect(name) as admin:
            admin.execute(grant.format(role))

    async def nothing(_db: database.Database) -> None: ...

    with pytest.raises(errors.Misconfigured, match=f"`{role}`.*{why}.*control.migration_url"):
        told(postgres.url(name, role), nothing)


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=20)
@given(texts=st.lists(st.tuples(TEXTS, TEXTS, TEXTS, TEXTS), min_size=1, max_size=20))
def test_any_fact_has_the_same_bytes_for_the_database(
    database_url: str, texts: list[tuple[str, str, str, str]]
) -> None:
    """PostgreSQL makes the hash once more, out of its own JSON: a difference would refuse an honest row."""
    facts = [
        store.Fact(actor=a, action=b, resource=c, outcome=d, detail={a: b, c: [d, 1, 0.5]})
        for a, b, c, d in texts
    ]

    async def story(db: database.Database) -> None:
        async with db.write() as connection:
            await store.append(connection, facts)

    told(database_url, story)


@pytest.mark.parametrize(
    "database_url", [pytest.param("postgresql", marks=pytest.mark.integration)], indirect=True
)
def test_a_value_that_the_engine_cannot_hold_is_the_callers_mistake(seeded: str) -> None:
    async def story(db: database.Database) -> None:
        with pytest.raises(errors.InvalidRequest, match="cannot hold a value"):
            async with db.write() as connection:
                await connection.execute(sa.update(database.projects).values(owner="a\0b"))

    told(seeded, story)
