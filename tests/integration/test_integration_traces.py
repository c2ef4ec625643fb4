"""One request's trace, through every process: the control API, Temporal, the worker, serving, and a prediction at last.

What they sent a real MLflow server takes as well, and has it as one trace.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from temporalio.testing import WorkflowEnvironment

ROOT = Path(__file__).parents[2]
for room in ("serving", "workflows"):
    sys.path.insert(0, str(ROOT / room / "tests"))

import serving_native_world as native_world  # noqa: E402
from serving_receiver import Receiver  # noqa: E402
from workflows_doubles import program  # noqa: E402

from mainspring.core import errors, identity, otlp, settings  # noqa: E402
from mainspring.core.client.workflows import WorkflowClient  # noqa: E402
from mainspring.core.contracts import deployment  # noqa: E402
from mainspring.platform import app as control_app  # noqa: E402
from mainspring.platform.runs import launcher  # noqa: E402
from mainspring.platform.stack import parts  # noqa: E402
from mainspring.workflows import tracing, worker  # noqa: E402
from mainspring.workflows.deployment import messages  # noqa: E402

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADERS = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
PROJECT = "plain-project"


@contextlib.contextmanager
def control_api(s: settings.Settings, issuer: identity.TokenIssuer) -> Iterator[str]:
    async def connect() -> launcher.RunLauncher:
        return await WorkflowClient.connect_by(s.workflow)

    app = control_app.create_app(s, issuer=issuer, launcher=launcher.LazyLauncher(connect))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until = time.monotonic() + 60
        while not server.started:
            assert thread.is_alive() and time.monotonic() < until
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


async def deployed(http: httpx.AsyncClient, digest: str) -> Any:
    """A project, and a deployment of the bundle, followed to its end."""
    project = {"name": PROJECT, "owner": "team@example.org", "monthly_budget": 10.0}
    assert (await http.post("/api/v1/projects", json=project)).status_code == 201
    asked = {"project": PROJECT, "kind": "deploy", "endpoint": "flights", "bundle_digest": digest}
    answer = await http.post("/api/v1/runs", json=asked, headers=HEADERS)
    assert answer.status_code == 201, answer.text
    run, until = answer.json(), time.monotonic() + 60
    while run["stage"] not in ("done", "failed", "rolled_back", "cancelled"):
        assert time.monotonic() < until, run
        await asyncio.sleep(0.05)
        run = (await http.get(f"/api/v1/runs/{run['run_id']}")).json()
    return run


def by_service(receiver: Receiver) -> list[tuple[str, dict[str, Any]]]:
    """Each span with the service that sent it; what was sent is what OpenTelemetry's own messages take."""
    found = []
    for document in receiver.documents:
        for resource in document["resourceSpans"]:
            told = {a["key"]: a["value"]["stringValue"] for a in resource["resource"]["attributes"]}
            found += [(told["service.name"], s) for scope in resource["scopeSpans"] for s in scope["spans"]]
        read = json.loads(json.dumps(document))
        for resource in read["resourceSpans"]:
            for span in (s for scope in resource["scopeSpans"] for s in scope["spans"]):
                for name in ("traceId", "spanId", "parentSpanId"):
                    span[name] = base64.b64encode(bytes.fromhex(span.get(name, ""))).decode()
        json_format.ParseDict(read, ExportTraceServiceRequest())
    return found


@dataclass(frozen=True)
class Told:
    """A deployment and a prediction under one trace: what was sent, and what the platform says of it."""

    receiver: Receiver
    run: Any
    rows: list[Any]
    shown: set[str]
    """Metrics of the worker."""
    secrets: tuple[str, ...]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    tmp_path = tmp_path_factory.mktemp("traces")
    receiver = Receiver()
    with native_world.serve(tmp_path, bundle_dir=tmp_path / "bundles", trace_endpoint=receiver.url) as (
        pair,
        home,
    ):
        digest, url = native_world.write_network(home, 1), pair.served.url
        issuer = pair.served.tokens
        tokens = {who: issuer.token_of(f"{who}@local") for who in ("developer", "service", "approver")}

        with socket.create_server(("127.0.0.1", 0)) as probe:
            metrics_port = probe.getsockname()[1]

        async def story() -> tuple[Any, list[Any], set[str]]:
            async with await WorkflowEnvironment.start_local(
                dev_server_existing_path=program("temporal")
            ) as temporal:
                environ = {
                    "MAINSPRING_WORKFLOW_ADDRESS": temporal.client.service_client.config.target_host,
                    "MAINSPRING_SERVING_BUNDLE_DIR": str(home.store.root),
                    "MAINSPRING_SERVING_TRUSTED_KEYS_DIR": str(home.trusted),
                    "MAINSPRING_CONTROL_TOKENS_FILE": str(tmp_path / "serving" / "tokens.json"),
                    "MAINSPRING_TELEMETRY_TRACE_ENDPOINT": receiver.url,
                    "MAINSPRING_TELEMETRY_WORKER_METRICS": f"127.0.0.1:{metrics_port}",
                }
                s = settings.load(environ, directory=tmp_path)
                with control_api(s, issuer) as control_url:
                    traced = otlp.told_by(s.telemetry, tracing.SERVICE, "1")
                    async with (
                        worker._room(url, tokens["service"]) as serving,
                        worker._room(control_url, tokens["service"]) as control,
                        worker.build(
                            await worker.connect(s),
                            s,
                            serving,
                            control,
                            around=[tracing.Tracing(traced.tracer)],
                        ),
                    ):
                        mine = {"authorization": f"Bearer {tokens['developer']}"}
                        async with httpx.AsyncClient(
                            base_url=control_url, headers=mine, trust_env=False
                        ) as http:
                            run = await deployed(http, digest)
                            http.headers["authorization"] = f"Bearer {tokens['approver']}"
                            rows = (await http.get("/api/v1/audit")).json()["items"]
                            scraped = await http.get(f"http://127.0.0.1:{metrics_port}/metrics")
                            shown = set(re.findall(r"^(temporal_\w+)[{ ]", scraped.text, re.MULTILINE))
                        with pytest.raises(
                            errors.Misconfigured, match=r"correct `telemetry\.worker_metrics`"
                        ):
                            await worker.connect(s)
                    traced.close()
                asked = native_world.body(rows=[native_world.ROW])
                answer = httpx.post(
                    url + native_world.path("flights"), content=asked, headers=HEADERS, trust_env=False
                )
                assert answer.json()["model_version"] == digest
                return run, rows, shown

        run, rows, shown = asyncio.run(story())
    receiver.close()
    return Told(receiver, run, rows, shown, (*tokens.values(), "Bearer", "team@example.org"))


