"""Whatever is asked of the control API, allowed by its description or not: no 5xx, and no change that is not on record.

schemathesis makes the requests (`platform_fuzz.py`); what commits is begun from requests that are taken
(`platform_commits.py`), or a run that is refused at every door would pass for one that found nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platform_commits as commits
import platform_fuzz as fuzz
import pytest
import sqlalchemy as sa
from litestar import post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from litestar.testing import TestClient
from pydantic import BaseModel

from mainspring.platform import app as control_app
from mainspring.platform import database
from mainspring.platform import plane as control_plane


@contextmanager
def fuzzed(folder: Path) -> Iterator[fuzz.Fuzz]:
    app, launcher = commits.app(folder)
    with fuzz.witness() as seen, TestClient(app, raise_server_exceptions=False) as client:
        yield fuzz.Fuzz(commits.House(client, launcher, folder), seen)


def ask(folder: Path, *, part: int, of: int, near: int, by_schema: int, each: int = 1) -> fuzz.Fuzz:
    """Every so many-th operation: faults found, and whether each changes something that should."""
    with fuzzed(folder) as asked:
        asked.operations = asked.operations[part::of]
        asked.ask_all(near=near, by_schema=by_schema, each=each)
        assert asked.house.call("root", "GET", "/api/v1/audit:verify")["ok"]
    assert not asked.faults, (len(asked.faults), asked.faults[:10])
    # Each that changes something did, or is known not to; so a new one must be told how it is taken.
    assert set(asked.committed) == asked.changing() - set(commits.UNCOMMITTED)
    return asked


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_request_breaks_it_or_changes_anything_off_the_record(tmp_path: Path) -> None:
    asked = ask(tmp_path, part=0, of=1, near=3, by_schema=2, each=18)
    assert set(commits.TAKEN) | set(commits.UNCOMMITTED) == asked.changing()
    assert asked.committed.total() >= 3_000, asked.committed
    assert set(asked.statuses) >= {200, 201, 202, 204, 400, 401, 403, 404}


#: Each of them has a floor of its part of 3,000.
PARTS = 4


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(PARTS))
def test_of_thousands_of_changes_made_in_more_ways_none_is_off_the_record(tmp_path: Path, part: int) -> None:
    asked = ask(tmp_path, part=part, of=PARTS, near=80, by_schema=10)
    assert sum(asked.committed.values()) >= 3_000 / PARTS, asked.committed
    print(f"part {part}: {asked.committed.total()} committed of {asked.statuses.total()}, {asked.statuses}")


class Named(BaseModel):
    name: str


@post("/api/v1/seeded-off-the-record")
async def seeded_off_the_record(
    plane: NamedDependency[control_plane.ControlPlane], data: JSONBody[Named]
) -> None:
    async with plane.database.write() as connection:
        await connection.execute(sa.update(database.projects).values(description=data.name[:9]))


@post("/api/v1/seeded-broken")
async def seeded_broken(data: JSONBody[Named]) -> int:
    return 1 // (len(data.name) % 4)


@pytest.mark.slow
@pytest.mark.parametrize("is_guarded", [True, False])
def test_what_is_broken_or_off_the_record_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_guarded: bool
) -> None:
    """Also where somebody has taken away the triggers that would refuse it."""
    seeded = (seeded_off_the_record, seeded_broken)
    monkeypatch.setattr(control_app, "HANDLERS", (*control_app.HANDLERS, *seeded))
    with fuzzed(tmp_path) as asked:
        if not is_guarded:
            _without_guards(tmp_path / ".mainspring" / "control.db")
        asked.operations = [
            o for o in asked.operations if o.path.endswith(("/projects", "-record", "-broken"))
        ]
        asked.ask_all(near=2, by_schema=20)
        shown = asked.house.call("root", "GET", "/api/v1/projects/alpha")
    broken, unrecorded = "POST /api/v1/seeded-broken", "POST /api/v1/seeded-off-the-record"
    expected = {("broke", broken), ("off the record", unrecorded)}
    if is_guarded:
        expected |= {("broke", unrecorded)}  # by the database, which refuses it
    assert {(fault.kind, fault.operation) for fault in asked.faults} == expected
    assert (shown["description"] == "") is is_guarded


def _without_guards(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
    connection.close()
