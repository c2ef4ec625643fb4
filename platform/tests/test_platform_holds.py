"""Legal holds: they refuse erasures at every moment, and end by the word of two persons."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from platform_api import Api, api, empty, launcher

from mainspring.core.contracts import base, retention
from mainspring.platform.cli import holds as cli_holds
from mainspring.platform.cli import main as cli
from mainspring.platform.runs import launcher as run_launcher

__all__ = ["api", "empty", "launcher"]  # fixtures

ERASURES = "/api/v1/projects/flight-delay/erasures"
HOLDS = "/api/v1/projects/flight-delay/holds"
SUBJECT = {"entity": "tailnum", "key": "N102"}
HOLD = {"matter": "12/2026", "reason": "the court wants it kept", "subject": SUBJECT}
TIME = {
    "matter": "12/2026",
    "reason": "the court wants it kept",
    "kinds": ["reads"],
    "since": "2026-01-01T00:00:00Z",
}


def place(api: Api, role: str = "approver", expect: int = 201, **changes: Any) -> Any:
    return api.call(role, "POST", HOLDS, expect, {**HOLD, **changes})


def place_on_time(api: Api, role: str = "approver", expect: int = 201, **changes: Any) -> Any:
    return api.call(role, "POST", HOLDS, expect, {**TIME, **changes})


def ask(api: Api, expect: int = 202, key: str = "N102") -> Any:
    wanted = {"entity": "tailnum", "key": key, "ground": "objection", "reason": "a letter of May"}
    return api.call("developer", "POST", ERASURES, expect, wanted)


def lift(api: Api, hold: str, role: str = "approver", expect: int = 200) -> Any:
    return api.call(role, "POST", f"{HOLDS}/{hold}/lift", expect, {"reason": "the case is over"})


def decide(api: Api, hold: str, role: str = "admin", expect: int = 200, *, approve: bool = True) -> Any:
    asked = {"approve": approve, "reason": "seen"}
    return api.call(role, "POST", f"{HOLDS}/{hold}/decide", expect, asked)


def lifted(api: Api, hold: str) -> Any:
    lift(api, hold)
    return decide(api, hold)


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
    assert hold["hold_id"] in refused["message"] and "12/2026: the court wants it kept" in refused["message"]
    assert f"mainspring hold lift flight-delay {hold['hold_id']}" in refused["message"], "and how it ends"
    assert launcher.erasures == {}, "nothing was started"
    assert ask(api, key="N101")["state"] == "open"
    row = api.call("developer", "GET", ERASURES, 200)["items"][1]
    assert (row["state"], row["subject_hash"]) == ("refused", hold["subject_hash"])
    lift(api, hold["hold_id"])
    assert ask(api, 403)["code"] == "policy_denied", "one who asks to lift it lifts nothing"
    decide(api, hold["hold_id"])
    assert ask(api)["state"] == "open"
    log = json.dumps(api.audit())
    files = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    assert "N102" not in log and b"N102" not in files and hold["subject_hash"] in log


def test_nobody_lifts_one_alone(api: Api) -> None:
    """Not who placed it, nor an admin; not by asking again, nor by another change."""
    hold = place(api, "admin")["hold_id"]
    told = decide(api, hold, "admin", 409)
    assert "was not asked for" in told["message"] and "mainspring hold lift" in told["message"]
    for role in ("developer", "service"):
        place(api, role, 403)
        lift(api, hold, role, 403)
        decide(api, hold, role, 403)
    asked = lift(api, hold, "admin")
    assert (asked["state"], asked["lift_asked_by"], asked["lifted_at"]) == ("lift_asked", "admin@local", None)
    assert lift(api, hold, "admin") == asked, "the same again is no change"
    assert "hold.four-eyes" in str(decide(api, hold, "admin", 403))
    assert "decide on that" in lift(api, hold, "approver", 409)["message"]
    done = decide(api, hold, "approver")
    assert (done["state"], done["lifted_by"], done["lift_reason"]) == (
        "lifted",
        "approver@local",
        "the case is over",
    )
    assert decide(api, hold, "approver") == done, "the same again is no change"
    assert api.call("developer", "GET", f"{HOLDS}/{hold}", 200) == done
    again = place(api)["hold_id"]
    assert again != hold
    in_force = api.call("developer", "GET", HOLDS, 200, in_force=True)["items"]
    assert [row["hold_id"] for row in in_force] == [again]
    for path in ("lift", "decide"):
        api.call(
            "admin",
            "POST",
            f"{HOLDS}/hold_1/{path}",
            404,
            {"reason": "none", "approve": True} if path == "decide" else {"reason": "none"},
        )
    log = [(r["action"], r["actor"]) for r in api.audit() if hold in r["resource"] and r["outcome"] == "done"]
    assert log == [
        ("hold.place", "admin@local"),
        ("hold.lift", "admin@local"),
        ("hold.decide", "approver@local"),
    ]
    denied = [r["action"] for r in api.audit() if hold in r["resource"] and r["outcome"] == "denied"]
    assert denied == ["hold.lift", "hold.decide", "hold.lift", "hold.decide", "hold.decide"]


def test_what_was_refused_or_lapsed_is_asked_for_again(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    hold = place(api)["hold_id"]
    lift(api, hold, "admin")
    kept = decide(api, hold, "approver", approve=False)
    assert (kept["state"], kept["lift_asked_by"], kept["lifted_by"]) == ("in_force", "", "")
    assert decide(api, hold, "approver", approve=False) == kept, "the same again is no change"
    assert "was refused by `approver@local`" in decide(api, hold, "approver", 409)["message"]
    asked = lift(api, hold, "admin")
    late = datetime.fromisoformat(asked["lift_due_at"]) + timedelta(seconds=1)
    monkeypatch.setattr(base, "utc_now", lambda: late)
    shown = api.call("developer", "GET", f"{HOLDS}/{hold}", 200)
    assert (shown["state"], shown["lift_asked_by"]) == ("in_force", "")
    assert "has lapsed at" in decide(api, hold, "approver", 409)["message"]
    assert ask(api, 403)["code"] == "policy_denied", "it holds all the same"
    assert lift(api, hold, "approver")["lift_asked_by"] == "approver@local", "anybody may ask anew"
    assert decide(api, hold, "admin")["state"] == "lifted"


def test_a_decision_is_on_what_was_looked_at(api: Api) -> None:
    hold = place(api)["hold_id"]
    path = f"{HOLDS}/{hold}"

    def post(role: str, verb: str, body: dict[str, Any], tag: str) -> int:
        headers = {"Authorization": f"Bearer {api._tokens[role]}", "If-Match": tag}
        return api.client.post(f"{path}/{verb}", json=body, headers=headers).status_code

    seen = api.client.get(path, headers={"Authorization": f"Bearer {api._tokens['admin']}"}).headers["ETag"]
    lift(api, hold, "approver")
    yes = {"approve": True, "reason": "seen"}
    assert post("admin", "decide", yes, seen) == 412, "it was not asked for then"
    assert api.call("developer", "GET", path, 200)["state"] == "lift_asked"
    now = api.client.get(path, headers={"Authorization": f"Bearer {api._tokens['admin']}"}).headers["ETag"]
    assert post("admin", "decide", yes, now) == 200
    assert post("approver", "lift", {"reason": "late"}, now) == 412


def test_a_hold_on_a_time_refuses_every_erasure_of_the_project(
    api: Api,
    launcher: run_launcher.MemoryLauncher,
) -> None:
    waits, works = ask(api)["erasure_id"], ask(api, key="N101")["erasure_id"]
    api.call("approver", "POST", f"{ERASURES}/{works}/decision", 200, {"approve": True})
    hold = place_on_time(api)
    assert sorted(hold["stopped"]) == sorted([waits, works])
    assert place_on_time(api, "admin", reason="once more") == hold, "the same matter and time is that hold"
    assert (launcher.decisions[waits].by, hold["kinds"]) == ("erasure.legal-hold", ["reads"])
    assert hold["hold_id"] in api.call("service", "GET", f"{ERASURES}/{works}", 200)["message"]
    refused = ask(api, 403, key="N103")
    assert hold["hold_id"] in refused["message"] and "mainspring hold decide" in refused["message"]
    other = place_on_time(api, kinds=[], until="2026-02-01T00:00:00Z")
    assert other["hold_id"] != hold["hold_id"] and other["kinds"] == []
    lifted(api, hold["hold_id"])
    assert other["hold_id"] in ask(api, 403, key="N103")["message"]
    lifted(api, other["hold_id"])
    assert ask(api, key="N103")["state"] == "open"


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
        ({"subject": {"entity": "tail num", "key": "N102"}}, "entity"),
        ({"subject": {"entity": "tailnum", "key": ""}}, "key"),
        ({"reason": "it is n102"}, "reason has the subject's key in it"),
        ({"matter": "n102"}, "reason has the subject's key in it"),
        ({"reason": ""}, "reason"),
        ({"matter": " "}, "matter"),
        ({"until": "2027-01-01"}, "until"),
        ({"kinds": ["reads"]}, "no kinds and no time"),
        ({"subject": None, "kinds": ["audit"]}, "kinds"),
        (
            {"subject": None, "since": "2026-02-01T00:00:00Z", "until": "2026-01-01T00:00:00Z"},
            "until lies before",
        ),
        ({"subject": None, "since": "2026-02-01T00:00:00"}, "since"),
        ({"lifted_by": "me"}, "lifted_by"),
    ],
)
def test_what_is_no_hold(api: Api, changes: dict[str, Any], field: str) -> None:
    assert field in str(place(api, expect=400, **changes))
    assert api.call("developer", "GET", HOLDS, 200)["items"] == []
    api.call("developer", "GET", "/api/v1/projects/nobodys/holds", 404)


def test_the_command_line(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_holds.session, "client", api.control_client)

    def run(*told: str, stdin: str = "") -> Any:
        done = CliRunner().invoke(cli.cli, ["hold", *told, "--json"], input=stdin)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)["data"]

    said = ("--matter", "12", "--reason", "a case")
    hold = run("place", "flight-delay", *said, "--entity", "tailnum", stdin="N102\n")["hold_id"]
    other = run("place", "flight-delay", *said, "--kind", "reads", "--since", "2026-01-01T00:00:00Z")
    assert (other["kinds"], other["entity"]) == (["reads"], "")
    assert [row["hold_id"] for row in run("list", "flight-delay")] == [other["hold_id"], hold]
    assert run("lift", "flight-delay", hold, "--reason", "over")["state"] == "lift_asked"
    unsaid = CliRunner().invoke(cli.cli, ["hold", "decide", "flight-delay", hold, "--json"])
    assert unsaid.exit_code != 0 and "either `--approve` or `--refuse`" in unsaid.output
    assert run("decide", "flight-delay", hold, "--refuse")["state"] == "in_force"
    run("lift", "flight-delay", hold, "--reason", "over")
    assert run("decide", "flight-delay", hold, "--approve")["lifted_by"] == "admin@local"
    assert run("show", "flight-delay", hold)["state"] == "lifted"
    assert [row["hold_id"] for row in run("list", "flight-delay", "--in-force")] == [other["hold_id"]]
    assert tuple(retention.KeptKind) == cli_holds.KINDS
