"""What an operator does with the control database: bring it to the newest revision, and look whether it is in order.

On PostgreSQL two roles take part: the one of `control.migration_url` owns the tables, and the one of
`control.database_url`, which the control API runs as, is granted what it needs and no more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from mainspring.core import errors, settings
from mainspring.platform import backup, database, engines, migrations


@dataclass(frozen=True)
class Upgraded:
    """Revisions before and after; `granted` is the role that was given its rights, if it is another one; `backup` is the file
    that SQLite's database was before, if it was another one."""

    before: str
    after: str
    granted: str = ""
    backup: str = ""


async def upgrade(s: settings.ControlSettings) -> Upgraded:
    """Run the missing revisions and grant the API's role its rights: all of it or nothing.

    Errors: DependencyDown if the database does not answer; Misconfigured for a newer database.
    """
    owner = s.migration_url or s.database_url
    if engines.is_sqlite(owner):
        engines.make_folder(owner)
    role = sa.make_url(s.database_url).username or ""
    is_other = not engines.is_sqlite(owner) and role != (sa.make_url(owner).username or "")

    def work(connection: sa.Connection) -> Upgraded:
        before, after = migrations.upgrade(connection)
        if is_other:
            migrations.grant(connection, role)
        kept = backup.path_of(owner, before)
        is_kept = engines.is_sqlite(owner) and before != after and kept.exists()
        return Upgraded(before, after, role if is_other else "", str(kept) if is_kept else "")

    done: Upgraded = await _ask(owner, work)
    return done


async def current(s: settings.ControlSettings) -> str:
    """The revision that the database is at; empty: none. Errors: DependencyDown."""
    found: str = await _ask(s.database_url, migrations.current)
    return found


async def check(s: settings.ControlSettings) -> None:
    """Errors: Misconfigured, with every difference from what this version expects; DependencyDown."""

    def work(connection: sa.Connection) -> list[str]:
        migrations.require_head(connection)
        return migrations.differences(connection, database.metadata)

    if found := await _ask(s.database_url, work):
        raise errors.Misconfigured(
            f"the control database has other tables than revision `{migrations.HEAD}`: {'; '.join(found)}; restore"
            " it from its backup, or change it back by hand"
        )


async def _ask(url: str, work: Any) -> Any:
    engine = engines.create(url)
    try:
        async with engines.begin_writing(engine) as connection:
            return await connection.run_sync(work)
    except (exc.OperationalError, exc.ProgrammingError) as error:
        raise errors.DependencyDown(
            f"the control database refused: {str(error.orig).splitlines()[0]}; look at `control.database_url` and"
            " `control.migration_url`",
            name="database",
        ) from error
    finally:
        await engine.dispose()
