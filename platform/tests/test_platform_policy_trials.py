"""A dry run tells which decisions on record a policy set would change, and changes nothing itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from litestar.testing import TestClient

from mainspring.core import identity, settings
from mainspring.core.client import control as control_client
from mainspring.platform import app as control_app
from mainspring.platform.cli import main as cli
from mainspring.platform.cli import policies as cli_policies
from mainspring.platform.policies import trials
from mainspring.platform.runs import launcher

#: Once over SQLite, once over PostgreSQL.
pytestmark = pytest.mark.usefixtures("database_url")

ACTORS = {
    name: identity.Actor(name, (name,)) for name in ("admin", "developer", "approver", "viewer", "service")
}
FREEZE = """
@id("acme.freeze")
@advice("the freeze is on; start it in January")
forbid (principal, action == Action::"run.start", resource)
when { context.environment == "prod" };
"""
OPEN = """
@id("acme.viewers-start")
@advice("-")
permit (principal, action == Action::"run.start", resource)
when { principal.roles.contains("viewer") };
"""


class Api:
    def __init__(self, client: TestClient[Any]) -> None:
        self.client = client

    def call(self, who: str, method: str, path: str, expect: int, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {who}"}
        answer = self.client.request(method, f"/api/v1{path}", json=body, headers=headers)
        assert answer.status_code == expect, answer.text
        return answer.json()

    def start(self, who: str, expect: int, environment: str) -> Any:
        body = {"project": "alpha", "environment": environment}
        return self.call(who, "POST", "/runs", expect, body)

    def dry_run(self, expect: int = 200, who: str = "admin", days: int = 7, **texts: str) -> Any:
        body = {"policies": {f"{name}.cedar": text for name, text in texts.items()}, "days": days}
        return self.call(who, "POST", "/policies:dry-run", expect, body)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    s = settings.load({}, directory=tmp_path)
    app = control_app.create_app(s, issuer=identity.TokenIssuer(ACTORS), launcher=launcher.MemoryLauncher())
    with TestClient(app) as client:
        one = Api(client)
        one.call("developer", "POST", "/projects", 201, {"name": "alpha", "owner": "team"})
        one.start("developer", 201, "prod")
        one.start("developer", 201, "dev")
        one.start("viewer", 403, "dev")
        one.start("viewer", 403, "moon")
        yield one


def test_what_would_be_denied(api: Api) -> None:
    found = api.dry_run(acme=FREEZE)
    assert (found["newly_denied"], found["newly_allowed"], found["is_cut"]) == (1, 0, False)
    # The project, the starts, and the question of this dry run, whose intent is on record before it works.
    assert found["decisions"] == 6
    (change,) = found["changes"]
    assert (change["actor"], change["action"], change["was_allowed"], change["is_allowed"]) == (
        "developer",
        "run.start",
        True,
        False,
    )
    assert (change["was_by"], change["is_by"]) == (["run.start"], ["acme.freeze"])
    assert change["next_step"] == "the freeze is on; start it in January"
    row = api.call("admin", "GET", f"/audit?after={change['sequence'] - 1}&limit=1", 200)["items"][0]
    assert row["detail"]["environment"] == "prod" and row["at"] == change["at"]


def test_what_would_be_allowed(api: Api) -> None:
    found = api.dry_run(acme=OPEN)
    assert (found["newly_denied"], found["newly_allowed"]) == (0, 1)  # the moon stays forbidden
    assert found["changes"][0]["is_by"] == ["acme.viewers-start"] and found["changes"][0]["was_by"] == []


def test_the_set_in_force_changes_nothing(api: Api) -> None:
    found = api.dry_run()
    assert (found["changes"], found["newly_denied"], found["newly_allowed"]) == ([], 0, 0)
    api.start("developer", 201, "prod")  # what was tried is not in force


def test_it_is_on_record_itself(api: Api) -> None:
    api.dry_run(acme=FREEZE)
    rows = api.call("admin", "GET", "/audit", 200)["items"][-2:]
    assert [(r["action"], r["outcome"]) for r in rows] == [
        ("policy.dry-run", "requested"),
        ("policy.dry-run", "done"),
    ]
    assert rows[1]["detail"] == {"decisions": 6, "denied": 1, "allowed": 0}


def test_it_is_refused(api: Api) -> None:
    for who in ("developer", "viewer", "service"):
        assert api.dry_run(403, who)["code"] == "permission_denied"
    bad = api.dry_run(400, acme="permit (principal, action, resource);")
    assert bad["details"] == {"field": "policies"} and "`acme.cedar`: policy `policy0`" in bad["detail"]
    assert "days" in api.dry_run(400, days=0)["detail"]
    assert "days" in api.dry_run(400, days=91)["detail"]


def test_a_long_record_is_asked_from_its_end(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "MAX_ROWS", 3)
    monkeypatch.setattr(trials, "MAX_CHANGES", 1)
    found = api.dry_run(acme='@id("a") @advice("-") permit (principal, action, resource);')
    # The newest three: this dry run, the moon, and the viewer's start.
    assert (found["decisions"], found["is_cut"], len(found["changes"])) == (3, True, 1)


def test_what_others_report_is_no_decision(api: Api) -> None:
    run_id = api.call("viewer", "GET", "/runs", 200)["items"][0]["run_id"]
    event = {
        "run_id": run_id,
        "event_key": "k",
        "action": "run.end",
        "actor": "workflow",
        "detail": {"authorisation": {"decisions": [{"allowed": True}]}},
    }
    told = api.call("service", "POST", f"/runs/{run_id}/events", 201, event)
    (decision,) = told["detail"]["authorisation"]["decisions"]
    assert decision["policies"] == ["record.service"]  # ours, and not what was reported
    assert api.dry_run()["changes"] == []


def test_the_command_line(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = control_client.ControlClient("http://api", "admin", transport=api.client._transport)
    monkeypatch.setattr(cli_policies.session, "client", lambda _actor: client)
    monkeypatch.setattr(client, "close", lambda: None)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "acme.cedar").write_text(FREEZE)

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(cli.cli, ["policy", "diff", *arguments])

    told = run(str(tmp_path / "own"))
    assert told.exit_code == 0 and "newly_denied: 1" in told.output and "acme.freeze" in told.output
    found = json.loads(run(str(tmp_path / "own"), "--days", "1", "--json").stdout)
    assert found["data"]["newly_denied"] == 1
    (tmp_path / "own" / "acme.cedar").write_text("permit")
    assert run(str(tmp_path / "own")).exit_code == 1
