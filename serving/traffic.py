"""Who answers: traffic tables on disk, and the sticky choice between stable and canary."""

from __future__ import annotations

import difflib
import hashlib
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from mainspring.core import durable, errors, ids
from mainspring.core.contracts import deployment

STABLE: Final = "stable"
CANARY: Final = "canary"
SHADOW: Final = "shadow"

#: What was asked of one bundle by name, not by traffic. It has a tally of its own: who chooses his answerer would bias
#: what a canary is judged by.
CHOSEN: Final = "chosen"

_BUCKETS: Final = 1 << 64


def route(table: deployment.TrafficTable, key: str) -> tuple[str, str]:
    """The bundle digest and role that answer `key`.

    A pure function of endpoint, share and key: the same key gets the same answerer in every process, and keys that
    the canary has at 5 % it still has at 25 %. The endpoint is hashed too, so that canaries of two endpoints do not
    land on the same entities.
    """
    if table.canary is None:
        return table.stable, STABLE
    hashed = hashlib.sha256(f"{table.endpoint}\0{key}".encode()).digest()
    bucket = int.from_bytes(hashed[:8], "big")
    if bucket * 100 < table.canary_percent * _BUCKETS:
        return table.canary, CANARY
    return table.stable, STABLE


def named(table: deployment.TrafficTable, wanted: str) -> str:
    """The digest of the bundle that has this role in the table, or this digest. Errors: NotFound."""
    found = {STABLE: table.stable, CANARY: table.canary, SHADOW: table.shadow}.get(wanted)
    if found is not None:
        return found
    if wanted in digests(table):
        return wanted
    raise errors.NotFound(
        f"endpoint `{table.endpoint}` has no bundle `{wanted}` in its traffic; ask without a version, or set the"
        " traffic",
        resource="model_version",
        name=wanted,
    )


def digests(table: deployment.TrafficTable) -> tuple[str, ...]:
    """Every bundle the table names: stable, canary, shadow."""
    return tuple(d for d in (table.stable, table.canary, table.shadow) if d is not None)


