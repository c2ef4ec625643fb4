"""The alerting rules over serving's metrics: each metric is there, and Prometheus and Alertmanager tell a webhook of a breach."""

from __future__ import annotations

import contextlib
import json
import queue
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import serving_access_world as access_world
import serving_world as world
from serving_access_world import ASKED, PREDICT

from mainspring.core.client import serving as client_module
from mainspring.core.contracts import alerts
from mainspring.core.contracts.deployment import TrafficTable
from mainspring.core.monitoring import metric_rules

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

_TOOLS = ("prometheus", "prometheus-alertmanager")


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """A server that logs and reports, with an endpoint that was asked once."""
    bundle = world.World()
    with world.serve(folder, bundle, log_predictions=1.0, send_usage=lambda _: None) as served:
        token = served.tokens.token_of("service@local")
        with client_module.ServingClient(served.url, token=token) as client:
            client.load_bundle(bundle.digest)
            client.set_traffic(TrafficTable(endpoint="flights", version=1, stable=bundle.digest))
        document = {**ASKED, "entities": [world.entity()]}
        headers = {"authorization": f"Bearer {token}"}
        assert httpx.post(served.url + PREDICT, json=document, headers=headers, trust_env=False).is_success
        yield served.url


def test_every_metric_that_a_rule_asks_for_is_there(tmp_path: Path) -> None:
    with serving(tmp_path) as url:
        text = httpx.get(url + "/metrics", trust_env=False).text
    there = {line.split("{")[0].split(" ")[0] for line in text.splitlines() if not line.startswith("#")}
    asked = {rule.name: metric_rules.metrics_of(rule) for rule in metric_rules.SERVING}
    assert all(asked.values())
    assert {name: sorted(metrics - there) for name, metrics in asked.items() if metrics - there} == {}


class Hook:
    """A webhook that keeps what it is told."""

    def __init__(self) -> None:
        told: queue.Queue[dict[str, Any]] = queue.Queue()
        self.told = told

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@contextlib.contextmanager
def running(*command: str, log: Path) -> Iterator[None]:
    with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            yield
        finally:
            process.terminate()


@pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in _TOOLS),
    reason="Debian's prometheus is not installed (tools/apt.sh)",
)
def test_prometheus_and_alertmanager_tell_a_webhook(tmp_path: Path) -> None:
    port, manager_port, gossip = (access_world.free_port() for _ in range(3))
    rule = alerts.MetricRule(
        name="asked",
        expression="mainspring_endpoint_requests_total > 0",
        for_seconds=0,
        severity="page",
        summary="the endpoint was asked",
        runbook="https://example.org/asked",
    )
    (tmp_path / "rules.yml").write_text(metric_rules.to_prometheus([rule]))
    hook = Hook()
    (tmp_path / "manager.yml").write_text(json.dumps({
        "route": {"receiver": "ours", "group_wait": "0s", "group_interval": "1s", "repeat_interval": "1h"},
        "receivers": [
            {"name": "ours", "webhook_configs": [{"url": f"http://127.0.0.1:{hook.server.server_port}/"}]}
        ],
    }))  # fmt: skip
    with serving(tmp_path / "serving") as url:
        (tmp_path / "prometheus.yml").write_text(json.dumps({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(tmp_path / "rules.yml")],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{manager_port}"]}]}]},
            "scrape_configs": [
                {"job_name": "serving", "static_configs": [{"targets": [url.removeprefix("http://")]}]}
            ],
        }))  # fmt: skip
        with (
            running(
                "prometheus-alertmanager",
                f"--config.file={tmp_path / 'manager.yml'}",
                f"--storage.path={tmp_path / 'manager'}",
                f"--web.listen-address=127.0.0.1:{manager_port}",
                f"--cluster.listen-address=127.0.0.1:{gossip}",
                log=tmp_path / "manager.log",
            ),
            running(
                "prometheus",
                f"--config.file={tmp_path / 'prometheus.yml'}",
                f"--storage.tsdb.path={tmp_path / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                log=tmp_path / "prometheus.log",
            ),
        ):
            try:
                told = hook.told.get(timeout=60)
            except queue.Empty:
                logs = "".join((tmp_path / f"{n}.log").read_text()[-2000:] for n in ("prometheus", "manager"))
                pytest.fail(f"nobody was told within a minute:\n{logs}")
    hook.server.shutdown()
    hook.server.server_close()
    (alert,) = told["alerts"]
    assert alert["status"] == "firing" and alert["labels"]["alertname"] == "asked"
    assert (alert["labels"]["endpoint"], alert["labels"]["severity"]) == ("flights", "page")
    assert alert["annotations"]["runbook_url"] == "https://example.org/asked"
