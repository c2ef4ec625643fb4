"""A PostgreSQL of this test run, on a Unix socket only: no port to collide with, nothing reaches it from elsewhere."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql

START_SECONDS: Final = 60.0
#: Who makes the tables, and as whom the control API runs.
OWNER, APP = "mainspring_owner", "mainspring_app"
_INIT: Final = ("--no-sync", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8")


def programs() -> Path | None:
    """Where `initdb` and `postgres` are: Debian keeps them off PATH, one folder a version."""
    found = shutil.which("postgres")
    if found is not None:
        return Path(found).parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda p: int(p.parts[-3]))
    return versions[-1].parent if versions else None


def _as_somebody() -> list[str]:
    """PostgreSQL refuses to run as root; in a namespace of its own root is anybody else."""
    return [] if os.geteuid() else ["unshare", "--user", "--map-user=1000", "--map-group=1000"]


@dataclass
class Server:
    """Databases of one server. `template` is copied for each test: a copy takes 50 ms, a migration more."""

    socket: Path
    template: str = ""
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def url(self, database: str, role: str) -> str:
        return f"postgresql+psycopg://{role}@/{database}?host={self.socket}"

    def connect(self, database: str, role: str = "postgres") -> psycopg.Connection:
        return psycopg.connect(host=str(self.socket), dbname=database, user=role)

    def create(self, template: str = "template0") -> str:
        """A new database, the owner's."""
        name = f"mainspring_{next(self._numbers)}"
        with contextlib.closing(self.connect("postgres")) as admin:
            admin.autocommit = True
            admin.execute(
                sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(OWNER), sql.Identifier(template)
                )
            )
        return name


@contextlib.contextmanager
def started() -> Iterator[Server]:
    """A server with the two roles. Ended, and forgotten, with the block.

    Errors: FileNotFoundError where PostgreSQL is not installed, TimeoutError where it does not answer.
    """
    folder = programs()
    if folder is None:
        raise FileNotFoundError("PostgreSQL is not installed; install it by tools/apt.sh")
    # Short: the path of a Unix socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="ms-pg-") as place:
        subprocess.run(
            [*_as_somebody(), folder / "initdb", *_INIT, f"--pgdata={place}/data"],
            check=True,
            capture_output=True,
            timeout=START_SECONDS,
        )
        options = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={place}", "-c", "fsync=off"]
        with (Path(place) / "log").open("wb") as log:
            process = subprocess.Popen(
                [*_as_somebody(), folder / "postgres", "-D", f"{place}/data", *options],
                stdout=log,
                stderr=log,
            )
        try:
            server = Server(Path(place))
            _await(server)
            yield server
        finally:
            process.send_signal(signal.SIGQUIT)  # at once: nothing of it is kept
            process.wait(timeout=START_SECONDS)


def _await(server: Server) -> None:
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            with contextlib.closing(server.connect("postgres")) as admin:
                for role in (OWNER, APP):
                    admin.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
                admin.commit()
                return
        except psycopg.OperationalError as error:
            if time.monotonic() > until:
                log = (server.socket / "log").read_text(errors="replace")
                raise TimeoutError(f"PostgreSQL does not answer: {log}") from error
            time.sleep(0.02)
