"""Whatever is sent, with authentication on: no 5xx, and nothing is changed without a row of the log; and a bug that is planted is found."""

from __future__ import annotations

from pathlib import Path

import platform_fuzz as fuzz
import pytest
import sqlalchemy as sa
from litestar import post
from litestar.di import NamedDependency
from litestar.params import FromPath

from mainspring.platform import database
from mainspring.platform import plane as control_plane

#: Changes that nothing here gets through, and why.
NEVER = {
    "POST /api/v1/templates/{name}/plan": "changes nothing",
    "POST /api/v1/endpoints/{name}/predict": "changes nothing",
    "POST /api/v1/endpoints/{name}/explain": "changes nothing",
}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("generated", "near", "floor"), [(1, 6, 100), pytest.param(2, 280, 3_000, marks=pytest.mark.soak)]
)
def test_no_request_breaks_it_and_none_changes_anything_unaudited(
    tmp_path: Path, generated: int, near: int, floor: int
) -> None:
    with fuzz.started(tmp_path) as started:
        found = started.run(generated=generated, near=near)
        verified = started.world.call("root", "GET", "/api/v1/audit:verify")
    assert not found.failures, "\n\n".join(found.failures[:10])
    assert found.unaudited == 0 and verified["ok"]
    assert found.committed >= floor, (found.committed, found.asked)
    assert found.statuses >= {200, 201, 400, 403, 404, 409, 428}
    changing = {label: n for label, n in found.commits.items() if not label.startswith("GET ")}
    assert len(changing) > 55 and not any(changing[label] for label in NEVER)
    # Of the others some change something once, as a decision does, or only where something else has happened before.
    assert sum(n > 0 for n in changing.values()) >= 35, changing


@post("/api/v1/projects/{project:str}/seeded", status_code=200)
async def seeded(plane: NamedDependency[control_plane.ControlPlane], project: FromPath[str]) -> str:
    """Changes a project past the one function that changes things."""
    table = database.projects
    async with plane.database.write() as connection:
        await connection.execute(sa.update(table).where(table.c.name == project).values(description="seeded"))
    return project


def test_a_route_that_writes_without_a_row_is_found(tmp_path: Path) -> None:
    """By the database, which refuses it at commit; and where its owner took the guards away, by what was changed."""
    with fuzz.started(tmp_path / "guarded", seeded) as started:
        found = started.run(generated=3, near=3, only="/seeded")
        assert found.failures and found.unaudited == 0 and found.committed == 0
    with fuzz.started(tmp_path / "open", seeded) as started:
        started.watched.drop_guards()
        found = started.run(generated=3, near=3, only="/seeded")
        assert found.unaudited > 0 and found.committed == 0
