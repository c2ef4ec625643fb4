"""The catalog over a real SQLite file: put whole or not at all, searched, shown with who uses it, by API and by CLI."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from click.testing import CliRunner
from litestar import Litestar
from litestar.testing import TestClient

from mainspring.core import errors, identity, settings
from mainspring.core.client import control as control_client
from mainspring.core.contracts import catalog, control
from mainspring.core.lineage import jobs, openlineage_adapter
from mainspring.platform import app as control_app
from mainspring.platform.cli import main as cli
from mainspring.platform.runs import launcher

#: Once over SQLite, once over PostgreSQL.
pytestmark = pytest.mark.usefixtures("database_url")

NOW = datetime.now(UTC)
ACTORS = {name: identity.Actor(f"{name}@local", (name,)) for name in ("service", "developer", "viewer")}


def entry(kind: catalog.Kind, name: str, **fields: Any) -> catalog.CatalogEntry:
    given = {"kind": kind, "name": name, "owner": "team", "description": f"All of {name}"}
    return catalog.CatalogEntry.model_validate({**given, **fields})


AGE = catalog.CatalogColumn(
    name="age", dtype="float32", is_pii=True, classification="restricted", description="In years"
)
VIEW = entry(
    "view", "view.intake", owner="care", tags={"ward": "7"}, columns=(AGE,), classification="confidential",
    ttl_seconds=3600, newest_event_at=NOW - timedelta(minutes=5), version="v1",
)  # fmt: skip
OLD = entry("view", "view.old", ttl_seconds=60, newest_event_at=NOW - timedelta(minutes=5))
PLAN = entry("plan", "plan", description="100% of_it")
ALL = (VIEW, OLD, PLAN)


class Api:
    def __init__(self, client: TestClient[Any]) -> None:
        self.client = client

    def call(self, role: str, method: str, path: str, expect: int, body: Any = None, **params: Any) -> Any:
        headers = {"Authorization": f"Bearer {role}"} if role else {}
        answer = self.client.request(method, path, json=body, params=params, headers=headers)
        assert answer.status_code == expect, answer.text
        return answer.json()

    def put(
        self,
        *entries: catalog.CatalogEntry,
        project: str = "hospital",
        expect: int = 200,
        role: str = "service",
    ) -> Any:
        body = {"entries": [e.model_dump(mode="json") for e in entries]}
        return self.call(role, "PUT", f"/v1/catalog/{project}", expect, body)

    def names(self, **params: Any) -> list[str]:
        items = self.call("viewer", "GET", "/v1/catalog", 200, **params)["items"]
        return [f"{i['project']}/{i['name']}" for i in items]


def build(directory: Path) -> Litestar:
    return control_app.create_app(
        settings.load({}, directory=directory),
        issuer=identity.TokenIssuer(ACTORS),
        launcher=launcher.MemoryLauncher(),
    )


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with TestClient(build(tmp_path)) as client:
        made = Api(client)
        for name in ("hospital", "school"):
            made.call("developer", "POST", "/api/v1/projects", 201, {"name": name, "owner": "o"})
        yield made


def test_a_catalog_is_put_whole_and_again_is_no_change(api: Api) -> None:
    made = api.put(*ALL)
    whole = api.call("developer", "GET", "/api/v1/catalog/hospital", 200)
    assert made == {"project": "hospital", "entries": 3, "changed": 3, "version": whole["version"]}
    assert whole["entries"] == 3
    assert api.put(*ALL)["changed"] == 0
    renewed = VIEW.model_copy(update={"version": "v2"})
    assert api.put(renewed, PLAN)["changed"] == 2  # one is new, one is gone
    assert api.names() == ["hospital/plan", "hospital/view.intake"]
    rows = api.call("viewer", "GET", "/api/v1/audit", 200)["items"]
    found = [r["detail"] for r in rows if r["action"] == "catalog.put"]
    assert len(found) == 2 and (found[1]["changed"], found[1]["gone"]) == (["view.intake"], ["view.old"])
    gone = api.put()
    assert (gone["entries"], gone["changed"]) == (0, 2) and gone["version"] != made["version"]
    assert api.names() == []


def test_what_nobody_answers_for_is_refused_and_nothing_changes(api: Api) -> None:
    api.put(PLAN)
    for bad, problem in (
        (entry("view", "view.x", owner=""), "view `view.x` has no owner"),
        (entry("view", "view.x", description=""), "view `view.x` has no description"),
        (
            VIEW.model_copy(update={"columns": (AGE.model_copy(update={"classification": ""}),)}),
            "PII column `age`",
        ),
    ):
        assert problem in api.put(OLD, bad, expect=400)["message"]
    assert "given twice" in api.put(OLD, OLD, expect=400)["message"]
    assert api.put(PLAN, project="hopsital", expect=404)["details"]["did_you_mean"] == ["hospital"]
    api.put(PLAN, expect=403, role="viewer")
    api.call("", "PUT", "/v1/catalog/hospital", 401, {"entries": []})
    api.call("service", "PUT", "/v1/catalog/hospital", 400, {"entries": [{"kind": "thing", "name": "x"}]})
    assert api.names() == ["hospital/plan"]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, ["hospital/plan", "hospital/view.intake", "hospital/view.old", "school/view.marks"]),
        ({"project": "school"}, ["school/view.marks"]),
        ({"kind": "plan"}, ["hospital/plan"]),
        ({"classification": "confidential"}, ["hospital/view.intake"]),
        ({"owner": "care"}, ["hospital/view.intake"]),
        ({"pii": "true"}, ["hospital/view.intake"]),
        ({"pii": "false", "project": "hospital"}, ["hospital/plan", "hospital/view.old"]),
        ({"search": "YEARS"}, ["hospital/view.intake"]),
        ({"search": "ward=7 intake"}, ["hospital/view.intake"]),
        ({"search": "intake marks"}, []),
        ({"search": "100% of_it"}, ["hospital/plan"]),
        ({"search": "%"}, ["hospital/plan"]),
        ({"search": "of_all"}, []),
        ({"search": "'; drop table catalog; --"}, []),
    ],
)
def test_search_finds_every_word_anywhere(api: Api, asked: dict[str, Any], found: list[str]) -> None:
    api.put(*ALL)
    api.put(entry("view", "view.marks"), project="school")
    assert api.names(**asked) == found


def test_pages_follow_one_another(api: Api) -> None:
    api.put(*(entry("view", f"view.{i:02}") for i in range(7)))
    seen, after = [], ""
    while True:
        page = api.call("viewer", "GET", "/v1/catalog", 200, limit=3, after=after)
        seen += [i["name"] for i in page["items"]]
        after = page["next"]
        if not after:
            break
    assert seen == [f"view.{i:02}" for i in range(7)]
    api.call("viewer", "GET", "/v1/catalog", 400, after="nonsense")
    api.call("", "GET", "/v1/catalog", 401)


def lineage(api: Api) -> None:
    for n in (1, 2):
        view = jobs.Dataset("view.intake", f"v{n}", "view", columns={"age": "float32"})
        model = jobs.Dataset("model", f"m{n}", "model")
        told = openlineage_adapter.to_json(
            jobs.JobRun("hospital", "bundle", f"run_{n}"), "COMPLETE", at=NOW, reads=[view], makes=[model]
        )
        api.call("service", "POST", "/v1/lineage", 201, json.loads(told))


def test_an_entry_is_shown_with_its_age_and_its_users(api: Api) -> None:
    api.put(*ALL)
    lineage(api)
    shown = api.call("viewer", "GET", "/v1/catalog/hospital/view.intake", 200)
    assert shown["downstream"] == [{"kind": "model", "name": "model", "versions": 2}]
    elapsed = (datetime.now(UTC) - NOW).total_seconds()  # since this file was imported
    assert 300 <= shown["age_seconds"] <= 300 + elapsed
    assert shown["is_fresh"] is True and not shown["is_downstream_cut"]
    assert shown["columns"][0]["is_pii"] and shown["columns"][0]["classification"] == "restricted"
    old = api.call("viewer", "GET", "/v1/catalog/hospital/view.old", 200)
    assert old["is_fresh"] is False and old["downstream"] == []
    plan = api.call("viewer", "GET", "/v1/catalog/hospital/plan", 200)
    assert (plan["is_fresh"], plan["age_seconds"]) == (None, None)
    wrong = api.call("viewer", "GET", "/v1/catalog/hospital/view.intak", 404)
    assert wrong["details"]["did_you_mean"] == ["view.intake"]


@contextlib.contextmanager
def serving(directory: Path) -> Iterator[str]:
    issuer = identity.ensure_token_file(settings.load({}, directory=directory).control.tokens_file)
    app = control_app.create_app(
        settings.load({}, directory=directory), issuer=issuer, launcher=launcher.MemoryLauncher()
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield str(listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join()


@pytest.mark.integration
def test_the_command_line_and_the_client_say_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path) as port:
        s = settings.load({}, directory=tmp_path)
        token = identity.TokenIssuer.load(s.control.tokens_file).token_of("service@local")
        developer = identity.TokenIssuer.load(s.control.tokens_file).token_of("developer@local")
        url = f"http://127.0.0.1:{port}"
        with control_client.ControlClient(url, developer) as client:
            client.create_project(control.ProjectCreate(name="hospital", owner="o"))
        with control_client.ControlClient(url, token) as client:
            assert client.put_catalog("hospital", ALL).changed == 3
            assert [i["name"] for i in client.search_catalog(search="years", pii=True).items] == [
                "view.intake"
            ]
            assert client.catalog_entry("hospital", "plan").description == "100% of_it"
            with pytest.raises(errors.NotFound):
                client.catalog_entry("hospital", "a/b c")
            with pytest.raises(errors.NotFound):
                client.walk_lineage("upstream", "hospital", "model")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("MAINSPRING_CONTROL_PORT", port)

        def run(*arguments: str) -> tuple[int, str]:
            done = CliRunner().invoke(cli.cli, list(arguments))
            return done.exit_code, done.output

        code, text = run("catalog", "list", "--pii")
        assert code == 0 and "view.intake" in text and "plan" not in text and " yes " in text
        code, text = run("catalog", "list", "--json", "--kind", "plan")
        assert code == 0 and [i["name"] for i in json.loads(text)["data"]] == ["plan"]
        code, text = run("catalog", "show", "hospital", "view.intake")
        assert code == 0 and "owner: care" in text and "restricted" in text
        code, text = run("catalog", "show", "hospital", "view.intak")
        assert code == 1 and "did you mean `view.intake`" in text
        code, text = run("lineage", "upstream", "hospital", "model")
        assert code == 1 and "no dataset `model`" in text
        code, text = run("quarantine", "list", "hospital")
        assert code == 0 and text.split() == ["name", "dataset", "workspace", "released_by", "failed"]
        code, text = run("quarantine", "release", "hospital", "lake-0", "--reason", "x")
        assert code == 1 and "no batch `lake-0` in quarantine" in text
        model = "sha256:" + "a" * 64
        traced = ("trace", "hospital", model, "--as-of", "2026-11-01T10:00:00Z")
        code, text = run(*traced, "--key", "patient_id=7")
        assert code == 1 and "no run of project `hospital`" in text
        assert run(*traced, "--key", "patient_id")[0] == 2
        assert run("trace", "hospital", model, "--as-of", "yesterday", "--key", "a=b")[0] == 2
