"""`mainspring db`: the control database, asked directly: no control API has to run, or may run yet."""

from __future__ import annotations

import asyncio
import dataclasses

import rich_click as click

from mainspring.platform.cli import output, session

__all__ = ["db"]


@click.group()
def db() -> None:
    """The control database: its revisions, and whether it is in order."""


@db.command("upgrade")
@session.JSON
def db_upgrade(as_json: bool) -> None:
    """Bring it to the newest revision, all or nothing. SQLite's is brought there by every start anyway.

    On PostgreSQL run it as the owner of the tables (`control.migration_url`); the role of `control.database_url` is
    granted what the control API needs: the audit log to read and append to, nothing to drop or truncate.
    """
    from mainspring.core import settings
    from mainspring.platform import upkeep

    done = asyncio.run(upkeep.upgrade(settings.load().control))
    output.show(dataclasses.asdict(done), as_json=as_json)


@db.command("current")
@session.JSON
def db_current(as_json: bool) -> None:
    """The revision it is at, and the one that this version expects."""
    from mainspring.core import settings
    from mainspring.platform import migrations, upkeep

    found = asyncio.run(upkeep.current(settings.load().control))
    output.show({"revision": found or "none", "expected": migrations.HEAD}, as_json=as_json)


@db.command("check")
@session.JSON
def db_check(as_json: bool) -> None:
    """Is it at the newest revision, and are its tables those of that revision. Exit code 78 if not."""
    from mainspring.core import settings
    from mainspring.platform import migrations, upkeep

    asyncio.run(upkeep.check(settings.load().control))
    output.show({"ok": True, "revision": migrations.HEAD}, as_json=as_json)
