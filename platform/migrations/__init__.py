"""Revisions of the control database, and where a database stands among them.

Revisions are numbered files in `versions/`, each frozen once it is released: a later change is a later revision. What
they do must hold on SQLite and on PostgreSQL. Alembic runs them over a connection that the caller has opened, so that a
revision and its number are committed together or not at all.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from mainspring.core import errors

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = ["HEAD", "current", "differences", "grant", "require_head", "upgrade"]

#: The newest revision; a test holds it against the files.
HEAD: Final = "0001"

_VERSION: Final = sa.table("alembic_version", sa.column("version_num", sa.String))
_FOLDER: Final = Path(__file__).parent


def current(connection: sa.Connection) -> str:
    """The revision of a database; empty for one that has none yet."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return ""
    return connection.execute(sa.select(_VERSION.c.version_num)).scalar_one_or_none() or ""


def upgrade(connection: sa.Connection) -> tuple[str, str]:
    """Run every revision that is missing, within the caller's transaction; returns (before, after).

    A SQLite file of a version that knew no revisions keeps its tables and rows.
    Errors: Misconfigured for a database of a newer version than this one.
    """
    before = current(connection)
    if before == HEAD:
        return before, before
    # Alembic takes 0.2 s to import, and a database is behind but once.
    from alembic import command

    _refuse_unknown(before)
    command.upgrade(_config(connection), "head")
    return before, current(connection)


def require_head(connection: sa.Connection) -> None:
    """Errors: Misconfigured, with the command that mends it, if the database is at another revision."""
    found = current(connection)
    if found != HEAD:
        _refuse_unknown(found)
        raise errors.Misconfigured(
            f"the control database is at revision `{found or 'none'}`, expected `{HEAD}`; run `mainspring db upgrade`"
        )


def differences(connection: sa.Connection, metadata: sa.MetaData) -> list[str]:
    """What the tables in the database have otherwise than `metadata`, a line each; empty: nothing."""
    from alembic import autogenerate
    from alembic.migration import MigrationContext

    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return [str(found) for found in autogenerate.compare_metadata(context, metadata)]


def grant(connection: sa.Connection, role: str) -> None:
    """Let a PostgreSQL role run the control API: all tables to read and write, the audit log to append to only."""
    name = connection.dialect.identifier_preparer.quote(role)
    connection.execute(sa.text(f"GRANT USAGE ON SCHEMA public TO {name}"))
    connection.execute(sa.text(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {name}"))
    writable = [t for t in sa.inspect(connection).get_table_names() if t not in ("audit", "alembic_version")]
    for table in writable:
        connection.execute(
            sa.text(
                f"GRANT SELECT, INSERT, UPDATE, DELETE ON {connection.dialect.identifier_preparer.quote(table)} TO {name}"
            )
        )
    connection.execute(sa.text(f"GRANT SELECT, INSERT ON audit TO {name}"))
    connection.execute(sa.text(f"GRANT SELECT ON alembic_version TO {name}"))
    connection.execute(sa.text(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {name}"))


def _refuse_unknown(found: str) -> None:
    if found and found > HEAD:
        raise errors.Misconfigured(
            f"the control database is at revision `{found}`, this version knows up to `{HEAD}`; run the newer version"
        )


def _config(connection: sa.Connection) -> Config:
    from alembic.config import Config

    config = Config(attributes=_attributes(connection))
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _attributes(connection: sa.Connection) -> dict[str, Any]:
    return {"connection": connection}
