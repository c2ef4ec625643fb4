"""Evidently's page of a report: shown to whoever may see the report, as it was left or not at all, and shut in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import platform_api
import pytest
from click.testing import CliRunner
from litestar.testing import TestClient

from mainspring.core import identity, settings
from mainspring.core.client import control as control_client
from mainspring.core.monitoring import pages
from mainspring.platform import app as control_app
from mainspring.platform.cli import main as cli
from mainspring.platform.cli import session
from mainspring.platform.runs import launcher

ACTORS = {n: identity.Actor(f"{n}@local", (n,)) for n in ("service", "viewer", "admin")}
PAGE = "<!DOCTYPE html><html><head></head><body>drift</body></html>"


class World:
    def __init__(self, client: TestClient[Any], s: settings.Settings) -> None:
        self.client, self.folder = client, s.monitor.reports_dir
        made = self.ask("POST", "/api/v1/projects", "admin", {"name": "flights", "owner": "team"})
        assert made.status_code == 201, made.text

    def ask(self, method: str, path: str, role: str = "viewer", body: Any = None) -> httpx.Response:
        return self.client.request(method, path, json=body, headers={"Authorization": f"Bearer {role}"})

    def report(self, html_digest: str) -> str:
        report = {
            "project": "flights", "endpoint": "flights", "bundle_digest": "sha256:" + "a" * 64,
            "begins": "2026-11-01T00:00:00Z", "ends": "2026-11-08T00:00:00Z", "rows": 1000, "known": 900,
        }  # fmt: skip
        body = {"report": report, "html_digest": html_digest}
        answer = self.ask("POST", "/api/v1/monitoring/reports", "service", body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["report_id"])

    def page(self, report_id: str, role: str = "viewer") -> httpx.Response:
        return self.ask("GET", f"/api/v1/monitoring/reports/{report_id}/page", role)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    s = settings.load({}, directory=tmp_path)
    app = control_app.create_app(s, issuer=identity.TokenIssuer(ACTORS), launcher=launcher.MemoryLauncher())
    with TestClient(app, raise_server_exceptions=False) as client:
        yield World(client, s)


def test_a_page_is_shown_as_it_was_left_and_may_do_nothing_but_run_its_own_scripts(world: World) -> None:
    answer = world.page(world.report(pages.leave(world.folder, PAGE)))
    assert answer.status_code == 200 and answer.text == PAGE
    assert answer.headers["content-type"].startswith("text/html")
    policy = dict(rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; "))
    assert policy["sandbox"] == "allow-scripts"  # and not its origin: it is nobody's
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'" and "connect-src" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert world.page("report_none").status_code == 404
    assert world.page("x", role="nobody").status_code == 401


def test_what_is_not_kept_here_was_changed_or_never_left_is_said(world: World) -> None:
    digest = pages.leave(world.folder, PAGE)
    shown = world.report(digest)
    path = next(world.folder.glob("*.html"))
    path.write_text(PAGE + "<script>")
    answer = world.page(shown)
    assert (answer.status_code, answer.json()["code"]) == (
        422,
        "corrupt_artifact",
    ) and PAGE not in answer.text
    path.unlink()
    answer = world.page(shown)
    assert answer.status_code == 404 and "`monitor.reports_dir` of the worker" in answer.json()["detail"]


def test_a_check_without_a_page_has_none(world: World) -> None:
    answer = world.page(world.report(""))
    assert answer.status_code == 404 and "left no page" in answer.json()["detail"]


def test_a_command_writes_it_to_a_file(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def client(_: str) -> control_client.ControlClient:
        transport = platform_api.transport(world.client)
        return control_client.ControlClient("http://testserver.local", "viewer", transport=transport)

    monkeypatch.setattr(session, "client", client)
    report_id, out = world.report(pages.leave(world.folder, PAGE)), tmp_path / "drift.html"
    words = ["monitor", "page", report_id, "--out", str(out), "--json"]
    done = CliRunner().invoke(cli.cli, words)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["data"]["bytes"] == len(PAGE) and out.read_text() == PAGE
    next(world.folder.glob("*.html")).unlink()
    out.unlink()
    done = CliRunner().invoke(cli.cli, words)
    assert done.exit_code == 1 and not out.exists() and "is not kept here" in done.output
