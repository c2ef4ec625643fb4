"""The control database as it was before it was upgraded: a copy beside SQLite's file.

A revision is committed whole or not at all, so a crash needs no copy. It is for what no transaction undoes: a later version
that one wants to be rid of. `control.db.0006.backup` is the file of revision 0006; put in the place of `control.db`, with no
process at work and `control.db-wal` and `-shm` gone, it is what it was. Nobody removes it but whoever runs the platform.
PostgreSQL's own tools keep copies of PostgreSQL.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from pathlib import Path
from typing import Final
from urllib.parse import quote

import sqlalchemy as sa

from mainspring.core import durable, errors

__all__ = ["keep", "path_of"]

_LOG: Final = logging.getLogger(__name__)


def path_of(url: str, revision: str) -> Path:
    """Where the copy of SQLite's file at `revision` is. A file of a version that knew no revisions is at `0000`."""
    file = Path(str(sa.make_url(url).database))
    return file.with_name(f"{file.name}.{revision or '0000'}.backup")


def keep(connection: sa.Connection, revision: str) -> None:
    """Copy what is committed, on disk when it returns. `connection` is the one writer: nothing comes in between.

    A copy of the same revision that is there already goes: this is the later one. Nothing is done on PostgreSQL, and for a
    file without tables. Errors: DependencyDown if it cannot be copied; nothing has changed then.
    """
    url = connection.engine.url
    if connection.dialect.name != "sqlite" or not sa.inspect(connection).get_table_names():
        return
    file, target = Path(str(url.database)), path_of(url.render_as_string(), revision)
    try:
        durable.place_file(target, lambda fresh: _copy(file, fresh))
    except (sqlite3.Error, OSError) as error:
        raise errors.DependencyDown(
            f"the control database at revision `{revision or 'none'}` was not upgraded, as no copy of it could be kept: {error};"
            f" make room for {file.stat().st_size >> 20} MiB beside `{file}`, or see that it can be written there",
            name="database",
        ) from error
    _LOG.info("before it is upgraded the control database is kept as %s", target)


def _copy(file: Path, fresh: Path) -> None:
    fresh.unlink(missing_ok=True)  # of a process that died over it
    source = sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True)
    with contextlib.closing(source), contextlib.closing(sqlite3.connect(fresh)) as target:
        fresh.chmod(file.stat().st_mode & 0o777)  # whoever may not read the one may not read the other
        source.backup(target)
