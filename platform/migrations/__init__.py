"""Revisions of the control database, and where a database stands among them.

Revisions are numbered files in `versions/`, each frozen once it is released: a later change is a later revision. What
they do must hold on SQLite and on PostgreSQL. Alembic runs them over a connection that the caller has opened, so that a
revision and its number are committed together or not at all.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy import exc

from mainspring.core import errors
from mainspring.platform import backup
from mainspring.platform.audit import guards

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = ["HEAD", "current", "differences", "grant", "require_app_role", "require_head", "upgrade"]

#: The newest revision; a test holds it against the files.
HEAD: Final = "0023"

_VERSION: Final = sa.table("alembic_version", sa.column("version_num", sa.String))
_FOLDER: Final = Path(__file__).parent
#: PostgreSQL: there is such a column, object or table already; there is no such column, object or table.
_OTHER_SHAPE: Final = frozenset({"42701", "42710", "42P07", "42703", "42704", "42P01"})
_OTHER_SHAPE_SQLITE: Final = re.compile(r"already exists|duplicate column name|no such (table|column|index)")
_LOG: Final = logging.getLogger(__name__)


def current(connection: sa.Connection) -> str:
    """The revision of a database; empty for one that has none yet."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return ""
    return connection.execute(sa.select(_VERSION.c.version_num)).scalar_one_or_none() or ""


def upgrade(connection: sa.Connection) -> tuple[str, str]:
    """Run every revision that is missing and put the guards in force, within the caller's transaction.

    Returns (before, after). A SQLite file of a version that knew no revisions keeps its tables and rows. What SQLite's file was
    lies beside it afterwards (`backup.py`).
    Errors: Misconfigured for a database of a newer version than this one, or that is not what its revision says; DependencyDown
    if SQLite's file cannot be kept. Nothing has changed then.
    """
    before = current(connection)
    if before != HEAD:
        _refuse_unknown(before)
        backup.keep(connection, before)
        _run_missing(connection, before)
    elif lost := guards.missing(connection):
        _LOG.warning("guards of the control database are not as they should be and are put back: %s", lost)
    else:
        return before, before
    guards.install(connection)
    return before, current(connection)


def require_head(connection: sa.Connection) -> None:
    """Errors: Misconfigured, with the command that mends it, if the database is at another revision or unguarded."""
    found = current(connection)
    if found != HEAD:
        _refuse_unknown(found)
        raise errors.Misconfigured(
            f"the control database is at revision `{found or 'none'}`, expected `{HEAD}`; run `mainspring db upgrade`"
        )
    if lost := guards.missing(connection):
        raise errors.Misconfigured(
            f"guards of the control database are missing or switched off: {', '.join(lost)}; find out who did it,"
            " then run `mainspring db upgrade`, which puts them back"
        )


def require_app_role(connection: sa.Connection) -> None:
    """Errors: Misconfigured if the role of this PostgreSQL connection could rewrite the audit log."""
    if why := guards.rewriters(connection):
        role = connection.execute(sa.text("SELECT current_user")).scalar_one()
        raise errors.Misconfigured(
            f"role `{role}` of `control.database_url` could rewrite the audit log: {why}; name a role of its own"
            " there, the owner in `control.migration_url`, and run `mainspring db upgrade`"
        )


def differences(connection: sa.Connection, metadata: sa.MetaData) -> list[str]:
    """What the tables in the database have otherwise than `metadata`, a line each; empty: nothing."""
    from alembic import autogenerate
    from alembic.migration import MigrationContext

    context = MigrationContext.configure(connection, opts={"compare_type": True, "include_name": _is_ours})
    return [str(found) for found in autogenerate.compare_metadata(context, metadata)]


def grant(connection: sa.Connection, role: str) -> None:
    """Let a PostgreSQL role run the control API: all tables to read and write, the audit log to append to only."""
    name = connection.dialect.identifier_preparer.quote(role)
    connection.execute(sa.text(f"GRANT USAGE ON SCHEMA public TO {name}"))
    connection.execute(sa.text(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {name}"))
    writable = set(sa.inspect(connection).get_table_names()) - {"audit", "alembic_version"}
    for table in sorted(writable):
        connection.execute(sa.text(f"GRANT SELECT, INSERT, UPDATE, DELETE ON public.{table} TO {name}"))
    connection.execute(sa.text(f"GRANT SELECT, INSERT ON audit TO {name}"))
    connection.execute(sa.text(f"GRANT SELECT ON alembic_version TO {name}"))
    connection.execute(sa.text(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {name}"))


def _is_ours(name: str | None, kind: str, _parents: object) -> bool:
    return not (kind == "table" and name == "audit_due")  # the guards' own, on SQLite


def _refuse_unknown(found: str) -> None:
    if found and found > HEAD:
        raise errors.Misconfigured(
            f"the control database is at revision `{found}`, this version knows up to `{HEAD}`; run the newer version"
        )


def _run_missing(connection: sa.Connection, before: str) -> None:
    # Alembic takes 0.2 s to import, and a database is behind but once.
    from alembic import command, util

    try:
        command.upgrade(_config(connection), "head")
    except (exc.OperationalError, exc.ProgrammingError) as error:
        if not _is_of_another_shape(error):
            raise
        raise _half_migrated(before, str(error.orig).splitlines()[0]) from error
    except util.CommandError as error:
        raise _half_migrated(before, str(error)) from error


def _is_of_another_shape(error: exc.OperationalError | exc.ProgrammingError) -> bool:
    """Is there what a revision makes already, or not what it changes."""
    state = getattr(error.orig, "sqlstate", None)
    return state in _OTHER_SHAPE if state else _OTHER_SHAPE_SQLITE.search(str(error.orig)) is not None


def _half_migrated(before: str, why: str) -> errors.Misconfigured:
    return errors.Misconfigured(
        f"the control database says that it is at revision `{before or 'none'}` and has other tables than that, so it cannot be"
        f" brought to `{HEAD}`: {why}; nothing was changed. Restore it from a copy that is whole, then run `mainspring db upgrade`"
    )


def _config(connection: sa.Connection) -> Config:
    from alembic.config import Config

    config = Config(attributes=_attributes(connection))
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _attributes(connection: sa.Connection) -> dict[str, Any]:
    return {"connection": connection}
