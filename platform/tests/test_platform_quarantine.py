"""Held batches over the control API: seen by all, released by an approver, on record before and after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from litestar.testing import TestClient

from mainspring.core import errors, identity, settings, workspace
from mainspring.core.features import folders
from mainspring.core.quality import expectations, gate, measures
from mainspring.core.quality.report import QualityReport
from mainspring.platform import app as control_app
from mainspring.platform.runs import launcher

#: Once over SQLite, once over PostgreSQL.
pytestmark = pytest.mark.usefixtures("database_url")

ACTORS = {
    name: identity.Actor(f"{name}@local", (name,)) for name in ("developer", "approver", "viewer", "service")
}
SUITE = expectations.Suite(dataset="things", expectations=(expectations.Unique(columns=("id",)),))
GOOD, BAD = pl.DataFrame({"id": [1, 2]}), pl.DataFrame({"id": [1, 1]})


def publish(target: Path, rows: pl.DataFrame, name: str) -> folders.Folder:
    def write(new: Path) -> Mapping[str, Any]:
        rows.write_parquet(new / "rows.parquet")
        return {}

    def checks(new: Path, _: Mapping[str, Any], __: Mapping[str, QualityReport]) -> list[QualityReport]:
        return [measures.evaluate(SUITE, pl.scan_parquet(new / "rows.parquet"))]

    return gate.publish(target, kind="lake", inputs={"batch": name}, write=write, checks=checks)


class World:
    def __init__(self, client: TestClient[Any], state: Path) -> None:
        self.client = client
        self.lake = workspace.Workspace(state, "hospital", 0.5).lake
        publish(self.lake, GOOD, "monday")
        with pytest.raises(errors.DataInvalid) as caught:
            publish(self.lake, BAD, "tuesday")
        self.name = caught.value.quarantined
        self.path = f"/api/v1/quarantine/hospital/{self.name}"

    def call(self, role: str, method: str, path: str, expect: int, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {role}"} if role else {}
        answer = self.client.request(method, path, json=body, headers=headers)
        assert answer.status_code == expect, answer.text
        return answer.json()

    def releases(self) -> list[tuple[str, str, dict[str, Any]]]:
        rows = self.call("viewer", "GET", "/api/v1/audit", 200)["items"]
        return [(r["actor"], r["outcome"], r["detail"]) for r in rows if r["action"] == "quarantine.release"]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    s = settings.load({}, directory=tmp_path)
    app = control_app.create_app(s, issuer=identity.TokenIssuer(ACTORS), launcher=launcher.MemoryLauncher())
    with TestClient(app) as client:
        made = World(client, s.stack.state_dir)
        made.call("developer", "POST", "/api/v1/projects", 201, {"name": "hospital", "owner": "o"})
        yield made


def rows_of(world: World) -> pl.DataFrame:
    return pl.read_parquet(folders.read(world.lake, kind="lake").path / "rows.parquet")


def test_a_held_batch_is_listed_shown_and_released_on_record(world: World) -> None:
    page = world.call("viewer", "GET", "/api/v1/quarantine/hospital?limit=1", 200)
    (listed,) = page["items"]
    assert page["next"] == ""
    after = world.call("viewer", "GET", f"/api/v1/quarantine/hospital?after={listed['name']}", 200)
    assert after == {"items": [], "next": ""}
    assert (listed["name"], listed["dataset"], listed["workspace"]) == (world.name, "lake", "sample-0.5")
    assert listed["failed"] == ["things: id is unique"] and listed["released_by"] == ""
    shown = world.call("viewer", "GET", world.path, 200)
    assert shown["reports"][0]["checks"][0]["observed"].startswith("0.5 (1 of 2")
    assert shown["reports"][0]["rows"] == 2 and shown["reports"][0]["columns"] == []  # no value of any row
    made = world.call("approver", "POST", f"{world.path}/release", 201, {"reason": "they are twins"})
    assert (made["released_by"], made["released_reason"]) == ("approver@local", "they are twins")
    assert rows_of(world).equals(BAD)
    requested, done = world.releases()
    assert requested[:2] == ("approver@local", "requested") and requested[2]["reason"] == "they are twins"
    assert done[:2] == ("approver@local", "done")
    assert done[2]["digest"] == folders.read(world.lake, kind="lake").digest
    world.call("approver", "POST", f"{world.path}/release", 201, {"reason": "again"})
    assert world.call("viewer", "GET", world.path, 200)["released_reason"] == "they are twins"


def test_who_may_not_is_denied_on_record_and_nothing_moves(world: World) -> None:
    for role, expect, body in (
        ("", 401, {"reason": "x"}),
        ("developer", 403, {"reason": "x"}),
        ("service", 403, {"reason": "x"}),
        ("approver", 400, {"reason": ""}),
        ("approver", 400, {}),
    ):
        world.call(role, "POST", f"{world.path}/release", expect, body)
    assert rows_of(world).equals(GOOD)
    assert [outcome for _, outcome, _ in world.releases()] == ["denied", "denied"]


def test_a_release_that_would_put_older_data_back_fails_on_record(world: World) -> None:
    publish(world.lake, GOOD.reverse(), "wednesday")
    world.call("approver", "POST", f"{world.path}/release", 409, {"reason": "late"})
    assert [outcome for _, outcome, _ in world.releases()] == ["requested", "failed"]
    assert rows_of(world).equals(GOOD.reverse())


def test_a_list_reads_no_data_and_a_release_all_of_it(world: World) -> None:
    data = world.lake.with_name("lake.quarantine") / world.name / "data" / "rows.parquet"
    data.write_bytes(data.read_bytes()[:-1])
    assert len(world.call("viewer", "GET", "/api/v1/quarantine/hospital", 200)["items"]) == 1
    world.call("approver", "POST", f"{world.path}/release", 422, {"reason": "x"})
    assert [outcome for _, outcome, _ in world.releases()] == ["requested", "failed"]
    assert rows_of(world).equals(GOOD)


def test_what_is_not_there_is_said_so(world: World) -> None:
    wrong = world.call("viewer", "GET", f"{world.path[:-1]}", 404)
    assert wrong["details"]["did_you_mean"] == [world.name]
    world.call("viewer", "GET", "/api/v1/quarantine/hopsital", 404)
    world.call("viewer", "GET", "/api/v1/quarantine/..%2f..", 404)
    world.call("", "GET", "/api/v1/quarantine/hospital", 401)
    world.call("approver", "POST", "/api/v1/quarantine/hospital/nothing/release", 404, {"reason": "x"})
    world.call("", "POST", "/api/v1/quarantine/hospital/nothing/release", 401, {"reason": "x"})
    assert world.releases() == []
