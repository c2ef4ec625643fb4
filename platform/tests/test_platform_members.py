"""Members: made, changed as they were seen, and what their roles let them do in their own project and nowhere else."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from litestar.testing import TestClient

from mainspring.core import errors, identity, settings
from mainspring.core.client import control as control_client
from mainspring.core.contracts import members
from mainspring.platform import app as control_app
from mainspring.platform.cli import main as cli
from mainspring.platform.cli import members as cli_members
from mainspring.platform.runs import launcher

#: Once over SQLite, once over PostgreSQL.
pytestmark = pytest.mark.usefixtures("database_url")

ACTORS = {
    "root": identity.Actor("root", ("admin",)),
    "ana": identity.Actor("ana", ()),
    "eva": identity.Actor("eva", ("some-other-system",)),
    "see": identity.Actor("see", ("viewer",)),
}


class Api:
    def __init__(self, client: TestClient[Any]) -> None:
        self.client = client

    def call(self, actor: str, method: str, path: str, expect: int, body: Any = None, **headers: str) -> Any:
        sent = {"Authorization": f"Bearer {actor}", **{k.replace("_", "-"): v for k, v in headers.items()}}
        answer = self.client.request(method, f"/api/v1{path}", json=body, headers=sent)
        assert answer.status_code == expect, answer.text
        return answer.json() if answer.content else None

    def member(self, actor: str, expect: int = 200, by: str = "root", tag: str = "", **roles: Any) -> Any:
        body = {"roles": {place.replace("every", "*"): given for place, given in roles.items()}}
        headers = {"If_Match": tag} if tag else {}
        return self.call(by, "PUT", f"/projects/alpha/members/{actor}", expect, body, **headers)

    def start(self, actor: str, expect: int, **fields: Any) -> Any:
        return self.call(actor, "POST", "/runs", expect, {"project": "alpha", **fields})

    def record(self, action: str) -> list[tuple[str, str, list[str]]]:
        """Actor, outcome and the ids that decided, of every row of an action."""
        rows = self.call("root", "GET", "/audit?limit=500", 200)["items"]
        return [
            (
                r["actor"],
                r["outcome"],
                [p for d in r["detail"]["authorisation"]["decisions"] for p in d["policies"]],
            )
            for r in rows
            if r["action"] == action and "authorisation" in r["detail"]
        ]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    s = settings.load({}, directory=tmp_path)
    app = control_app.create_app(s, issuer=identity.TokenIssuer(ACTORS), launcher=launcher.MemoryLauncher())
    with TestClient(app) as client:
        one = Api(client)
        for name in ("alpha", "beta"):
            one.call("root", "POST", "/projects", 201, {"name": name, "owner": "team"})
        yield one


def test_a_member_is_made_changed_as_seen_and_removed_on_record(api: Api) -> None:
    made = api.member("ana", every=["viewer"], dev=["developer", "approver"])
    assert made["roles"] == {"*": ["viewer"], "dev": ["approver", "developer"]}
    path = "/projects/alpha/members/ana"
    tag = api.client.get(f"/v1{path}", headers={"Authorization": "Bearer root"}).headers["etag"]
    assert tag.startswith(f'"{made["version"]}.')
    assert (
        api.member("ana", every=["viewer"], dev=["approver", "developer"]) == made
    )  # the same changes nothing
    blind = api.member("ana", 428, every=["admin"])
    assert blind["details"] == {"resource": "member", "name": "ana", "current": made["version"]}
    assert api.member("ana", 412, tag='"x"', every=["admin"])["details"]["current"] == made["version"]
    changed = api.member("ana", tag=tag, every=["admin"])
    assert api.call("root", "DELETE", path, 428)["code"] == "precondition_required"
    late = api.call("root", "DELETE", path, 412, If_Match=tag)
    assert (late["details"]["by"], late["details"]["changed"]) == ("root", ["from", "to"])
    assert "(last `member.set` by `root` at 20" in late["detail"]
    api.call("root", "DELETE", path, 204, If_Match=f'"{changed["version"]}"')
    assert "member list alpha" in api.call("root", "GET", path, 404)["detail"]
    api.call("root", "DELETE", path, 404, If_Match="*")
    assert api.member("ana", 404, tag=tag, every=["viewer"])["details"]["resource"] == "member"
    assert api.record("member.set") == [("root", "done", ["member.change"])] * 2
    assert api.record("member.remove") == [("root", "done", ["member.change"])]


@pytest.mark.parametrize(
    ("roles", "field"),
    [
        ({}, "roles"),
        ({"*": []}, "roles"),
        ({"*": ["service"]}, "roles"),
        ({"*": ["viewer", "viewer"]}, "roles"),
        ({"moon": ["viewer"]}, "roles"),
    ],
)
def test_roles_that_there_are_not(api: Api, roles: Any, field: str) -> None:
    refused = api.call("root", "PUT", "/projects/alpha/members/ana", 400, {"roles": roles})
    assert field in refused["detail"] or "twice" in refused["detail"]
    api.call("root", "GET", "/projects/alpha/members/ana", 404)


def test_names_that_no_actor_has(api: Api) -> None:
    assert api.member("x" * 201, 400, every=["viewer"])["details"] == {"field": "actor"}
    assert api.member("%20", 400, every=["viewer"])["details"] == {"field": "actor"}


def test_members_are_paged_by_name(api: Api) -> None:
    for name in ("b", "a", "c"):
        api.member(name, every=["viewer"])
    first = api.call("see", "GET", "/projects/alpha/members?limit=2", 200)
    rest = api.call("see", "GET", f"/projects/alpha/members?limit=2&after={first['next']}", 200)
    assert [m["actor"] for m in first["items"] + rest["items"]] == ["a", "b", "c"] and rest["next"] == ""
    api.call("see", "GET", "/projects/gamma/members", 404)
    api.member("a", 403, by="see", every=["admin"])


def test_a_role_holds_in_its_environment(api: Api) -> None:
    api.member("ana", dev=["developer"], staging=["viewer"])
    assert api.start("ana", 201, environment="dev")["environment"] == "dev"
    for environment in ("staging", "prod"):
        denied = api.start("ana", 403, environment=environment)
        assert denied["code"] == "permission_denied" and "in the run's environment" in denied["detail"]
    api.call("ana", "PUT", "/catalog/alpha", 403, {"entries": []})  # the project as a whole
    theirs = api.start("root", 201, environment="prod")["run_id"]
    assert api.call("ana", "GET", f"/runs/{theirs}", 200)["environment"] == "prod"  # read as a whole
    api.call("ana", "POST", f"/runs/{theirs}/cancel", 403)


def test_a_role_holds_in_its_project(api: Api) -> None:
    api.member("ana", every=["admin"])
    assert [p["name"] for p in api.call("ana", "GET", "/projects", 200)["items"]] == ["alpha"]
    assert api.call("ana", "GET", "/projects/alpha", 200)["owner"] == "team"
    hidden = api.call("ana", "GET", "/projects/beta", 404)
    assert hidden == api.call("eva", "GET", "/projects/beta", 404)
    assert "alpha" not in str(hidden) and hidden["details"]["did_you_mean"] == []
    assert (
        api.call("ana", "POST", "/projects", 403, {"name": "mine", "owner": "me"})["code"]
        == "permission_denied"
    )
    api.member("eva", by="ana", every=["viewer"])
    assert [p["name"] for p in api.call("eva", "GET", "/projects", 200)["items"]] == ["alpha"]


def test_a_denial_about_what_one_may_not_know_is_on_record_and_answered_as_if_it_were_not_there(
    api: Api,
) -> None:
    there = api.start("ana", 404)
    gone = api.call("ana", "POST", "/runs", 404, {"project": "gamma"})
    assert str(there).replace("alpha", "gamma") == str(gone)
    assert api.record("run.start") == [("ana", "denied", [])] * 2
    run_id = api.start("root", 201)["run_id"]
    assert api.call("ana", "POST", f"/runs/{run_id}/cancel", 404)["code"] == "not_found"
    assert api.record("run.cancel") == [("ana", "denied", [])]


def test_four_eyes_are_on_record_by_their_policy(api: Api) -> None:
    api.member("ana", prod=["developer", "approver"])
    run_id = api.start("ana", 201, environment="prod")["run_id"]
    own = api.call("ana", "POST", f"/runs/{run_id}/decision", 403, {"approve": True})
    assert own["details"]["rule_id"] == "approval.four-eyes"
    api.call("root", "POST", f"/runs/{run_id}/decision", 200, {"approve": True})
    assert api.record("run.decide") == [
        ("ana", "denied", ["approval.four-eyes"]),
        ("root", "intended", ["approval.role"]),
    ]
    row = next(r for r in api.call("root", "GET", "/audit", 200)["items"] if r["outcome"] == "denied")
    asked = row["detail"]["authorisation"]["decisions"][0]["asked"]
    assert asked["resource"]["attributes"]["requested_by"] == "ana"
    assert asked["principal"] == {"name": "ana", "roles": ["approver", "developer"], "platform_roles": []}


def test_a_member_reads_what_is_on_record_of_its_project_only(api: Api) -> None:
    api.member("ana", every=["viewer"])
    api.start("root", 201)
    api.call("root", "POST", "/runs", 201, {"project": "beta"})
    first = api.call("ana", "GET", "/audit?limit=2", 200)
    rest = api.call("ana", "GET", f"/audit?limit=50&after={first['next']}", 200)
    seen = first["items"] + rest["items"]
    assert [r["action"] for r in seen] == ["project.create", "member.set", "run.start", "run.start"]
    assert "beta" not in str(seen)
    assert api.call("ana", "GET", "/audit:verify", 403)["code"] == "permission_denied"
    assert api.call("ana", "GET", "/audit:export", 403)["code"] == "permission_denied"
    assert api.call("see", "GET", "/audit:verify", 200)["ok"]


def test_the_client_and_the_command_line(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = control_client.ControlClient("http://api", "root", transport=api.client._transport)
    made = client.put_member("alpha", "ana", members.MemberPut(roles={"*": ["viewer"]}))
    assert client.member("alpha", "ana") == made and len(client.members("alpha").items) == 1
    with pytest.raises(errors.PreconditionFailed):
        client.remove_member("alpha", "ana", version="x")
    monkeypatch.setattr(cli_members.session, "client", lambda _actor: client)
    monkeypatch.setattr(client, "close", lambda: None)

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(cli.cli, ["member", *arguments])

    assert run("set", "alpha", "ana", "viewer", "dev:developer").exit_code == 0
    assert run("set", "alpha", "eva", "prod:approver").exit_code == 0
    listed = run("list", "alpha").output
    assert "{'*': ['viewer'], 'dev': ['developer']}" in listed and "eva" in listed
    wrong = run("set", "alpha", "ana", "moon:developer")
    assert wrong.exit_code == 2 and "`moon:developer` is no role" in wrong.output
    assert run("remove", "alpha", "ana").exit_code == 0
    assert run("remove", "alpha", "ana").exit_code == 1
    assert "ana" not in run("list", "alpha").output


def test_the_command_line_knows_the_contracts_words() -> None:
    assert typing.get_args(members.MemberRole) == cli_members.ROLES
    assert typing.get_args(members.Place) == cli_members.PLACES
    assert set(cli_members.ROLES) == set(identity.ROLES) - {"service"}
