"""The control database as it was before it was upgraded: a copy beside SQLite's file.

A revision is committed whole or not at all, so a crash needs no copy. It is for what no transaction undoes: a later version
that one wants to be rid of. `control.db.0006.backup` is the file of revision 0006; put in the place of `control.db`, with no
process at work and `control.db-wal` and `-shm` gone, it is what it was; erasures that were done since are put on record again at
the start (`erasure/replaying.py`). It is removed after `control.backup_days`. PostgreSQL's own tools keep copies of PostgreSQL.
"""

from __future__ import annotations

import asyncio
import contextlib
import glob
import logging
import re
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import quote

import sqlalchemy as sa

from mainspring.core import durable, errors, settings
from mainspring.core.contracts import base

__all__ = ["copies", "keep", "path_of", "sweep", "sweep_forever"]

_LOG: Final = logging.getLogger(__name__)
_SWEEP_SECONDS: Final = 3600.0


def path_of(url: str, revision: str) -> Path:
    """Where the copy of SQLite's file at `revision` is. A file of a version that knew no revisions is at `0000`."""
    file = Path(str(sa.make_url(url).database))
    return file.with_name(f"{file.name}.{revision or '0000'}.backup")


def copies(url: str) -> list[tuple[Path, datetime]]:
    """The copies beside SQLite's file and when each was made, also what a process that died over one has left; none on PostgreSQL."""
    where = sa.make_url(url)
    if where.get_backend_name() != "sqlite" or not where.database:
        return []
    file = Path(where.database)
    is_copy = re.compile(rf"{re.escape(file.name)}\.\w+\.backup(\.new)?")
    found = list[tuple[Path, datetime]]()
    for path in sorted(file.parent.glob(f"{glob.escape(file.name)}.*")):
        # One that goes meanwhile is none.
        with contextlib.suppress(FileNotFoundError):
            if is_copy.fullmatch(path.name) and path.is_file():
                found.append((path, datetime.fromtimestamp(path.stat().st_mtime, UTC)))
    return found


def sweep(url: str, days: float, now: datetime) -> list[Path]:
    """Remove the copies that are older; which those were. Errors: OSError."""
    old = [path for path, made_at in copies(url) if now - made_at > timedelta(days=days)]
    for path in old:
        path.unlink(missing_ok=True)
        _LOG.info("%s is removed: it is older than %g days (`control.backup_days`)", path, days)
    return old


async def sweep_forever(control: settings.ControlSettings) -> None:
    """Now, and once an hour."""
    while True:
        try:
            await asyncio.to_thread(sweep, control.database_url, control.backup_days, base.utc_now())
        except OSError as error:
            _LOG.error("a copy of the control database is too old and cannot be removed: %s", error)
        await asyncio.sleep(_SWEEP_SECONDS)


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
