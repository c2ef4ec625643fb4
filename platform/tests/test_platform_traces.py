"""A request's trace in the control API: on record, told of with the run, and taken up again by recovery."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from litestar.testing import TestClient
from platform_api import PROJECT, Api, api, empty, launcher  # noqa: F401 - fixtures

from mainspring.core import identity, logs, otlp, settings, traces
from mainspring.core.contracts import training
from mainspring.platform import app as control_app
from mainspring.platform import mutation
from mainspring.platform.runs import launcher as run_launcher

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{PARENT}-01"


class Listening(run_launcher.MemoryLauncher):
    """Knows in which trace it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked_in: list[str] = []

    async def start_training(self, request: training.TrainRequest) -> None:
        self.asked_in.append(traces.outgoing())
        await super().start_training(request)


def start(http: Api, headers: dict[str, str], expect: int = 201, role: str = "developer") -> Any:
    token = http._tokens[role]
    answer = http.client.post(
        "/api/v1/runs",
        json={"project": "flight-delay", "idempotency_key": "once"},
        headers={"Authorization": f"Bearer {token}", **headers},
    )
    assert answer.status_code == expect, answer.text
    return answer.json()


def rows_of(http: Api, run_id: str) -> list[dict[str, Any]]:
    return [row for row in http.audit() if row["resource"] == f"run/{run_id}"]


def test_a_run_has_the_trace_that_its_caller_sent_on_record_and_tells_of_it(api: Api) -> None:  # noqa: F811
    made = start(api, {"traceparent": SAMPLED})
    assert made["trace_id"] == TRACE
    shown = api.call("developer", "GET", f"/api/v1/runs/{made['run_id']}", 200)
    assert shown["trace_id"] == TRACE
    assert [row["detail"]["traceparent"] for row in rows_of(api, made["run_id"])] == [SAMPLED, SAMPLED]
    assert not [
        row
        for row in api.audit()
        if row["resource"] == "project/flight-delay" and "traceparent" in row["detail"]
    ]


@pytest.mark.parametrize("headers", [{}, {"traceparent": "garbage"}])
def test_without_a_trace_nothing_is_made_up_and_nothing_changes(api: Api, headers: dict[str, str]) -> None:  # noqa: F811
    made = start(api, headers)
    assert made["trace_id"] == ""
    assert all("traceparent" not in row["detail"] for row in rows_of(api, made["run_id"]))


def test_every_request_is_a_line_of_the_log_without_its_query_and_who_asks(
    api: Api,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "mainspring.platform.access")
    caplog.handler.setFormatter(logs.EcsLines("mainspring-control", "1"))
    caplog.clear()
    start(api, {"traceparent": SAMPLED})
    api.call("developer", "GET", "/api/v1/runs/run_none?secret=1", 404)
    api.client.get("/healthz")
    begun, missing = (
        json.loads(one) for one in caplog.text.splitlines() if "mainspring.platform.access" in one
    )
    assert (begun["message"], begun["event.outcome"], begun["trace.id"]) == (
        "POST /api/v1/runs 201",
        "success",
        TRACE,
    )
    assert (missing["url.path"], missing["event.outcome"]) == ("/api/v1/runs/run_none", "failure")
    assert begun["event.duration"] > 0 and missing["http.response.status_code"] == 404
    assert "secret" not in caplog.text and "Bearer" not in caplog.text


def test_a_denial_has_its_trace_on_record_too(api: Api) -> None:  # noqa: F811
    start(api, {"traceparent": SAMPLED}, 403, role="approver")
    (denied,) = [row for row in api.audit() if row["outcome"] == "denied"]
    assert denied["detail"]["traceparent"] == SAMPLED
    assert traces.HEADER in mutation._NOT_FIELDS, "it is no field that somebody changed"


def test_every_request_is_a_span_and_what_it_starts_is_below_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[traces.Span] = []
    monkeypatch.setattr(otlp.SpanSender, "add", lambda _, one: kept.append(one))
    environ = {"MAINSPRING_TELEMETRY_TRACE_ENDPOINT": "http://127.0.0.1:9/v1/traces"}
    s = settings.load(environ, directory=tmp_path)
    issuer, asked = identity.ensure_token_file(s.control.tokens_file), Listening()
    app = control_app.create_app(s, issuer=issuer, launcher=asked)
    with TestClient(app, raise_server_exceptions=False) as client:
        http = Api(client, issuer)
        http.call("developer", "POST", "/api/v1/projects", 201, PROJECT)
        assert client.get("/healthz").status_code == 200
        made = start(http, {})
        http.call("developer", "GET", "/api/v1/runs/run_none?secret=1", 404)
        started = {one.name: one for one in kept}
    project, begun, missing = kept
    assert [project.name, begun.name, missing.name] == [
        "POST /api/v1/projects",
        "POST /api/v1/runs",
        "GET /api/v1/runs/{run_id}",
    ]
    assert begun.parent_id == "" and made["trace_id"] == begun.trace_id != project.trace_id
    assert asked.asked_in == [f"00-{begun.trace_id}-{begun.span_id}-01"]
    assert (missing.attributes["http.response.status_code"], missing.error) == (404, "")
    token = issuer.token_of("developer@local")
    assert "secret" not in str(kept) and token not in str(kept) and started


def test_what_a_crash_left_open_is_carried_out_in_the_trace_of_its_request(tmp_path: Path) -> None:
    """Nobody asks any more then; the run is still found under the trace of who did."""
    s, asked = settings.load({}, directory=tmp_path), Listening()
    issuer = identity.ensure_token_file(s.control.tokens_file)
    asked.is_down = True
    app = control_app.create_app(s, issuer=issuer, launcher=asked)
    with TestClient(app, raise_server_exceptions=False) as client:
        http = Api(client, issuer)
        http.call("developer", "POST", "/api/v1/projects", 201, PROJECT)
        start(http, {"traceparent": SAMPLED}, 503)
    asked.is_down, asked.asked_in = False, []
    again = control_app.create_app(s, issuer=issuer, launcher=asked)
    with TestClient(again, raise_server_exceptions=False) as client:
        http = Api(client, issuer)
        (run,) = http.call("developer", "GET", "/api/v1/runs", 200)["items"]

        async def recovered() -> None:
            while not asked.asked_in:
                await asyncio.sleep(0.01)

        asyncio.run(asyncio.wait_for(recovered(), 30))
        shown = http.call("developer", "GET", f"/api/v1/runs/{run['run_id']}", 200)
    assert asked.asked_in == [SAMPLED] and shown["trace_id"] == TRACE
