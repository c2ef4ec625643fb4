"""Legal holds on one subject: they refuse its erasure at every moment, and end by a second person's word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from platform_api import Api, api, empty, launcher

from mainspring.core.client import control as control_client
from mainspring.platform.cli import erasure as cli_erasure
from mainspring.platform.cli import main as cli
from mainspring.platform.runs import launcher as run_launcher

__all__ = ["api", "empty", "launcher"]  # fixtures

ERASURES = "/api/v1/projects/flight-delay/erasures"
HOLDS = "/api/v1/projects/flight-delay/erasure-holds"
HOLD = {"entity": "tailnum", "key": "N102", "reason": "case 12 of the court"}


def place(api: Api, role: str = "approver", expect: int = 201, **changes: Any) -> Any:
    return api.call(role, "POST", HOLDS, expect, {**HOLD, **changes})


def ask(api: Api, expect: int = 202, key: str = "N102") -> Any:
    wanted = {"entity": "tailnum", "key": key, "ground": "objection", "reason": "a letter of May"}
    return api.call("developer", "POST", ERASURES, expect, wanted)


def lift(api: Api, hold: str, role: str = "admin", expect: int = 200) -> Any:
    return api.call(role, "POST", f"{HOLDS}/{hold}/lift", expect, {"reason": "the case is over"})


def test_a_held_subject_is_not_erased_and_others_are(
    api: Api,
    launcher: run_launcher.MemoryLauncher,
    tmp_path: Path,
) -> None:
    hold = place(api)
    assert (hold["placed_by"], hold["lifted_at"], hold["stopped"]) == ("approver@local", None, [])
    assert place(api, reason="another one") == hold, "a subject has one hold in force"
    refused = ask(api, 403)
    assert refused["code"] == "policy_denied"
    assert hold["hold_id"] in refused["message"] and "case 12 of the court" in refused["message"]
    assert launcher.erasures == {}, "nothing was started"
    assert ask(api, key="N101")["state"] == "open"
    row = api.call("developer", "GET", ERASURES, 200)["items"][1]
    assert (row["state"], row["subject_hash"]) == ("refused", hold["subject_hash"])
    lift(api, hold["hold_id"])
    assert ask(api)["state"] == "open"
    log = json.dumps(api.audit())
    files = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    assert "N102" not in log and b"N102" not in files and hold["subject_hash"] in log


def test_who_placed_it_does_not_lift_it(api: Api) -> None:
    hold = place(api, "admin")["hold_id"]
    denied = lift(api, hold, "admin", 403)
    assert "erasure.hold.four-eyes" in str(denied)
    for role in ("developer", "service"):
        lift(api, hold, role, 403)
        place(api, role, 403)
    lifted = lift(api, hold, "approver")
    assert (lifted["lifted_by"], lifted["lift_reason"]) == ("approver@local", "the case is over")
    assert lift(api, hold, "approver") == lifted, "the same again is no change"
    (listed,) = api.call("developer", "GET", HOLDS, 200)["items"]
    assert listed == lifted
    again = place(api)["hold_id"]
    assert again != hold and lift(api, hold, "approver")["hold_id"] == hold
    lift(api, "hold_1", "admin", 404)
    log = [(r["action"], r["outcome"]) for r in api.audit() if hold in r["resource"]]
    assert log == [("erasure.hold", "done"), *[("erasure.lift", "denied")] * 3, ("erasure.lift", "done")]


def test_somebody_else_who_lifts_what_is_lifted_is_told(api: Api) -> None:
    hold = place(api, "approver")["hold_id"]
    lift(api, hold, "admin")
    member = "/api/v1/projects/flight-delay/members/developer@local"
    api.call("admin", "PUT", member, 200, {"roles": {"*": ["approver"]}})
    told = lift(api, hold, "developer", 409)
    assert "was lifted by `admin@local`" in told["message"] and "place another one" in told["message"]
    other = place(api, "admin")["hold_id"]
    page = api.call("developer", "GET", HOLDS, 200, limit=1)
    assert [row["hold_id"] for row in page["items"]] == [other] and page["next"] == other
    rest = api.call("developer", "GET", HOLDS, 200, limit=1, before=other)
    assert [row["hold_id"] for row in rest["items"]] == [hold] and rest["next"] == ""


def test_one_that_waits_for_its_decision_ends(
    api: Api,
    launcher: run_launcher.MemoryLauncher,
) -> None:
    name = ask(api)["erasure_id"]
    hold = place(api, "admin")
    assert hold["stopped"] == [name]
    told = launcher.decisions[name]
    assert (told.approve, told.by) == (False, "erasure.subject-hold") and hold["hold_id"] in told.reason
    denied = api.call("approver", "POST", f"{ERASURES}/{name}/decision", 403, {"approve": True})
    assert denied["code"] == "policy_denied" and hold["hold_id"] in denied["message"]
    api.call("approver", "POST", f"{ERASURES}/{name}/decision", 409, {"approve": False})
    api.call(
        "service", "POST", f"{ERASURES}/{name}/report", 200, {"state": "rejected", "message": "rejected"}
    )
    shown = api.call("developer", "GET", f"{ERASURES}/{name}", 200)
    assert shown["state"] == "refused" and hold["hold_id"] in shown["message"]


def test_one_that_is_being_done_is_refused_in_the_same_step(
    api: Api,
    launcher: run_launcher.MemoryLauncher,
) -> None:
    name = ask(api)["erasure_id"]
    api.call("approver", "POST", f"{ERASURES}/{name}/decision", 200, {"approve": True})
    launcher.is_down = True
    assert place(api, "admin", 503)["code"] == "dependency_down"
    shown = api.call("service", "GET", f"{ERASURES}/{name}", 200)
    assert shown["state"] == "refused", "its worker reads this before the next place"
    launcher.is_down = False
    assert place(api, "admin")["stopped"] == [name]
    failed = {"state": "failed", "message": "denied"}
    assert api.call("service", "POST", f"{ERASURES}/{name}/report", 200, failed)["state"] == "refused"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"entity": "tail num"}, "entity"),
        ({"key": ""}, "key"),
        ({"reason": "it is n102"}, "reason has the subject's key in it"),
        ({"reason": ""}, "reason"),
        ({"until": "2027-01-01"}, "until"),
    ],
)
def test_what_is_no_hold(api: Api, changes: dict[str, Any], field: str) -> None:
    assert field in str(place(api, expect=400, **changes))
    assert api.call("developer", "GET", HOLDS, 200)["items"] == []
    api.call("developer", "GET", "/api/v1/projects/nobodys/erasure-holds", 404)


def test_the_command_line(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def client(actor: str) -> control_client.ControlClient:
        role = actor.partition("@")[0]
        made = control_client.ControlClient("http://api", api._tokens[role], transport=api.client._transport)
        monkeypatch.setattr(made, "close", lambda: None)
        return made

    monkeypatch.setattr(cli_erasure.session, "client", client)

    def run(*told: str, stdin: str = "") -> Any:
        done = CliRunner().invoke(cli.cli, ["erasure", *told, "--json"], input=stdin)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)["data"]

    hold = run("hold", "flight-delay", "tailnum", "--reason", "case 12", stdin="N102\n")["hold_id"]
    assert [row["hold_id"] for row in run("holds", "flight-delay")] == [hold]
    assert run("lift", "flight-delay", hold, "--reason", "over")["lifted_by"] == "admin@local"
