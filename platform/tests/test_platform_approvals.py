"""One list of what waits for a person, and a way to decide that lets nothing through which the kind's own would refuse."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from litestar.testing import TestClient

from mainspring.core import identity, settings
from mainspring.core.client import control as control_client
from mainspring.core.contracts import base
from mainspring.core.contracts.approvals import ApprovalKind
from mainspring.core.contracts.dpia import DpiaAnswers
from mainspring.platform import app as control_app
from mainspring.platform.access_requests import service as access_service
from mainspring.platform.approvals import accesses, service
from mainspring.platform.cli import approvals as cli_approvals
from mainspring.platform.cli import main as cli
from mainspring.platform.runs import launcher

#: Once over SQLite, once over PostgreSQL.
pytestmark = pytest.mark.usefixtures("database_url")

ACTORS = {
    **{
        role: identity.Actor(role, (role,))
        for role in ("admin", "approver", "developer", "viewer", "service")
    },
    "both": identity.Actor("both", ("developer", "approver")),
    "stranger": identity.Actor("stranger", ()),
}
ANSWERS: dict[str, Any] = {
    name: "legitimate-interests"
    if name == "lawful_basis"
    else False
    if field.annotation is bool
    else "in so many words"
    for name, field in DpiaAnswers.model_fields.items()
    if field.is_required()
}
FINDING = {
    "column": "mail",
    "kind": "email",
    "classification": "confidential",
    "confidence": 0.9,
    "reasons": ["a name"],
    "sampled_rows": 9,
}
#: By whichever status.
MADE = 299


class House:
    def __init__(self, client: TestClient[Any], engine: launcher.MemoryLauncher) -> None:
        self.client, self.engine = client, engine

    def call(
        self, who: str, method: str, path: str, expect: int = 200, body: Any = None, **headers: str
    ) -> Any:
        answer = self.client.request(
            method, f"/api/v1{path}", json=body, headers={"Authorization": f"Bearer {who}", **headers}
        )
        assert answer.status_code == expect or (expect == MADE and answer.is_success), (
            method,
            path,
            answer.text,
        )
        return answer.json()

    def fill(self, project: str = "alpha", who: str = "both") -> None:
        """One of each kind, asked for by somebody who has every role to decide but that he asked."""
        place = f"/projects/{project}"
        self.call("developer", "POST", "/projects", MADE, {"name": project, "owner": "o"})
        run = {"project": project, "environment": "prod", "kind": "train", "endpoint": f"e-{project}"}
        self.call(who, "POST", "/runs", MADE, run)
        self.call(who, "POST", f"{place}/access-requests", MADE, {"role": "developer", "reason": "a look"})
        asked = {"entity": "tailnum", "key": "N1", "ground": "objection", "reason": "a letter"}
        self.call(who, "POST", f"{place}/erasures", MADE, asked)
        self.call(who, "POST", f"{place}/dpia", MADE, ANSWERS)
        found = {"entry": "view.x", "findings": [FINDING]}
        self.call(who, "POST", f"{place}/classifications", MADE, found)
        other = {"matter": "12", "reason": "a case", "subject": {"entity": "tailnum", "key": "N2"}}
        hold = self.call("both", "POST", f"{place}/holds", MADE, other)["hold_id"]
        self.call("both", "POST", f"{place}/holds/{hold}/lift", MADE, {"reason": "it is over"})

    def list(self, who: str = "approver", query: str = "") -> list[Any]:
        found, before = list[Any](), ""
        while True:
            page = self.call(who, "GET", f"/approvals?{query}&before={before}")
            found += page["items"]
            if not (before := page["next"]):
                return found

    def by_kind(self, who: str = "approver", query: str = "") -> dict[str, Any]:
        return {one["kind"]: one for one in self.list(who, query)}

    def decide(
        self, who: str, approval_id: str, expect: int = 200, *, approve: bool = True, **more: str
    ) -> Any:
        body = {"approve": approve, "reason": more.pop("reason", "looked at it")}
        return self.call(who, "POST", f"/approvals/{approval_id}/decision", expect, body, **more)

    def log(self, action: str) -> list[tuple[str, str]]:
        rows = self.call("admin", "GET", "/audit?limit=500")["items"]
        return [(row["actor"], row["outcome"]) for row in rows if row["action"] == action]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    s = settings.load({}, directory=tmp_path)
    engine = launcher.MemoryLauncher()
    app = control_app.create_app(s, issuer=identity.TokenIssuer(ACTORS), launcher=engine)
    with TestClient(app, raise_server_exceptions=False) as client:
        made = House(client, engine)
        made.fill()
        yield made


def test_everything_that_waits_is_in_one_list_with_who_may_decide(house: House) -> None:
    found = house.by_kind()
    assert set(found) == set(ApprovalKind) == set(service.KINDS) == set(cli_approvals.KINDS)
    assert all(
        one["may_decide"] and one["why_not"] == "" and one["project"] == "alpha" for one in found.values()
    )
    assert {one["requested_by"] for one in found.values()} == {"both"}
    assert (found["run"]["environment"], found["access"]["environment"]) == ("prod", "")
    assert found["access"]["due_at"] and found["run"]["due_at"] is None
    assert "e-alpha" in found["run"]["about"] and "a look" in found["access"]["about"]
    assert found["run"]["decide_by"].startswith("mainspring run approve run_")
    ids = [one["id"] for one in house.list()]
    assert [one["id"] for one in house.list(query="limit=1")] == ids, (
        "newest first, over pages of several kinds"
    )
    assert [one["kind"] for one in house.list(query="kind=dpia")] == ["dpia"]
    assert house.list(query="state=decided") == []
    for one in found.values():
        shown = house.call("approver", "GET", f"/approvals/{one['id']}")
        assert shown == one


def test_whoever_asked_is_told_that_it_is_not_his(house: House) -> None:
    found = house.by_kind("both")
    denied = {kind: one["denied_by"] for kind, one in found.items() if not one["may_decide"]}
    assert denied == {
        "run": ["approval.four-eyes"],
        "access": ["access.four-eyes"],
        "erasure": ["erasure.four-eyes"],
        "dpia": ["dpia.four-eyes"],
        "hold": ["hold.four-eyes"],
    }
    assert [one["kind"] for one in house.list("both", "mine=true")] == ["classification"]
    assert len(house.list("approver", "mine=true&limit=2")) == 6
    viewer = house.by_kind("viewer")
    assert not any(one["may_decide"] or one["denied_by"] for one in viewer.values())
    assert all("no policy permits" in one["why_not"] for one in viewer.values())
    assert house.list("viewer", "mine=true") == []


def test_what_the_original_refuses_is_refused_here_and_on_record_there(house: House) -> None:
    found = house.by_kind("both")
    for kind, action in (
        ("run", "run.decide"),
        ("access", "access.decide"),
        ("erasure", "erasure.decide"),
        ("dpia", "dpia.decide"),
        ("hold", "hold.decide"),
    ):
        told = house.decide("both", found[kind]["id"], 403)
        assert (
            told["details"]["rule_id"] == found[kind]["denied_by"][0]
            and told["detail"] == found[kind]["why_not"]
        )
        assert house.log(action) == [("both", "denied")]
    for one in found.values():
        assert house.decide("viewer", one["id"], 403)["code"] == "permission_denied"
    assert len(house.list()) == 6, "all of it waits on"


def test_each_is_decided_by_its_own_service_and_once(house: House) -> None:
    found = house.by_kind()
    for kind, outcome in (
        ("run", "approved"),
        ("access", "active"),
        ("erasure", "erasing"),
        ("dpia", "signed"),
        ("classification", "confirmed"),
        ("hold", "lifted"),
    ):
        made = house.decide("approver", found[kind]["id"])
        assert (made["state"], made["outcome"], made["decided_by"]) == ("decided", outcome, "approver"), made
        assert not made["may_decide"] and outcome in made["why_not"]
    assert house.list() == []
    decided = house.by_kind(query="state=decided")
    assert {kind: one["outcome"] for kind, one in decided.items()} == {
        "run": "approved",
        "access": "active",
        "erasure": "erasing",
        "dpia": "signed",
        "classification": "confirmed",
        "hold": "lifted",
    }
    # A replay by the same person is the original's answer; another one's is its conflict.
    assert house.decide("approver", found["access"]["id"])["outcome"] == "active"
    for kind in ("access", "erasure", "dpia", "hold"):
        assert house.decide("admin", found[kind]["id"], 409)["code"] == "conflict"
    assert house.log("access.decide") == [("approver", "done")]
    own = found["access"]["id"].removeprefix("access:")
    kept = house.call("viewer", "GET", f"/projects/alpha/access-requests/{own}")
    assert (kept["state"], kept["decided_by"]) == ("active", "approver") and kept["ends_at"]


def test_a_no_and_what_a_kind_needs_beside(house: House) -> None:
    found = house.by_kind()
    for kind in ("dpia", "classification"):
        told = house.decide("approver", found[kind]["id"], 400, approve=False, reason="")
        assert told["code"] == "invalid_request" and found[kind]["id"] in told["detail"]
    for kind, outcome in (
        ("run", "rejected"),
        ("access", "rejected"),
        ("dpia", "rejected"),
        ("erasure", "rejected"),
        ("hold", "refused"),
    ):
        assert house.decide("approver", found[kind]["id"], approve=False)["outcome"] == outcome
    assert house.decide("approver", found["classification"]["id"], approve=False)["outcome"] == "rejected"


def test_what_has_lapsed_is_not_decided(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    one = house.by_kind()["access"]
    later = base.utc_now() + timedelta(days=30)
    for module in (accesses, access_service):
        monkeypatch.setattr(module.base, "utc_now", lambda: later)
    assert "access" not in house.by_kind()
    assert house.by_kind(query="state=decided")["access"]["outcome"] == "lapsed"
    assert "is lapsed" in house.decide("approver", one["id"], 409)["detail"]
    hold = house.by_kind(query="state=decided")["hold"]
    assert hold["outcome"] == "lapsed" and "has lapsed" in house.decide("approver", hold["id"], 409)["detail"]


def test_who_has_looked_at_another_version_is_told(house: House) -> None:
    found = house.by_kind()
    for one in found.values():
        late = house.decide("approver", one["id"], 412, **{"If-Match": '"0"'})
        assert late["details"]["current"] == one["version"]
    assert len(house.list()) == 6
    for one in found.values():
        answer = house.client.get(
            f"/api/v1/approvals/{one['id']}", headers={"Authorization": "Bearer approver"}
        )
        tag = answer.headers["etag"]
        house.decide("approver", one["id"], **{"If-Match": tag})


def test_what_may_not_be_read_is_not_there(house: House) -> None:
    house.fill("beta", "developer")
    assert len(house.list()) == 12 and len(house.list(query="project=beta")) == 6
    found = house.list(query="project=alpha")
    member = {"roles": {"*": ["approver"]}}
    house.call("admin", "PUT", "/projects/beta/members/stranger", 200, member)
    mine = house.list("stranger")
    assert {one["project"] for one in mine} == {"beta"} and len(mine) == 6
    assert all(one["may_decide"] for one in mine)
    for one in found:
        for method, path, body in (
            ("GET", "", None),
            ("POST", "/decision", {"approve": True, "reason": "mine"}),
        ):
            told = house.call("stranger", method, f"/approvals/{one['id']}{path}", 404, body)
            nothing = house.call("stranger", method, f"/approvals/{one['id'][:-2]}aa{path}", 404, body)
            assert told["detail"].replace(one["id"], "?") == nothing["detail"].replace(
                f"{one['id'][:-2]}aa", "?"
            )
    house.call("stranger", "GET", "/approvals?project=alpha", 404)


def test_what_is_no_id_is_not_found(house: House) -> None:
    of_classification = ("%2F", "é", "WzEsMl0", "WyJcdTAwMDAiLCJhIiwiYiJd", "W10")
    for bad in (
        "run",
        "run:",
        "moon:1",
        "access:%20",
        *(f"classification:{one}" for one in of_classification),
    ):
        told = house.call("approver", "GET", f"/approvals/{bad}", 404)
        assert told["code"] == "not_found"
        house.call("approver", "POST", f"/approvals/{bad}/decision", 404, {"approve": True})


def test_bad_questions_are_refused(house: House) -> None:
    for query in (
        "limit=0",
        "limit=201",
        "state=maybe",
        "kind=moon",
        "before=x",
        'before=["a",1,"b"]',
        "before=[]",
    ):
        assert house.call("approver", "GET", f"/approvals?{query}", 400)["code"] == "invalid_request"
    one = house.list()[0]["id"]
    for body in (
        {},
        {"approve": "perhaps"},
        {"approve": True, "reason": "x" * 1001},
        {"approve": True, "more": 1},
    ):
        house.call("approver", "POST", f"/approvals/{one}/decision", 400, body)


def test_a_run_that_does_not_wait_is_none(house: House) -> None:
    one = house.by_kind()["run"]
    house.engine._stages[one["id"].removeprefix("run:")] = launcher.training.Stage.TRAIN
    assert "run" not in house.by_kind()
    house.call("approver", "GET", f"/approvals/{one['id']}", 404)
    house.decide("approver", one["id"], 404)


def test_the_command_line(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def client(actor: str) -> control_client.ControlClient:
        made = control_client.ControlClient(
            "http://api", actor.removesuffix("@local"), transport=house.client._transport
        )
        monkeypatch.setattr(made, "close", lambda: None)
        return made

    monkeypatch.setattr(cli_approvals.session, "client", client)

    def run(*words: str, code: int = 0) -> Any:
        done = CliRunner().invoke(cli.cli, ["approval", *words])
        assert done.exit_code == code, done.output
        return json.loads(done.stdout)["data"] if "--json" in words and code == 0 else done.output

    assert len(run("list", "--json")) == 6 and "a look" in run("list", "--kind", "access")
    (one,) = run("list", "--project", "alpha", "--kind", "access", "--mine", "--json")
    assert run("show", one["id"], "--json") == one
    denied = " ".join(run("decide", one["id"], "--approve", "--as", "both", code=3).split())
    assert "access.four-eyes" in denied
    assert run("decide", one["id"], "--approve", "--reason", "fine", "--json")["outcome"] == "active"
    assert run("decide", one["id"], code=2) and run("show", "run:none", code=1)
    assert "active" in run("list", "--decided")