class TrafficStore:
    """The tables in force, one JSON document per endpoint.

    Reads never wait: they see the table before or after a change, never half of it. A change is written beside the
    document, synced and renamed, so a crash leaves the old table or the new one. One process writes to a directory; others
    may follow it: they look at the document, some 3 us, whenever they are asked for a table, so a change that was answered is
    in force in all of them.
    """

    def __init__(self, directory: Path, *, follows: bool = False) -> None:
        """`follows`: another process writes. Errors: Misconfigured if a document cannot be read."""
        self._directory = directory
        self._writing = threading.Lock()
        self._follows = follows
        #: The state of each document that was read, of a follower.
        self._seen: dict[str, tuple[int, int, int]] = {}
        self._released = directory / "released"
        directory.mkdir(parents=True, exist_ok=True)
        if follows:
            self._tables = {}
            self._look_at_all()
            return
        for torn in directory.glob("*.json.new"):
            torn.unlink()
        self._tables = {t.endpoint: t for t in map(_read, sorted(directory.glob("*.json")))}

    def table(self, endpoint: str) -> deployment.TrafficTable:
        """The table in force. Errors: NotFound with close names; of a follower Misconfigured, if the document is unreadable."""
        if self._follows:
            self._look(endpoint)
        table = self._tables.get(endpoint)
        if table is None:
            raise _unknown(endpoint, self._tables)
        return table

    def has(self, endpoint: str) -> bool:
        """Whether the endpoint has traffic."""
        if self._follows:
            self._look(endpoint)
        return endpoint in self._tables

    def leads_to(self, digest: str, *, endpoints: frozenset[str]) -> bool:
        """Whether the traffic of one of these endpoints names the bundle."""
        if self._follows:
            self._look_at_all()
        return any(digest in digests(t) for name in endpoints if (t := self._tables.get(name)) is not None)

    def tables(self) -> list[deployment.TrafficTable]:
        """Every table in force, by endpoint."""
        if self._follows:
            self._look_at_all()
        return [table for _, table in sorted(self._tables.items())]

    def apply(self, table: deployment.TrafficTable) -> deployment.TrafficTable:
        """Put `table` in force if its version is one above the one in force; an identical repeat changes nothing.

        Errors: Conflict naming both versions, or for a follower.
        """
        if self._follows:
            raise errors.Conflict(
                "this process follows the traffic of another one; set it there",
                resource="traffic",
                name=table.endpoint,
            )
        with self._writing:
            current = self._tables.get(table.endpoint)
            last = self.released(table.endpoint) if current is None else None
            # Versions go on after a release: what is counted by them must not meet its own past.
            in_force = current.version if current is not None else last.version if last is not None else 0
            if current == table:
                return table
            if table.version != in_force + 1:
                raise errors.Conflict(
                    f"traffic of `{table.endpoint}` is at version {in_force}, got version {table.version}"
                    f"{' with other content' if table.version == in_force else ''}; read the table in force and send"
                    f" version {in_force + 1}",
                    resource="traffic",
                    name=table.endpoint,
                )
            self._write(table)
            self._tables = {**self._tables, table.endpoint: table}
            return table

    def release(self, asked: deployment.EndpointReleased) -> deployment.EndpointReleased:
        """Take the table of that version away; again is no change. Its last version is kept.

        Errors: NotFound; Conflict for another version, or for a follower.
        """
        with self._writing:
            current, last = self._tables.get(asked.endpoint), self.released(asked.endpoint)
            if current is None and last is not None and last.version == asked.version:
                return last
            if current is None:
                raise _unknown(asked.endpoint, self._tables)
            if self._follows or current.version != asked.version:
                raise errors.Conflict(
                    f"traffic of `{asked.endpoint}` is at version {current.version}, not {asked.version}; look at it again",
                    resource="traffic",
                    name=asked.endpoint,
                )
            self._released.mkdir(exist_ok=True)
            durable.replace_file(self._released / f"{asked.endpoint}.json", asked.model_dump_json(indent=1))
            (self._directory / f"{asked.endpoint}.json").unlink()
            durable.sync_folder(self._directory)
            self._tables = {name: t for name, t in self._tables.items() if name != asked.endpoint}
            return asked

    def released(self, endpoint: str) -> deployment.EndpointReleased | None:
        """The last release of an endpoint; None where there was none. Errors: Misconfigured for a damaged document."""
        try:
            ids.check_slug(endpoint, "endpoint")
            text = (self._released / f"{endpoint}.json").read_bytes()
        except (errors.InvalidRequest, FileNotFoundError):
            return None
        try:
            return deployment.EndpointReleased.model_validate_json(text)
        except ValidationError as error:
            raise errors.Misconfigured(
                f"`released/{endpoint}.json` of the traffic directory cannot be read: {str(error).splitlines()[0]}; restore"
                " it, or remove it if the endpoint is new"
            ) from error

    def _look_at_all(self) -> None:
        there = {path.stem for path in self._directory.glob("*.json")}
        for endpoint in sorted(there | self._tables.keys()):
            self._look(endpoint)

    def _look(self, endpoint: str) -> None:
        """Take in the document if it is another one than was read. A caller's name is no path before it is known as one."""
        try:
            ids.check_slug(endpoint, "endpoint")
            path = self._directory / f"{endpoint}.json"
            found = path.stat()
        except errors.InvalidRequest:
            return
        except FileNotFoundError:
            self._look_released(endpoint)
            return
        state = (found.st_ino, found.st_mtime_ns, found.st_size)
        if self._seen.get(endpoint) == state:
            return
        with self._writing:
            # Read after the look: what came between them is read now, and once more at the next look.
            table = _read(path)
            if (known := self._tables.get(endpoint)) is None or known.version <= table.version:
                self._tables = {**self._tables, endpoint: table}
            self._seen = {**self._seen, endpoint: state}

    def _look_released(self, endpoint: str) -> None:
        """A document that is missing is not followed, unless a release says that it is to be."""
        known = self._tables.get(endpoint)
        last = self.released(endpoint) if known is not None else None
        if known is None or last is None or last.version < known.version:
            return
        with self._writing:
            self._tables = {name: t for name, t in self._tables.items() if name != endpoint}
            self._seen = {name: s for name, s in self._seen.items() if name != endpoint}

    def _write(self, table: deployment.TrafficTable) -> None:
        durable.replace_file(self._directory / f"{table.endpoint}.json", table.model_dump_json(indent=1))


def _read(path: Path) -> deployment.TrafficTable:
    try:
        table = deployment.TrafficTable.model_validate_json(path.read_bytes())
    except (ValidationError, OSError) as error:
        raise errors.Misconfigured(
            f"traffic document `{path.name}` cannot be read: {str(error).splitlines()[0]}; restore it or remove it"
        ) from error
    if table.endpoint != path.stem:
        raise errors.Misconfigured(
            f"traffic document `{path.name}` is of endpoint `{table.endpoint}`; name it `{table.endpoint}.json`"
        )
    return table


def _unknown(endpoint: str, known: Iterable[str]) -> errors.NotFound:
    names = sorted(known)
    close = tuple(difflib.get_close_matches(endpoint, names, n=3))
    if close:
        hint = f"did you mean `{close[0]}`"
    elif names:
        hint = f"endpoints here are {', '.join(f'`{n}`' for n in names[:10])}"
    else:
        hint = "none has traffic yet, set it with PUT /v1/endpoints/{name}/traffic"
    return errors.NotFound(
        f"no endpoint `{endpoint}`; {hint}", resource="endpoint", name=endpoint, did_you_mean=close
    )
