"""Lineage over a real SQLite file: events in by OpenLineage's own client, questions both ways out."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from litestar import Litestar
from litestar.testing import TestClient

from mainspring.core import identity, settings
from mainspring.core.lineage import jobs, openlineage_adapter
from mainspring.platform import app as control_app
from mainspring.platform.runs import launcher

#: Once over SQLite, once over PostgreSQL.
pytestmark = pytest.mark.usefixtures("database_url")

AT = datetime(2026, 11, 1, 10, tzinfo=UTC)
ACTORS = {name: identity.Actor(f"{name}@local", (name,)) for name in ("service", "developer", "viewer")}
DELAY = (jobs.Column("lake.flights", "arr_delay"),)


def event(
    job: str,
    reads: list[jobs.Dataset],
    makes: list[jobs.Dataset],
    kind: openlineage_adapter.EventType = "COMPLETE",
    run: str = "run_1",
) -> dict[str, Any]:
    told = openlineage_adapter.to_json(
        jobs.JobRun("flights", job, run), kind, at=AT, reads=reads, makes=makes
    )
    made: dict[str, Any] = json.loads(told)
    return made


def training(run: str = "run_1", data: str = "v1") -> list[dict[str, Any]]:
    """A lake, a view of two columns, a training set, a plan that uses one of them, a model, an endpoint."""
    lake = jobs.Dataset("lake.flights", f"lake-{data}", "table")
    view = jobs.Dataset(
        "view.tail",
        f"view-{data}",
        "view",
        columns={"delay": "float32", "seats": "float32"},
        made_of={"delay": DELAY, "seats": (jobs.Column("lake.flights", "seats"),)},
    )
    rows = jobs.Dataset(
        "training_set",
        f"rows-{data}",
        "training set",
        made_of={f"tail__{c}": (jobs.Column("view.tail", c),) for c in ("delay", "seats")},
    )
    plan = jobs.Dataset(
        "plan", f"plan-{data}", "plan", made_of={"delay": (jobs.Column("training_set", "tail__delay"),)}
    )
    model = jobs.Dataset("model", f"model-{data}", "model", whole_of=(jobs.Column("plan", "delay"),))
    served = jobs.Dataset("endpoint.delay", f"traffic-{data}", "endpoint")
    return [
        event("features", [lake], [view], run=run),
        event("join", [view], [rows], run=run),
        event("fit_plan", [rows], [plan], run=run),
        event("bundle", [rows, plan], [model], run=run),
        event("set_traffic", [model], [served], run=run),
    ]


class Api:
    def __init__(self, client: TestClient[Any]) -> None:
        self.client = client

    def call(self, role: str, method: str, path: str, expect: int, body: Any = None, **params: Any) -> Any:
        headers = {"Authorization": f"Bearer {role}"} if role else {}
        answer = self.client.request(method, path, json=body, params=params, headers=headers)
        assert answer.status_code == expect, answer.text
        return answer.json()

    def send(self, *events: dict[str, Any]) -> None:
        for one in events:
            self.call("service", "POST", "/v1/lineage", 201, one)

    def ask(self, question: str, **params: Any) -> Any:
        return self.call("viewer", "GET", f"/v1/lineage/flights/{question}", 200, **params)

    def names(self, question: str, **params: Any) -> set[str]:
        nodes = self.ask(question, **params)["nodes"]
        return {f"{n['name']}@{n['version']}" + (f"#{n['column']}" if n["column"] else "") for n in nodes}


def build(directory: Path) -> Litestar:
    return control_app.create_app(
        settings.load({}, directory=directory),
        issuer=identity.TokenIssuer(ACTORS),
        launcher=launcher.MemoryLauncher(),
    )


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with TestClient(build(tmp_path)) as client:
        yield Api(client)


def test_a_column_is_followed_to_the_models_it_feeds(api: Api) -> None:
    api.send(*training(), *training("run_2", "v2"))
    fed = api.ask("view.tail:downstream", column="delay", kind="model")
    assert {(n["name"], n["version"]) for n in fed["nodes"]} == {("model", "model-v1"), ("model", "model-v2")}
    one = api.names("view.tail:downstream", column="delay", version="view-v1")
    assert one == {
        "view.tail@view-v1#delay", "training_set@rows-v1#tail__delay", "plan@plan-v1#delay", "model@model-v1",
        "endpoint.delay@traffic-v1",
    }  # fmt: skip
    # In the training set, and in no plan: no model sees it.
    unused = api.names("view.tail:downstream", column="seats", version="view-v1")
    assert unused == {"view.tail@view-v1#seats", "training_set@rows-v1#tail__seats"}
    source = api.ask("lake.flights:downstream", column="arr_delay", kind="endpoint")
    assert len(source["nodes"]) == 2 and source["edges"] == []


def test_a_model_is_followed_to_the_data_it_came_from(api: Api) -> None:
    api.send(*training(), *training("run_2", "v2"))
    came = api.ask("model:upstream", version="model-v1")
    found = {n["name"]: n["version"] for n in came["nodes"] if not n["column"]}
    assert found == {
        "model": "model-v1", "plan": "plan-v1", "training_set": "rows-v1", "view.tail": "view-v1",
        "lake.flights": "lake-v1",
    }  # fmt: skip
    columns = {(n["name"], n["column"]) for n in came["nodes"] if n["column"]}
    assert ("lake.flights", "arr_delay") in columns and ("lake.flights", "seats") not in columns
    first, edges = came["nodes"][0], came["edges"]
    assert (first["name"], first["steps"], first["kind"]) == ("model", 0, "model")
    assert [n["steps"] for n in came["nodes"]] == sorted(n["steps"] for n in came["nodes"])
    made = {(came["nodes"][e["source"]]["name"], came["nodes"][e["target"]]["name"], e["job"]) for e in edges}
    assert ("plan", "model", "flights/bundle") in made and not came["is_cut"]


def test_the_same_event_is_taken_once_and_is_on_record_by_its_digest(api: Api) -> None:
    one = training()[0]
    first = api.call("service", "POST", "/api/v1/lineage", 201, one)
    again = api.call("developer", "POST", "/api/v1/lineage", 201, one)
    assert (first["is_new"], again["is_new"]) == (True, False)
    assert first["event_digest"] == again["event_digest"] and first["edges"] == 3
    rows = api.call("viewer", "GET", "/api/v1/audit", 200)["items"]
    (row,) = [r for r in rows if r["action"] == "lineage.record"]
    assert row["resource"] == "lineage/flights/features" and row["actor"] == "service@local"
    assert row["detail"]["digest"] == first["event_digest"]


def test_inputs_at_the_start_and_outputs_at_the_end_are_one_run(api: Api) -> None:
    a, b = jobs.Dataset("a", "1", "table"), jobs.Dataset("b", "1", "table")
    end, start = event("copy", [], [b]), event("copy", [a], [], "START")
    api.send(end)
    api.call("viewer", "GET", "/v1/lineage/flights/b:upstream", 404)  # made of nothing that is known
    api.send(start)  # late, from a spool
    assert api.names("b:upstream") == {"a@1", "b@1"}


def test_a_cycle_ends_and_a_failed_run_made_nothing(api: Api) -> None:
    a, b = jobs.Dataset("a", "1", "table"), jobs.Dataset("b", "1", "table")
    api.send(event("there", [a], [b]), event("back", [b], [a]))
    assert api.names("a:downstream") == api.names("a:upstream") == {"a@1", "b@1"}
    c = jobs.Dataset("c", "1", "table")
    api.send(event("broken", [a], [], "START"), event("broken", [a], [c], "FAIL"))
    assert api.names("a:downstream") == {"a@1", "b@1"}


def test_every_way_of_saying_no(api: Api) -> None:
    api.send(*training())
    api.call("", "POST", "/v1/lineage", 401, training()[0])
    api.call("viewer", "POST", "/v1/lineage", 403, training()[0])
    api.call("service", "POST", "/v1/lineage", 400, {"eventType": "START"})
    api.call("", "GET", "/v1/lineage/flights/model:upstream", 401)
    wrong = api.call("viewer", "GET", "/v1/lineage/flights/modle:upstream", 404)
    assert wrong["details"]["did_you_mean"] == ["model"]
    wrong = api.call("viewer", "GET", "/v1/lineage/flights/view.tail:upstream", 404, column="dealy")
    assert wrong["details"]["did_you_mean"] == ["delay"]
    assert (
        "no version"
        in api.call("viewer", "GET", "/v1/lineage/flights/model:upstream", 404, version="x")["message"]
    )
    for path in (
        "/v1/lineage/flights/model",
        "/v1/lineage/flights/model:sideways",
        "/v1/lineage/flights/:upstream",
    ):
        api.call("viewer", "GET", path, 400)
    assert len(api.call("viewer", "GET", "/api/v1/audit", 200)["items"]) == 6  # five events, one denial


def test_names_with_slashes_are_asked_for_in_the_query(api: Api) -> None:
    outside = jobs.Dataset("raw/2026/x.parquet", "", "file", namespace="s3://bucket:9000")
    api.send(event("load", [outside], [jobs.Dataset("lake.flights", "1", "table")]))
    found = api.call(
        "viewer", "GET", "/api/v1/lineage:walk", 200,
        direction="downstream", namespace="s3://bucket:9000", name="raw/2026/x.parquet",
    )  # fmt: skip
    assert [n["name"] for n in found["nodes"]] == ["raw/2026/x.parquet", "lake.flights"]


def test_a_wide_event_fits(api: Api) -> None:
    wide = {f"c{i}": (jobs.Column("a", f"c{i}"),) for i in range(1500)}
    api.send(
        event("wide", [jobs.Dataset("a", "1", "table")], [jobs.Dataset("b", "1", "table", made_of=wide)])
    )
    assert len(api.ask("b:upstream", column="c7")["nodes"]) == 2


def test_an_answer_that_is_too_long_is_cut_at_what_is_farthest(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mainspring.platform.lineage import service

    monkeypatch.setattr(service, "MAX_EDGES", 3)
    for i in range(5):
        one, two = (jobs.Dataset(f"d{j}", "1", "table") for j in (i, i + 1))
        api.send(event(f"j{i}", [one], [two]))
    cut = api.ask("d0:downstream")
    assert cut["is_cut"] and [n["name"] for n in cut["nodes"]] == ["d0", "d1", "d2", "d3"]


@contextlib.contextmanager
def listening(app: Litestar) -> Iterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def test_openlineages_own_client_posts_here_unchanged(tmp_path: Path) -> None:
    from openlineage.client import OpenLineageClient, event_v2
    from openlineage.client.transport.http import ApiKeyTokenProvider, HttpConfig, HttpTransport

    with listening(build(tmp_path)) as url:
        token = ApiKeyTokenProvider({"apiKey": "service"})
        client = OpenLineageClient(transport=HttpTransport(HttpConfig(url=url, auth=token)))
        for name, kind in (("raw", event_v2.RunState.START), ("clean", event_v2.RunState.COMPLETE)):
            client.emit(
                event_v2.RunEvent(
                    eventType=kind,
                    eventTime=AT.isoformat(),
                    run=event_v2.Run(runId="3f2504e0-4f89-11d3-9a0c-0305e82c3301"),
                    job=event_v2.Job(namespace="spark", name="cleaning"),
                    inputs=[event_v2.InputDataset(namespace="spark", name="raw")],
                    outputs=[event_v2.OutputDataset(namespace="spark", name=name)],
                )
            )
        client.close()
    with TestClient(build(tmp_path)) as again:
        found = Api(again).call("viewer", "GET", "/api/v1/lineage/spark/clean:upstream", 200)
    assert [n["name"] for n in found["nodes"]] == ["clean", "raw"]
