"""Erasures: asked for by one person, decided by another, on record without a name, and proven offline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner
from platform_api import Api, api, empty, launcher  # noqa: F401 - fixtures

from mainspring.core import settings
from mainspring.core.client import control as control_client
from mainspring.core.contracts import base
from mainspring.core.contracts.erasure import CertifiedPlace, ErasureCertificate, LegalGround
from mainspring.core.erasure import certificate
from mainspring.core.erasure.erased import ErasedList
from mainspring.core.erasure.subjects import Subject, SubjectHasher
from mainspring.core.models import signing
from mainspring.platform.cli import erasure as cli_erasure
from mainspring.platform.cli import main as cli
from mainspring.platform.runs import launcher as run_launcher


def sealed(tmp_path: Path) -> bytes:
    """A certificate of `N102`, signed by a key that `tmp_path/trusted` has."""
    key = signing.ensure_key(tmp_path / "signing.key")
    key.publish(tmp_path / "trusted")
    hasher, at = SubjectHasher.load(tmp_path / "subjects.key"), base.utc_now()
    told = ErasureCertificate(
        erasure_id="era_1",
        project="flights",
        entity="tailnum",
        subject_hash=hasher.of(Subject("flights", "tailnum", "N102")),
        ground=LegalGround.OBJECTION,
        requested_by="ana",
        requested_at=at,
        approved_by="ben",
        approved_at=at,
        erased_at=at,
        places=[CertifiedPlace(place="online store", rows_before=3, items_before=1, rows_after=0)],
    )
    return certificate.seal(told, key)


def test_a_certificate_is_verified_without_a_server(tmp_path: Path) -> None:
    file = tmp_path / "certificate.json"
    file.write_bytes(sealed(tmp_path))

    def verify(*more: str, code: int = 0) -> Any:
        told = ["erasure", "verify", str(file), "--trusted", str(tmp_path / "trusted"), *more, "--json"]
        done = CliRunner().invoke(cli.cli, told)
        assert done.exit_code == code, done.output
        return json.loads(done.stdout)["data"] if code == 0 else done.output

    told = verify()
    assert (told["rows_erased"], told["entity"]) == (3, "tailnum") and "N102" not in json.dumps(told)
    mine = ("--subjects-key", str(tmp_path / "subjects.key"))
    assert verify("--key", "N102", *mine)["is_of_key"] is True
    assert "of another `tailnum`" in verify("--key", "N101", *mine, code=1)
    assert "no key for subjects" in verify("--key", "N102", "--subjects-key", str(file), code=78)
    file.write_bytes(file.read_bytes().replace(b'"payload"', b'"payl0ad"'))
    assert "no DSSE envelope" in verify(code=1)


def test_files_that_are_put_back_are_erased_again_on_their_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table = tmp_path / ".mainspring" / "projects" / "flights" / "full" / "rows.parquet"
    table.parent.mkdir(parents=True)
    pl.DataFrame({"tailnum": ["N101", "N102"]}).write_parquet(table)
    known = ErasedList.of(settings.load({}, directory=tmp_path).protection)
    known.add(Subject("flights", "tailnum", "N102"), views=[], erasure_id="era_1")
    done = CliRunner().invoke(cli.cli, ["erasure", "replay", "flights", "--json"])
    assert done.exit_code == 0, done.output
    assert {row["place"]: row["rows"] for row in json.loads(done.stdout)["data"]}["offline tables"] == 1
    assert pl.read_parquet(table)["tailnum"].to_list() == ["N101"]


PLACE = "/api/v1/projects/flight-delay/erasures"
WANTED = {
    "entity": "tailnum",
    "key": "N102",
    "also": ["aircraft"],
    "ground": "objection",
    "reason": "a letter of May",
}


def ask(api: Api, role: str = "developer", expect: int = 202, **changes: Any) -> Any:  # noqa: F811
    return api.call(role, "POST", PLACE, expect, {**WANTED, **changes})


def test_it_is_asked_for_by_one_and_decided_by_another_and_no_name_is_on_record(
    api: Api,  # noqa: F811
    launcher: run_launcher.MemoryLauncher,  # noqa: F811
    tmp_path: Path,
) -> None:
    asked = ask(api)
    name = asked["erasure_id"]
    assert (asked["state"], asked["requested_by"]) == ("open", "developer@local")
    request = launcher.erasures[name]
    assert (request.key, request.also, request.subject_hash) == ("N102", ["aircraft"], asked["subject_hash"])
    assert ask(api) == asked, "the same again is the same"
    assert ask(api, "admin", 409)["code"] == "conflict"
    for role, code in (("developer", "policy_denied"), ("service", "permission_denied")):
        denied = api.call(role, "POST", f"{PLACE}/{name}/decision", 403, {"approve": True})
        assert denied["code"] == code, role
    decided = api.call(
        "approver", "POST", f"{PLACE}/{name}/decision", 200, {"approve": True, "reason": "seen"}
    )
    assert (decided["state"], decided["decided_by"]) == ("erasing", "approver@local")
    assert launcher.decisions[name].approve and launcher.decisions[name].by == "approver@local"
    again = api.call("approver", "POST", f"{PLACE}/{name}/decision", 200, {"approve": True, "reason": "seen"})
    assert again == decided
    api.call("admin", "POST", f"{PLACE}/{name}/decision", 409, {"approve": False})
    told = {"state": "done", "message": "8 rows", "rows_erased": 8, "certificate": "{}"}
    api.call("developer", "POST", f"{PLACE}/{name}/report", 403, told)
    ended = api.call("service", "POST", f"{PLACE}/{name}/report", 200, told)
    assert api.call("service", "POST", f"{PLACE}/{name}/report", 200, told) == ended
    api.call("service", "POST", f"{PLACE}/{name}/report", 409, {"state": "failed", "message": "no"})
    shown = api.call("developer", "GET", f"{PLACE}/{name}", 200)
    assert (shown["state"], shown["rows_erased"], shown["certificate"]) == ("done", 8, "{}")
    (listed,) = api.call("developer", "GET", PLACE, 200)["items"]
    assert listed == {**shown, "certificate": ""}
    log = api.audit()
    assert [(r["action"], r["outcome"]) for r in log if r["resource"] == f"erasure/flight-delay/{name}"] == [
        ("erasure.request", "done"),
        *[("erasure.decide", "denied")] * 2,
        ("erasure.decide", "done"),
        ("erasure.report", "denied"),
        ("erasure.report", "done"),
    ]
    assert "N102" not in json.dumps(log) and asked["subject_hash"] in json.dumps(log)
    files = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    assert b"N102" not in files, "nor anywhere in what the control API keeps"
    assert ask(api)["erasure_id"] != name, "what is over may be asked for again"


def test_the_worker_is_told_where_the_project_scored(
    api: Api,  # noqa: F811
    launcher: run_launcher.MemoryLauncher,  # noqa: F811
) -> None:
    for number in (1, 2):
        run = {
            "project": "flight-delay",
            "kind": "score",
            "bundle_digest": "sha256:" + "a" * 64,
            "score": {"input": "/data/in", "output": f"s3://scores/{number}"},
            "idempotency_key": f"score-{number}",
        }
        api.call("developer", "POST", "/api/v1/runs", 201, run)
    request = launcher.erasures[ask(api)["erasure_id"]]
    assert (request.outputs, request.inputs) == (["s3://scores/1", "s3://scores/2"], ["/data/in"])


def test_nobody_decides_on_his_own(api: Api) -> None:  # noqa: F811
    name = ask(api, "admin")["erasure_id"]
    denied = api.call("admin", "POST", f"{PLACE}/{name}/decision", 403, {"approve": True})
    assert "erasure.four-eyes" in str(denied)
    assert (
        api.call("approver", "POST", f"{PLACE}/{name}/decision", 200, {"approve": False})["state"]
        == "rejected"
    )


def test_a_legal_hold_refuses_it_and_says_why(
    api: Api,  # noqa: F811
    launcher: run_launcher.MemoryLauncher,  # noqa: F811
) -> None:
    holds = "/api/v1/projects/flight-delay/holds"
    waits = ask(api, key="N101")["erasure_id"]
    hold = api.call("approver", "POST", holds, 201, {"matter": "case 12", "reason": "of the court"})[
        "hold_id"
    ]
    refused = ask(api, expect=403)
    assert refused["code"] == "policy_denied" and "case 12: of the court" in refused["message"]
    assert [e.key for e in launcher.erasures.values()] == ["N101"], "nothing was started"
    row = api.call("developer", "GET", PLACE, 200)["items"][0]
    assert row["state"] == "refused"
    assert "case 12: of the court" in row["message"]
    assert ("erasure.request", "denied") in [(r["action"], r["outcome"]) for r in api.audit()]
    decision = f"{PLACE}/{waits}/decision"
    assert "case 12" in api.call("approver", "POST", decision, 403, {"approve": True})["message"]
    assert not launcher.decisions[waits].approve, "what waited has ended"
    api.call("service", "POST", f"{PLACE}/{waits}/report", 200, {"state": "rejected", "message": "rejected"})
    shown = api.call("developer", "GET", f"{PLACE}/{waits}", 200)
    assert shown["state"] == "refused" and "case 12" in shown["message"]
    api.call("approver", "POST", f"{holds}/{hold}/lift", 200, {"reason": "it is over"})
    ask(api, expect=403)
    api.call("admin", "POST", f"{holds}/{hold}/decide", 200, {"approve": True})
    assert ask(api)["state"] == "open"


def test_an_engine_that_is_away_is_told_and_the_same_again_goes_on(
    api: Api,  # noqa: F811
    launcher: run_launcher.MemoryLauncher,  # noqa: F811
) -> None:
    launcher.is_down = True
    assert ask(api, expect=503)["code"] == "dependency_down"
    launcher.is_down = False
    name = ask(api)["erasure_id"]
    assert list(launcher.erasures) == [name]
    launcher.is_down = True
    decision = f"{PLACE}/{name}/decision"
    api.call("approver", "POST", decision, 503, {"approve": True})
    assert name not in launcher.decisions
    launcher.is_down = False
    api.call("approver", "POST", decision, 200, {"approve": True})
    assert launcher.decisions[name].approve


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"entity": "tail num"}, "entity"),
        ({"key": ""}, "key"),
        ({"key": "x" * 513}, "key"),
        ({"ground": "because"}, "ground"),
        ({"reason": "it is n102"}, "reason has the subject's key in it"),
        ({"also": ["a b"]}, "also"),
        ({"more": 1}, "more"),
    ],
)
def test_what_is_no_request(api: Api, changes: dict[str, Any], field: str) -> None:  # noqa: F811
    assert field in str(ask(api, expect=400, **changes))
    assert api.call("developer", "GET", f"{PLACE}/era_1", 404)["code"] == "not_found"
    assert "certificate" in str(api.call("service", "POST", f"{PLACE}/era_1/report", 400, {"state": "done"}))


def test_the_command_line(
    api: Api,  # noqa: F811
    launcher: run_launcher.MemoryLauncher,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def client(actor: str) -> control_client.ControlClient:
        role = actor.partition("@")[0]
        made = control_client.ControlClient("http://api", api._tokens[role], transport=api.client._transport)
        monkeypatch.setattr(made, "close", lambda: None)
        return made

    monkeypatch.setattr(cli_erasure.session, "client", client)

    def run(*told: str, code: int = 0, stdin: str = "") -> Any:
        done = CliRunner().invoke(cli.cli, ["erasure", *told, "--json"], input=stdin)
        assert done.exit_code == code, done.output
        return json.loads(done.stdout)["data"] if code == 0 else done.output

    assert tuple(LegalGround) == cli_erasure._GROUNDS
    told = ("--ground", "objection", "--reason", "a letter", "--also", "aircraft")
    name = run("request", "flight-delay", "tailnum", *told, stdin="N102\n")["erasure_id"]
    assert launcher.erasures[name].key == "N102"
    assert run("show", "flight-delay", name)["state"] == "open"
    out = ("--out", str(tmp_path / "out.json"))
    assert "has no certificate" in run("certificate", "flight-delay", name, *out, code=1)
    assert run("approve", "flight-delay", name)["state"] == "erasing"
    sent = {"state": "done", "certificate": sealed(tmp_path).decode(), "rows_erased": 3}
    api.call("service", "POST", f"{PLACE}/{name}/report", 200, sent)
    assert run("certificate", "flight-delay", name, *out)["rows_erased"] == 3
    assert run("verify", out[1], "--trusted", str(tmp_path / "trusted"))["erasure_id"] == "era_1"
    other = run("request", "flight-delay", "tailnum", *told, stdin="N101")["erasure_id"]
    assert run("reject", "flight-delay", other, "--reason", "a customer still")["state"] == "rejected"
    assert [row["erasure_id"] for row in run("list", "flight-delay")] == [other, name]
