"""An endpoint is of the project that first asked for its name, and nobody else deploys there or watches it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar.testing import TestClient

from mainspring.core import identity, settings
from mainspring.platform import app as control_app
from mainspring.platform.runs import launcher

#: Once over SQLite, once over PostgreSQL.
pytestmark = pytest.mark.usefixtures("database_url")

ACTORS = {
    "root": identity.Actor("root", ("admin",)),
    "ana": identity.Actor("ana", ()),
    "eva": identity.Actor("eva", ()),
}
DIGEST = "sha256:" + "a" * 64


class Api:
    def __init__(self, client: TestClient[Any], engine: launcher.MemoryLauncher) -> None:
        self.client = client
        self.engine = engine

    def call(self, actor: str, method: str, path: str, expect: int, body: Any = None) -> Any:
        answer = self.client.request(
            method, f"/api/v1{path}", json=body, headers={"Authorization": f"Bearer {actor}"}
        )
        assert answer.status_code == expect, answer.text
        return answer.json() if answer.content else None

    def start(self, actor: str, project: str, expect: int = 201, **fields: Any) -> Any:
        return self.call(actor, "POST", "/runs", expect, {"project": project, **fields})

    def names(self, actor: str, query: str = "") -> list[str]:
        return [row["name"] for row in self.call(actor, "GET", f"/endpoints{query}", 200)["items"]]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    s = settings.load({}, directory=tmp_path)
    engine = launcher.MemoryLauncher()
    app = control_app.create_app(s, launcher=engine, issuer=identity.TokenIssuer(ACTORS))
    with TestClient(app) as client:
        made = Api(client, engine)
        for project, owner in (("alpha", "ana"), ("beta", "eva")):
            made.call("root", "POST", "/projects", 201, {"name": project, "owner": owner})
            place = f"/projects/{project}/members/{owner}"
            made.call("root", "PUT", place, 200, {"roles": {"*": ["admin"]}})
        yield made


@pytest.mark.parametrize("kind", ["deploy", "train", "tune"])
def test_the_first_to_ask_has_the_name(api: Api, kind: str) -> None:
    wanted = {"kind": kind, "endpoint": "delay"} | ({"bundle_digest": DIGEST} if kind == "deploy" else {})
    api.start("ana", "alpha", environment="staging", **wanted)
    claim = api.call("ana", "GET", "/endpoints/delay", 200)
    assert (claim["project"], claim["environment"], claim["claimed_by"]) == ("alpha", "staging", "ana")
    api.start("ana", "alpha", **wanted)  # one's own, again
    assert api.call("ana", "GET", "/endpoints/delay", 200) == claim

    refused = api.start("eva", "beta", 409, **wanted)
    assert refused["details"] == {"resource": "endpoint", "name": "delay"}
    assert "alpha" not in refused["message"] and "choose another name" in refused["message"]
    assert len(api.engine.started) == 2
    assert api.call("eva", "GET", "/runs", 200)["items"] == []
    api.start("eva", "beta", **{**wanted, "endpoint": "other"})


def test_a_run_that_is_denied_takes_no_name(api: Api) -> None:
    api.start("eva", "alpha", 404, kind="train", endpoint="delay")
    api.start("ana", "alpha", 403, kind="train", endpoint="delay", environment="moon")
    api.start("eva", "beta", kind="train", endpoint="delay")
    assert api.call("eva", "GET", "/endpoints/delay", 200)["project"] == "beta"


def test_a_batch_scoring_and_a_training_without_endpoint_take_none(api: Api) -> None:
    api.start("ana", "alpha")
    assert api.names("root") == []


def test_one_sees_those_of_ones_own_projects(api: Api) -> None:
    for name in ("a-1", "a-2"):
        api.start("ana", "alpha", endpoint=name)
    api.start("eva", "beta", endpoint="b-1")
    assert api.names("root") == ["a-1", "a-2", "b-1"]
    assert api.names("ana") == ["a-1", "a-2"] == api.names("root", "?project=alpha")
    assert api.names("root", "?limit=1") == ["a-1"] and api.names("root", "?limit=1&after=a-1") == ["a-2"]
    assert api.call("root", "GET", "/endpoints?limit=2", 200)["next"] == "a-2"
    assert api.call("eva", "GET", "/endpoints?project=alpha", 404)
    foreign = api.call("eva", "GET", "/endpoints/a-1", 404)
    unknown = api.call("eva", "GET", "/endpoints/a-9", 404)
    assert foreign["message"].replace("a-1", "a-9") == unknown["message"]


def test_a_schedule_watches_no_endpoint_of_another_project(api: Api) -> None:
    api.start("ana", "alpha", endpoint="delay")
    asked = {"every_minutes": 60, "request": {"endpoint": "delay"}}
    refused = api.call("eva", "PUT", "/projects/beta/schedules/retrain", 409, asked)
    assert refused["details"]["resource"] == "endpoint" and "alpha" not in refused["message"]
    assert not [
        r for r in api.call("root", "GET", "/audit?limit=500", 200)["items"] if r["action"] == "schedule.put"
    ]
