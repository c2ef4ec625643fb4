"""Which policies are in force, what each says, and which sets were, for whoever has a role of the platform."""

from __future__ import annotations

import json
from collections.abc import Callable
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
from mainspring.platform.policies import engine
from mainspring.platform.runs import launcher

#: Once over SQLite, once over PostgreSQL.
pytestmark = pytest.mark.usefixtures("database_url")

ACTORS = {
    **{name: identity.Actor(name, (name,)) for name in ("admin", "viewer", "service")},
    "member": identity.Actor("member", ()),
}
FREEZE = """
// Until January.
@id("acme.freeze")
@advice("the freeze is on; start it in January")
@owner("risk")
forbid (principal, action == Action::"run.start", resource) when { context.environment == "prod" };
"""
CASES = """
cases = [{ name = "prod is frozen", roles = ["admin"], action = "run.start", with = { environment = "prod" }, allowed = false, by = ["acme.freeze"] }]
[defaults]
"run.start" = { kind = "train", environment = "dev", auto_approve_by = "", is_sample = false, has_cause = false }
"""


def get(client: TestClient[Any], path: str, who: str = "viewer", expect: int = 200, **headers: str) -> Any:
    answer = client.get(f"/api/v1/{path}", headers={"Authorization": f"Bearer {who}", **headers})
    assert answer.status_code == expect, answer.text
    return answer


def create(client: TestClient[Any], name: str) -> None:
    body = {"name": name, "owner": "o"}
    answer = client.post("/api/v1/projects", json=body, headers={"Authorization": "Bearer admin"})
    assert answer.status_code == 201, answer.text


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., TestClient[Any]]:
    """A control API over one database, with what an organisation has of its own."""

    def started(own: str = "") -> TestClient[Any]:
        folder = tmp_path / "own"
        folder.mkdir(exist_ok=True)
        (folder / "acme.cedar").write_text(own)
        given = {"MAINSPRING_CONTROL_POLICIES_DIR": str(folder)} if own else {}
        s = settings.load(given, directory=tmp_path)
        made = control_app.create_app(
            s, issuer=identity.TokenIssuer(ACTORS), launcher=launcher.MemoryLauncher()
        )
        return TestClient(made)

    return started


def test_all_in_force_are_listed_with_their_set(
    start: Callable[..., TestClient[Any]], tmp_path: Path
) -> None:
    with start(FREEZE) as client:
        answer = get(client, "policies?limit=500")
        found = {one["id"]: one for one in answer.json()["items"]}
        in_force = engine.PolicyEngine.load(tmp_path / "own")
        assert set(found) == {p.id for p in in_force.policies} and list(found) == sorted(found)
        assert {one["version"] for one in found.values()} == {in_force.version}
        own, ours = found["acme.freeze"], found["access.four-eyes"]
        assert (own["is_ours"], own["effect"], own["file"]) == (False, "forbid", "acme.cedar")
        assert own["annotations"]["owner"] == "risk" and own["advice"].startswith("the freeze is on")
        assert (ours["is_ours"], ours["effect"]) == (True, "forbid") and ours["digest"] != own["digest"]
        pages, after = list[str](), ""
        while True:
            page = get(client, f"policies?limit=7&after={after}").json()
            pages += [one["id"] for one in page["items"]]
            if not (after := page["next"]):
                break
        assert pages == list(found)
        tag = answer.headers["etag"]
        assert tag.startswith(f'"{in_force.version}')
        get(client, "policies?limit=500", expect=304, **{"If-None-Match": tag})


