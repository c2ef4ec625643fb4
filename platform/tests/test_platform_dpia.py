"""Impact assessments: handed in, signed by somebody else, and held against what goes to prod; on both engines, and by CLI."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import platform_api
import pytest
from click.testing import CliRunner
from litestar.testing import TestClient

from mainspring.core import identity, settings
from mainspring.core.client import control as control_client
from mainspring.core.contracts.dpia import DpiaAnswers
from mainspring.core.protection import dpia as risks
from mainspring.platform import app as control_app
from mainspring.platform.cli import main as cli
from mainspring.platform.cli import session
from mainspring.platform.protection import dpia_store
from mainspring.platform.runs import launcher

#: Once over SQLite, once over PostgreSQL.
pytestmark = pytest.mark.usefixtures("database_url")

ROLES = ("viewer", "developer", "approver", "admin", "service")
ACTORS = {
    **{name: identity.Actor(f"{name}@local", (name,)) for name in ROLES},
    "both": identity.Actor("both@local", ("developer", "approver", "admin")),
}
PLACE = "/api/v1/projects/hospital/dpia"
LOW: dict[str, Any] = {
    name: "legitimate-interests"
    if name == "lawful_basis"
    else False
    if field.annotation is bool
    else "in so many words"
    for name, field in DpiaAnswers.model_fields.items()
    if field.is_required()
}
HIGH = {**LOW, "special_categories": True, "automated_decisions": True}
SSN = {"name": "ssn", "is_pii": True, "classification": "restricted"}


class World:
    def __init__(self, client: TestClient[Any]) -> None:
        self.client = client

    def call(self, role: str, method: str, path: str, expect: int, body: Any = None, **params: Any) -> Any:
        headers = {"Authorization": f"Bearer {role}"} if role else {}
        answer = self.client.request(method, path, json=body, params=params, headers=headers)
        assert answer.status_code == expect, answer.text
        return answer.json()

    def submit(self, answers: dict[str, Any], expect: int = 201, role: str = "developer") -> Any:
        return self.call(role, "POST", PLACE, expect, answers)

    def decide(self, digest: str, expect: int = 200, role: str = "approver", *, sign: bool = True) -> Any:
        body = {"digest": digest, "sign": sign, "reason": "read it all"}
        return self.call(role, "POST", PLACE + ":decide", expect, body)

    def states(self) -> list[str]:
        return [i["state"] for i in self.call("viewer", "GET", PLACE, 200)["items"]]

    def catalog(self, *columns: dict[str, Any]) -> None:
        entry = {
            "kind": "dataset",
            "name": "lake.intake",
            "owner": "care",
            "description": "Who came in",
            "columns": list(columns),
        }
        self.call("service", "PUT", "/v1/catalog/hospital", 200, {"entries": [entry]})

    def start(self, expect: int, role: str = "developer", **fields: Any) -> Any:
        body = {"project": "hospital", "environment": "prod", "endpoint": "triage", **fields}
        return self.call(role, "POST", "/api/v1/runs", expect, body)

    def log(self, action: str) -> list[tuple[str, str]]:
        rows = self.call("viewer", "GET", "/api/v1/audit", 200)["items"]
        return [(r["actor"], r["outcome"]) for r in rows if r["action"] == action]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    s = settings.load({}, directory=tmp_path)
    app = control_app.create_app(s, issuer=identity.TokenIssuer(ACTORS), launcher=launcher.MemoryLauncher())
    with TestClient(app, raise_server_exceptions=False) as client:
        made = World(client)
        made.call("developer", "POST", "/api/v1/projects", 201, {"name": "hospital", "owner": "o"})
        yield made


def test_restricted_data_of_persons_go_to_prod_after_somebody_else_signed(world: World) -> None:
    world.catalog(SSN)
    denied = world.start(403)
    assert denied["details"]["rule_id"] == "dpia.required" and "lake.intake.ssn" in denied["message"]
    assert world.log("run.start") == [("developer@local", "denied")]
    made = world.submit({**LOW, "special_categories": True})
    assert (made["risk"], made["state"], made["is_in_force"]) == ("medium", "open", False)
    world.start(403)  # handed in is not signed
    signed = world.decide(made["digest"])
    assert signed["is_in_force"] and signed["decided_by"] == "approver@local" and signed["valid_until"]
    world.start(201)
    assert world.log("dpia.decide") == [("approver@local", "done")]


@pytest.mark.parametrize(
    "fields",
    [
        {"environment": "staging"},
        {"endpoint": ""},
        {"kind": "deploy", "bundle": "sha256:" + "a" * 64, "environment": "dev"},
    ],
)
def test_what_does_not_go_to_prod_needs_none(world: World, fields: dict[str, Any]) -> None:
    world.catalog(SSN)
    answer = world.client.post(
        "/api/v1/runs",
        json={"project": "hospital", "environment": "prod", "endpoint": "triage", **fields},
        headers={"Authorization": "Bearer developer"},
    )
    assert "dpia.required" not in answer.text


def test_other_data_need_none(world: World) -> None:
    world.catalog(
        {**SSN, "classification": "confidential"}, {"name": "salary", "classification": "restricted"}
    )
    world.start(201)


def test_whoever_handed_it_in_does_not_sign_and_of_high_risk_an_admin_does(world: World) -> None:
    made = world.submit(HIGH, role="both")
    assert made["risk"] == "high"
    assert world.decide(made["digest"], 403, "both")["details"]["rule_id"] == "dpia.four-eyes"
    assert world.decide(made["digest"], 403, "approver")["details"]["rule_id"] == "dpia.high-risk"
    for role in ("viewer", "developer", "service"):
        world.decide(made["digest"], 403, role)
    assert world.states() == ["open"]
    assert world.decide(made["digest"], role="admin")["state"] == "signed"


def test_what_was_read_is_signed_and_nothing_else(world: World) -> None:
    first = world.submit(LOW)
    assert world.submit(LOW)["dpia_id"] == first["dpia_id"]  # the same again
    second = world.submit({**LOW, "large_scale": True})
    assert world.states() == ["open", "superseded"]
    assert "is not open" in world.decide(first["digest"], 409)["message"]
    world.decide(second["digest"])
    assert world.decide(second["digest"])["state"] == "signed"  # the same again
    assert world.log("dpia.decide") == [("approver@local", "done")]
    world.decide(second["digest"], 409, sign=False)


def test_a_signed_one_counts_until_another_is_signed_or_it_ends(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.catalog(SSN)
    world.decide(world.submit(LOW)["digest"])
    newer = world.submit(HIGH)
    world.start(201)
    assert world.decide(newer["digest"], sign=False)["state"] == "rejected"
    world.start(201, endpoint="triage-2")
    monkeypatch.setattr(dpia_store, "VALID_FOR", -dpia_store.VALID_FOR)
    world.decide(world.submit({**LOW, "new_technology": True})["digest"])
    assert world.states() == ["signed", "rejected", "superseded"]
    world.start(403, endpoint="triage-3")  # it has ended
    assert not world.call("viewer", "GET", PLACE, 200)["items"][0]["is_in_force"]


def test_bad_answers_are_refused_and_nothing_is_kept(world: World) -> None:
    for name in LOW:
        world.submit({k: v for k, v in LOW.items() if k != name}, 400)
    for bad in (
        {"purpose": "short"},
        {"lawful_basis": "because"},
        {"risk": "low"},
        {"large_scale": "perhaps"},
    ):
        world.submit({**LOW, **bad}, 400)
    for role, expect in (("", 401), ("viewer", 403), ("approver", 403), ("service", 403)):
        world.submit(LOW, expect, role)
    world.decide("sha256:" + "0" * 64, 409)
    world.call("developer", "POST", "/api/v1/projects/hopsital/dpia", 404, LOW)
    assert world.states() == []


def test_the_command_line_asks_hands_in_and_signs(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        session,
        "client",
        lambda a: control_client.ControlClient(
            "http://api", a.partition("@")[0], transport=platform_api.transport(world.client)
        ),
    )

    def run(*words: str, expect: int = 0) -> str:
        done = CliRunner().invoke(cli.cli, ["dpia", *words])
        assert done.exit_code == expect, (done.output, done.exception)
        return done.output

    file = tmp_path / "answers.toml"
    file.write_text(run("template"))
    assert "is no TOML" in run("submit", "hospital", str(file), expect=1)
    text = (
        risks.template()
        .replace("= # true or false", "= false")
        .replace("= # in words", '= "in so many words"')
        .replace('= # ["care", "billing"], or []', "= []")
    )
    file.write_text(text.replace('lawful_basis = "in so many words"', 'lawful_basis = "contract"'))
    assert "risk: low" in run("submit", "hospital", str(file))
    digest = world.call("viewer", "GET", PLACE, 200)["items"][0]["digest"]
    assert digest in run("show", "hospital")
    assert "state: rejected" in run("reject", "hospital", digest, "--reason", "not yet")
    run("submit", "hospital", str(file))
    assert "state: signed" in run("sign", "hospital", digest, "--reason", "read it all")
