"""From a prediction's model version to the rows: by lineage to the run, by the run's report to the files."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from litestar.testing import TestClient

from mainspring.core import canonical, identity, projects, settings, workspace
from mainspring.core.features import schema
from mainspring.core.features.windows import CREATED, EVENT
from mainspring.core.lineage import jobs, openlineage_adapter
from mainspring.platform import app as control_app
from mainspring.platform.runs import launcher

#: Once over SQLite, once over PostgreSQL.
pytestmark = pytest.mark.usefixtures("database_url")

AT = datetime(2026, 11, 1, 10, tzinfo=UTC)
MODEL = "sha256:" + "a" * 64
VIEW = schema.FeatureView(
    name="sizes",
    keys=(schema.Column(name="id", dtype="int64"),),
    fields=(schema.Column(name="size", dtype="float32"),),
    ttl_seconds=3600,
)


class World:
    def __init__(self, client: TestClient[Any], state: Path) -> None:
        self.client = client
        self.space = workspace.Workspace(state, "shop", 1.0)
        self.path = self.space.features / "sizes.parquet"
        self.path.parent.mkdir(parents=True)
        times = pl.Series([AT - timedelta(hours=2), AT], dtype=pl.Datetime("us", "UTC"))
        pl.DataFrame(
            {"id": [1, 1], EVENT: times, CREATED: times, "size": pl.Series([1.0, 2.0], dtype=pl.Float32)}
        ).write_parquet(self.path)
        digest = canonical.digest_file(self.path)
        report = projects.FeatureReport(
            lake_digest="l", digest="f", registry=self.path.with_name("registry.db"),
            service=schema.FeatureService(name="s", views=(VIEW,)),
            views=(projects.ViewReport(view=VIEW, rows=2, path=self.path, digest=digest),),
        )  # fmt: skip
        kept = self.space.run("run_1") / "reports" / "FeatureReport.json"
        kept.parent.mkdir(parents=True)
        kept.write_text(report.model_dump_json())
        self.kept, self.digest = kept, digest

    def call(self, role: str, method: str, path: str, expect: int, body: Any = None, **params: Any) -> Any:
        headers = {"Authorization": f"Bearer {role}"} if role else {}
        answer = self.client.request(method, path, json=body, params=params, headers=headers)
        assert answer.status_code == expect, answer.text
        return answer.json()

    def ask(self, expect: int, **changes: Any) -> Any:
        asked = {
            "project": "shop",
            "model_version": MODEL,
            "as_of": AT.isoformat(),
            "entity": ["id:1"],
        } | changes
        return self.call("viewer", "GET", "/api/v1/lineage:rows", expect, **asked)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    s = settings.load({}, directory=tmp_path)
    actors = {name: identity.Actor(name, (name,)) for name in ("viewer", "developer", "service")}
    app = control_app.create_app(s, issuer=identity.TokenIssuer(actors), launcher=launcher.MemoryLauncher())
    with TestClient(app) as client:
        made = World(client, s.stack.state_dir)
        made.call("developer", "POST", "/api/v1/projects", 201, {"name": "shop", "owner": "o"})
        told = openlineage_adapter.to_json(
            jobs.JobRun("shop", "training.bundle", "run_1"), "COMPLETE", at=AT,
            reads=[jobs.Dataset("plan", "p", "plan")], makes=[jobs.Dataset("model", MODEL, "model")],
        )  # fmt: skip
        made.call("service", "POST", "/v1/lineage", 201, json.loads(told))
        yield made


def test_a_prediction_is_traced_to_its_rows(world: World) -> None:
    found = world.ask(200)
    assert found["run_id"] == "run_1"
    (row,) = found["rows"]
    assert (row["view"], row["version"], row["keys"], row["status"]) == (
        "sizes",
        world.digest,
        {"id": 1},
        "present",
    )
    assert datetime.fromisoformat(row["event_at"]) == AT and row["age_seconds"] == 0
    earlier = world.ask(200, as_of=(AT - timedelta(seconds=1)).isoformat())["rows"][0]
    assert earlier["status"] == "outside_max_age" and earlier["age_seconds"] == 7199
    assert world.ask(200, entity=["id:9"])["rows"][0]["status"] == "not_found"


def test_what_cannot_be_traced_says_why(world: World) -> None:
    world.call(
        "",
        "GET",
        "/api/v1/lineage:rows",
        401,
        project="shop",
        model_version=MODEL,
        as_of=AT.isoformat(),
        entity=["id:1"],
    )
    assert "no run of project `shop`" in world.ask(404, model_version="sha256:" + "b" * 64)["message"]
    world.ask(404, project="shopp")
    assert "whole number" in world.ask(400, entity=["id:x"])["message"]
    assert "key:value" in world.ask(400, entity=["id"])["message"]
    assert "time zone" in world.ask(400, as_of="2026-11-01T10:00:00")["message"]
    world.kept.write_text("{}")
    world.ask(422)
    world.kept.unlink()
    assert "not on this machine" in world.ask(404)["message"]


def test_rows_that_were_made_anew_are_not_told_for_those_of_before(world: World) -> None:
    pl.read_parquet(world.path).with_columns(pl.col("size") + 1).write_parquet(world.path)
    assert "made anew since run `run_1`" in world.ask(409)["message"]


def test_the_control_api_starts_without_polars() -> None:
    code = "import sys, mainspring.platform.app\nprint('polars' in sys.modules, 'openlineage' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["False", "False"]