def test_one_is_shown_with_its_text_and_its_cases(
    start: Callable[..., TestClient[Any]], tmp_path: Path
) -> None:
    with start(FREEZE) as client:
        (tmp_path / "own" / "cases.toml").write_text(CASES)
        found = get(client, "policies/acme.freeze").json()
        assert "Until January" not in found["text"] and 'Action::"run.start"' in found["text"]
        assert found["cases"] == [{"name": "prod is frozen", "allowed": False}]
        again = engine.PolicyEngine.load(tmp_path / "own")
        (tmp_path / "own" / "acme.cedar").write_text(found["text"])
        assert engine.PolicyEngine.load(tmp_path / "own").version == again.version, "the text is the policy"
        (tmp_path / "own" / "cases.toml").write_text("cases = [")
        assert get(client, "policies/acme.freeze").json()["cases"] == []
        cases = get(client, "policies/access.four-eyes").json()["cases"]
        assert cases and not any(one["allowed"] for one in cases)
        missing = get(client, "policies/acme.freez", expect=404).json()
        assert missing["details"]["did_you_mean"][0] == "acme.freeze"


def test_who_has_no_role_of_the_platform_sees_none(start: Callable[..., TestClient[Any]]) -> None:
    with start() as client:
        for path in ("policies", "policies/read.project", "policies/nowhere", "policies:versions"):
            assert get(client, path, "member", 403).json()["code"] == "permission_denied"
            assert get(client, path, "nobody", 401).json()["code"] == "unauthenticated"
        get(client, "policies", "service")
        for bad in ("policies?limit=0", "policies:versions?limit=501", "policies:versions?before=x"):
            assert get(client, bad, expect=400).json()["code"] == "invalid_request"


def test_which_sets_were_in_force_since_when(start: Callable[..., TestClient[Any]]) -> None:
    ours = engine.PolicyEngine.load().version
    with start() as client:
        (only,) = get(client, "policies:versions").json()["items"]
        assert (only["version"], only["since"], only["how"], only["is_in_force"]) == (
            ours,
            None,
            "first",
            True,
        )
        create(client, "alpha")
        (first,) = get(client, "policies:versions").json()["items"]
        assert (first["version"], first["sequence"], first["how"]) == (ours, 1, "first") and first["since"]
    with start(FREEZE) as client:
        newest, first = get(client, "policies:versions").json()["items"]
        assert (newest["how"], newest["is_in_force"], first["is_in_force"]) == ("start", True, False)
        assert newest["version"] == get(client, "policies").json()["items"][0]["version"] != ours
        lines = get(client, "audit:export", "admin").text.splitlines()
        row = json.loads(lines[newest["sequence"] - 1])["row"]
        assert (row["action"], row["actor"], row["at"][:26]) == (
            "policy.reload",
            "control-api",
            newest["since"][:26],
        )
        assert row["detail"] == {"from": ours, "to": newest["version"], "when": "start"}
    with start(FREEZE) as client:
        assert len(get(client, "policies:versions").json()["items"]) == 2, "nothing is otherwise"
    with start() as client:
        found = get(client, "policies:versions").json()["items"]
        assert [one["version"] for one in found] == [ours, newest["version"], ours]
        paged, before = list[Any](), ""
        while True:
            page = get(client, f"policies:versions?limit=1&before={before}").json()
            paged += page["items"]
            if not (before := page["next"]):
                break
        assert paged == found


def test_the_command_line(start: Callable[..., TestClient[Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    with start(FREEZE) as api:
        client = control_client.ControlClient("http://api", "viewer", transport=api._transport)
        monkeypatch.setattr(cli_policies.session, "client", lambda _actor: client)
        monkeypatch.setattr(client, "close", lambda: None)

        def run(*arguments: str) -> str:
            done = CliRunner().invoke(cli.cli, ["policy", *arguments])
            assert done.exit_code == 0, done.output
            return done.stdout

        listed = next(line for line in run("list").splitlines() if line.startswith("acme.freeze"))
        assert "forbid" in listed and "own" in listed and "acme.cedar" in listed
        assert json.loads(run("list", "--json"))["data"][0]["id"] == "access.ask"
        assert 'context.environment == "prod"' in run("show", "acme.freeze").replace(
            "(context.environment)", "context.environment"
        )
        assert json.loads(run("show", "acme.freeze", "--json"))["data"]["effect"] == "forbid"
        assert len(json.loads(run("versions", "--json"))["data"]) == 1
