"""Dashboards: as they are made, of metrics that serving has, in a language that Prometheus reads."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from manifests import DEPLOY, ROOT, of_kind

sys.path.insert(0, str(ROOT / "serving" / "tests"))
import serving_world as world
from litestar.testing import TestClient
from serving_access_world import ASKED, PREDICT

from mainspring.core import identity, settings
from mainspring.core.client import serving as client_module
from mainspring.core.contracts.deployment import TrafficTable
from mainspring.platform import app as control_app
from mainspring.platform.runs import launcher

FOLDER = DEPLOY / "kubernetes" / "components" / "dashboards"
MAKER: dict[str, Any] = runpy.run_path(str(ROOT / "tools" / "dashboards.py"))
QUERIES: list[str] = [
    q for path in sorted(FOLDER.glob("*.json")) for q in MAKER["expressions"](path.read_text())
]


def test_they_are_as_they_are_made() -> None:
    assert {path.name: path.read_text() for path in FOLDER.glob("*.json")} == MAKER["made"]()
    assert len(QUERIES) > 20


def test_an_environment_ships_them() -> None:
    data = of_kind("prod", "ConfigMap")["mainspring-dashboards"]
    assert data["metadata"]["labels"]["grafana_dashboard"] == "1"
    shipped = {json.loads(text)["uid"] for text in data["data"].values()}
    assert shipped == {f"mainspring-{path.stem}" for path in FOLDER.glob("*.json")} and len(shipped) == 5


def control_plane_s(directory: Path) -> str:
    """What the control API shows to a scraper that may read everything."""
    s = settings.load({}, directory=directory)
    issuer = identity.ensure_token_file(s.control.tokens_file)
    app = control_app.create_app(s, issuer=issuer, launcher=launcher.MemoryLauncher())
    headers = {"authorization": f"Bearer {issuer.token_of('approver@local')}"}
    with TestClient(app) as client:
        client.get("/api/v1/runs", headers=headers)
        return client.get("/metrics").text + client.get("/api/v1/metrics", headers=headers).text


@pytest.mark.integration
def test_every_metric_and_label_is_of_a_process_of_ours(tmp_path: Path) -> None:
    """But those of Temporal's SDK, which `tests/integration/test_integration_traces.py` scrapes of a worker."""
    bundle = world.World()
    with world.serve(tmp_path, bundle, log_predictions=1.0, send_usage=lambda _: None) as served:
        token = served.tokens.token_of("service@local")
        with client_module.ServingClient(served.url, token=token) as client:
            client.load_bundle(bundle.digest)
            client.set_traffic(TrafficTable(endpoint="flights", version=1, stable=bundle.digest))
        document = {**ASKED, "entities": [world.entity()]}
        headers = {"authorization": f"Bearer {token}"}
        assert httpx.post(served.url + PREDICT, json=document, headers=headers, trust_env=False).is_success
        text = httpx.get(served.url + "/metrics", trust_env=False).text
    text += control_plane_s(tmp_path / "control")
    families = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    known = {
        name + end
        for name, kind in families.items()
        for end in (("_bucket", "_sum", "_count") if kind == "histogram" else ("",))
    }
    asked = {name for q in QUERIES for name in re.findall(r"\b(?:mainspring|process)_\w+", q)}
    assert len(asked) > 20
    assert asked - known == set()
    labels: dict[str, set[str]] = {}
    for name, found in re.findall(r"^(mainspring_\w+)\{(.*)\} ", text, re.MULTILINE):
        labels.setdefault(name, set()).update(re.findall(r'(\w+)="', found))
    checked = 0
    for query in QUERIES:
        for by, name in re.findall(r"by \(([^)]*)\) \(\w+\((\w+)", query):
            if name in labels:
                assert set(by.split(", ")) <= labels[name], query
                checked += 1
    assert checked >= 5
    others = {n for q in QUERIES for n in re.findall(r"\b[a-z]+_\w+(?=[{\[)]| |$)", q)} - asked
    assert {n for n in others if not n.startswith("temporal_")} <= {
        "activity_type",
        "worker_type",
        "histogram_quantile",
    }


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="Debian's prometheus is not installed (tools/apt.sh)"
)
def test_prometheus_reads_every_query(tmp_path: Path) -> None:
    def check(queries: list[str]) -> subprocess.CompletedProcess[str]:
        rules = [
            {"record": f"panel:{i}", "expr": q.replace("$__rate_interval", "5m").replace("$endpoint", ".*")}
            for i, q in enumerate(queries)
        ]
        (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
        words = ["promtool", "check", "rules", tmp_path / "rules.yml"]
        return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)

    done = check(QUERIES)
    assert done.returncode == 0, done.stdout + done.stderr
    assert check(["sum by endpoint (x)"]).returncode != 0