def test_from_a_deployment_to_a_prediction_it_is_one_trace(told: Told) -> None:
    receiver, run, rows, shown = told.receiver, told.run, told.rows, told.shown
    board = (ROOT / "platform/deploy/kubernetes/components/dashboards/workflows.json").read_text()
    asked = set(re.findall(r"\btemporal_\w+", board))
    # Counted from the first failure on.
    assert len(asked) > 5 and asked - shown <= {"temporal_activity_execution_failed_total"}, asked - shown
    assert (run["stage"], run["trace_id"]) == ("done", TRACE), run
    of_run = [row["detail"]["traceparent"] for row in rows if row["resource"] == f"run/{run['run_id']}"]
    assert len(of_run) > 2 and {one[3:35] for one in of_run} == {TRACE}

    spans = [(service, one) for service, one in by_service(receiver) if one["traceId"] == TRACE]
    by_id = {one["spanId"]: (service, one) for service, one in spans}
    roots = sorted(one["name"] for _, one in spans if one["parentSpanId"] == PARENT)
    assert roots == ["POST /api/v1/runs", f"POST {native_world.path('flights')}"]
    for _, one in spans:
        assert one["parentSpanId"] == PARENT or one["parentSpanId"] in by_id, f"{one['name']} has no parent"

    def way(service: str, name: str) -> list[tuple[str, str]]:
        """From a span up to the request that began it all."""
        at = next(one for s, one in spans if (s, one["name"]) == (service, name))
        up = [(service, name)]
        while (parent := at["parentSpanId"]) != PARENT:
            at = by_id[parent][1]
            up.append((by_id[parent][0], at["name"]))
        return up

    begun = ("mainspring-control", "POST /api/v1/runs")
    process = ("mainspring-worker", f"workflow {deployment.DEPLOY_WORKFLOW}")
    assert way("mainspring-serving", "PUT /v1/endpoints/flights/traffic")[1:] == [
        ("mainspring-worker", f"activity {messages.SET_TRAFFIC}"),
        process,
        begun,
    ]
    assert way("mainspring-control", "POST /api/v1/runs/{run_id}/events")[2:] == [process, begun]
    said = json.dumps(receiver.documents)
    assert not [word for word in told.secrets if word in said]


@contextlib.contextmanager
def mlflow(folder: Path) -> Iterator[str]:
    """The server that the local stack runs, on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    variables = {"MAINSPRING_TRACKING_URI": url, "MAINSPRING_STACK_STATE_DIR": str(folder)}
    part = parts.mlflow(settings.load(variables, directory=folder))
    part.prepare()
    with (folder / "mlflow.log").open("wb") as log:
        process = subprocess.Popen(
            part.argv, env={**os.environ, **part.environment}, stdout=log, stderr=log, start_new_session=True
        )
    try:
        until = time.monotonic() + 90
        while not part.is_ready():
            assert process.poll() is None and time.monotonic() < until, (folder / "mlflow.log").read_text()
            time.sleep(0.1)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=20)


def test_mlflow_has_what_was_sent_as_one_trace(told: Told, tmp_path: Path) -> None:
    """As `docs/monitoring.md` says: its endpoint, and the experiment as a header."""
    sent = {span["spanId"]: span for _, span in by_service(told.receiver) if span["traceId"] == TRACE}
    with mlflow(tmp_path) as url:
        ours = otlp.Receiver(f"{url}/v1/traces", "x-mlflow-experiment-id=0")
        for document in told.receiver.documents:
            ours(json.dumps(document).encode())
        asked = {"trace_id": f"tr-{TRACE}", "allow_partial": "true"}
        answer = httpx.get(f"{url}/api/3.0/mlflow/traces/get", params=asked, trust_env=False, timeout=30)
        nowhere = otlp.Receiver(f"{url}/v1/traces", "")
        with pytest.raises(errors.DependencyDown, match=r"look at `telemetry\.trace_endpoint`"):
            nowhere(json.dumps(told.receiver.documents[0]).encode())
        ours.close()
        nowhere.close()
    assert answer.is_success, answer.text
    found = {base64.b64decode(span["span_id"]).hex(): span for span in answer.json()["trace"]["spans"]}
    assert found.keys() == sent.keys() and len(sent) > 10
    for span_id, span in found.items():
        mine = sent[span_id]
        assert (span["name"], int(span["start_time_unix_nano"])) == (
            mine["name"],
            int(mine["startTimeUnixNano"]),
        )
        assert base64.b64decode(span["parent_span_id"]).hex() == mine["parentSpanId"]
