"""Columns that tell of persons: found, decided by a person, and until then out of the catalog; on both engines, and by CLI."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import httpx
import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from litestar.testing import TestClient

from mainspring.core import identity, settings
from mainspring.core.client import control as control_client
from mainspring.core.contracts import protection
from mainspring.core.synthetic import judging
from mainspring.platform import app as control_app
from mainspring.platform.cli import main as cli
from mainspring.platform.cli import protection as verbs
from mainspring.platform.cli import session
from mainspring.platform.runs import launcher

#: Once over SQLite, once over PostgreSQL.
pytestmark = pytest.mark.usefixtures("database_url")

ROLES = ("viewer", "developer", "approver", "admin", "service")
ACTORS = {
    **{name: identity.Actor(f"{name}@local", (name,)) for name in ROLES},
    "robot": identity.Actor("robot@local", ("service", "approver")),
}
PLACE = "/api/v1/projects/hospital/classifications"
MAIL = {
    "column": "mail_of",
    "kind": "email",
    "classification": "confidential",
    "confidence": 0.98,
    "sampled_rows": 7,
}
WEAK = {"column": "name", "kind": "person_name", "classification": "confidential", "confidence": 0.3}


def table(*columns: str, **fields: Any) -> dict[str, Any]:
    given = {"kind": "dataset", "name": "lake.intake", "owner": "care", "description": "Who came in"}
    return {
        **given,
        "columns": [{"name": c, "low": 1.0, "high": 2.0, "mean": 1.5} for c in columns],
        **fields,
    }


class Api:
    def __init__(self, client: TestClient[Any]) -> None:
        self.client = client

    def call(self, role: str, method: str, path: str, expect: int, body: Any = None, **params: Any) -> Any:
        headers = {"Authorization": f"Bearer {role}"} if role else {}
        answer = self.client.request(method, path, json=body, params=params, headers=headers)
        assert answer.status_code == expect, answer.text
        return answer.json()

    def put(self, *entries: dict[str, Any], expect: int = 200, role: str = "service") -> Any:
        return self.call(role, "PUT", "/v1/catalog/hospital", expect, {"entries": list(entries)})

    def find(
        self, *found: dict[str, Any], expect: int = 200, role: str = "service", entry: str = "lake.intake"
    ) -> Any:
        return self.call(role, "POST", PLACE, expect, {"entry": entry, "findings": list(found)})

    def decide(
        self, column: str, confirm: bool, expect: int = 200, role: str = "approver", **more: Any
    ) -> Any:
        body = {"entry": "lake.intake", "column": column, "confirm": confirm, **more}
        return self.call(role, "POST", PLACE + ":decide", expect, body)

    def listed(self, **params: Any) -> list[dict[str, Any]]:
        return self.call("viewer", "GET", PLACE, 200, **params)["items"]

    def entry(self) -> dict[str, Any]:
        return self.call("viewer", "GET", "/v1/catalog/hospital/lake.intake", 200)

    def log(self, action: str) -> list[tuple[str, str, dict[str, Any]]]:
        rows = self.call("viewer", "GET", "/api/v1/audit", 200)["items"]
        return [(r["actor"], r["outcome"], r["detail"]) for r in rows if r["action"] == action]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    s = settings.load({}, directory=tmp_path)
    app = control_app.create_app(s, issuer=identity.TokenIssuer(ACTORS), launcher=launcher.MemoryLauncher())
    with TestClient(app, raise_server_exceptions=False) as client:
        made = Api(client)
        made.call("developer", "POST", "/api/v1/projects", 201, {"name": "hospital", "owner": "o"})
        yield made


def test_a_found_column_keeps_its_dataset_back_until_a_person_has_decided(api: Api) -> None:
    assert api.find(MAIL) == {"project": "hospital", "entry": "lake.intake", "changed": 1, "waiting": 1}
    refused = api.put(table("mail_of", "weight"), expect=400)
    assert "column `mail_of` of dataset `lake.intake` looks like `email`" in refused["message"]
    assert "mainspring data confirm" in refused["message"]
    assert api.call("viewer", "GET", "/v1/catalog", 200)["items"] == []
    made = api.decide("mail_of", True, classification="restricted", reason="they are patients'")
    assert (made["state"], made["kind"], made["classification"]) == ("confirmed", "email", "restricted")
    assert (made["decided_by"], made["decision_reason"]) == ("approver@local", "they are patients'")
    assert api.put(table("mail_of", "weight"))["changed"] == 1
    mail, weight = api.entry()["columns"]
    assert (mail["is_pii"], mail["classification"], mail["low"], mail["mean"]) == (
        True,
        "restricted",
        None,
        None,
    )
    assert (weight["is_pii"], weight["low"]) == (False, 1.0)
    assert api.put(table("mail_of", "weight"))["changed"] == 0  # what was confirmed is in both


def test_a_rejected_one_is_published_as_it_is(api: Api) -> None:
    api.find(MAIL)
    assert "reason" in api.decide("mail_of", False, 400)["message"]
    api.decide("mail_of", False, reason="hosts of machines")
    api.put(table("mail_of"))
    assert api.entry()["columns"][0]["is_pii"] is False and api.entry()["columns"][0]["low"] == 1.0


def test_a_name_alone_keeps_the_catalog_back_and_is_kept_for_a_person(api: Api) -> None:
    refused = api.put(table("patient_email", "name"), expect=400)
    assert "column `patient_email`" in refused["message"] and "`name`" not in refused["message"]
    (found,) = api.listed()
    assert (found["column"], found["state"], found["found_by"]) == ("patient_email", "open", "service@local")
    assert api.put(table("patient_email"), expect=400)["message"]  # asked again: nothing new is on record
    assert [(a, o) for a, o, _ in api.log("classification.find")] == [("service@local", "done")]
    api.decide("patient_email", True)
    api.put(table("patient_email"))
    assert api.entry()["columns"][0]["classification"] == "confidential"


def test_what_the_definitions_call_personal_is_said_already(api: Api) -> None:
    column = {"name": "patient_email", "is_pii": True, "classification": "restricted"}
    api.find({**MAIL, "column": "patient_email"})
    api.put({**table(), "columns": [column]})
    api.decide("patient_email", True)  # confidential: the stricter of both counts
    assert api.entry()["columns"][0]["classification"] == "restricted"
    plan = table("patient_email", kind="plan", name="plan")
    api.put({**table(), "columns": [column]}, plan)  # outputs of a plan are no column of data


def test_a_weak_finding_keeps_nothing_back(api: Api) -> None:
    api.find(WEAK)
    api.put(table("name"))
    assert [f["state"] for f in api.listed(state="open")] == ["open"]


def test_confirming_marks_the_catalog_that_is_in_force(api: Api) -> None:
    api.put(table("name", "weight"))
    api.find(WEAK)
    api.decide("name", True)
    column = api.entry()["columns"][0]
    assert column["is_pii"] and column["classification"] == "confidential" and column["high"] is None
    assert [i["name"] for i in api.call("viewer", "GET", "/v1/catalog", 200, pii=True)["items"]] == [
        "lake.intake"
    ]


def test_findings_come_again_without_opening_what_was_decided(api: Api) -> None:
    api.find(MAIL, WEAK)
    assert api.find(MAIL, WEAK)["changed"] == 0
    assert api.find({**WEAK, "confidence": 0.2})["changed"] == 0  # an empty sample clears nothing
    assert api.find({**WEAK, "confidence": 0.7})["changed"] == 1
    assert api.find()["waiting"] == 2
    api.decide("mail_of", False, reason="hosts")
    api.decide("name", True)
    assert api.find(MAIL, {**WEAK, "kind": "address", "confidence": 1.0}) == {
        "project": "hospital", "entry": "lake.intake", "changed": 0, "waiting": 0,
    }  # fmt: skip
    assert api.find({**MAIL, "kind": "card_number"})["changed"] == 1  # another kind is another question
    assert api.listed(state="open")[0]["kind"] == "card_number"
    assert api.log("classification.find")[-1][2]["found"][0]["reopened"] is True


def test_what_waits_for_a_person_is_not_talked_away(api: Api) -> None:
    api.find(MAIL)
    for kind in ("location", "email", "gender"):
        harmless = {**MAIL, "kind": kind, "confidence": 0.1, "reasons": ["never mind"]}
        assert api.find(harmless, role="developer")["changed"] == 0
    assert "looks like `email`" in api.put(table("mail_of"), expect=400)["message"]
    api.find({**MAIL, "kind": "national_id", "confidence": 0.99})
    assert "looks like `national_id`" in api.put(table("mail_of"), expect=400)["message"]


def test_a_person_decides_without_a_finding_where_there_is_the_column(api: Api) -> None:
    api.put(table("weight"))
    assert "say its `kind`" in api.decide("weight", True, 400)["message"]
    made = api.decide("weight", True, kind="health")
    assert (made["kind"], made["classification"], made["reasons"]) == (
        "health",
        "restricted",
        ["a person said so"],
    )
    assert api.entry()["columns"][0]["is_pii"] is True
    wrong = api.decide("wieght", True, 404, kind="health")
    assert wrong["details"]["did_you_mean"] == ["weight"]
    assert len(api.listed()) == 1


def test_decisions_are_on_record_once_and_may_change(api: Api) -> None:
    api.find(MAIL)
    api.decide("mail_of", False, reason="hosts")
    api.decide("mail_of", False, reason="hosts")
    api.decide("mail_of", True, role="admin", reason="no, persons")
    told = [
        (who, d["was"], d["state"], d["words"])
        for who, o, d in api.log("classification.decide")
        if o == "done"
    ]
    assert told == [
        ("approver@local", "open", "rejected", "hosts"),
        ("admin@local", "rejected", "confirmed", "no, persons"),
    ]


@pytest.mark.parametrize("role", ["viewer", "developer", "service", "robot"])
def test_only_persons_who_may_decide_do(api: Api, role: str) -> None:
    api.find(MAIL)
    api.decide("mail_of", True, 403, role=role)
    assert api.listed()[0]["state"] == "open"
    assert [(a, o) for a, o, _ in api.log("classification.decide")] == [(f"{role}@local", "denied")]


def test_bad_findings_and_decisions_are_refused_and_nothing_is_kept(api: Api) -> None:
    api.find(MAIL, expect=403, role="viewer")
    api.find(MAIL, expect=401, role="")
    assert "twice" in api.find(MAIL, MAIL, expect=400)["message"]
    for bad in ({"confidence": 1.5}, {"kind": "soul"}, {"column": ""}, {"values": ["ann@example.org"]}):
        api.find({**MAIL, **bad}, expect=400)
    api.decide("mail_of", False, 400, reason="x", kind="email")
    api.decide("mail_of", True, 400, classification="public")
    api.call(
        "service", "POST", "/api/v1/projects/hopsital/classifications", 404, {"entry": "x", "findings": []}
    )
    api.call("viewer", "GET", "/api/v1/projects/hopsital/classifications", 404)
    api.call("viewer", "GET", PLACE, 400, after="nonsense")
    assert api.listed() == []


def test_pages_are_by_entry_and_column(api: Api) -> None:
    for entry in ("view.b", "view.a"):
        api.find(MAIL, WEAK, entry=entry)
    seen, after = [], ""
    while True:
        page = api.call("viewer", "GET", PLACE, 200, limit=3, after=after)
        seen += [(i["entry"], i["column"]) for i in page["items"]]
        if not (after := page["next"]):
            break
    assert seen == sorted(seen) and len(seen) == 4
    assert len(api.listed(entry="view.a")) == 2


class _Transport(httpx.BaseTransport):
    """The application's, which has nothing to close."""

    def __init__(self, app: httpx.BaseTransport) -> None:
        self.handle_request = app.handle_request  # type: ignore[method-assign]


class _Cli:
    def __init__(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        def client(actor: str) -> control_client.ControlClient:
            transport = _Transport(api.client._transport)
            return control_client.ControlClient("http://api", actor.partition("@")[0], transport=transport)

        monkeypatch.setattr(session, "client", client)

    def __call__(self, *words: str, expect: int = 0) -> str:
        done = CliRunner().invoke(cli.cli, ["data", *words])
        assert done.exit_code == expect, (done.output, done.exception)
        return done.output


def test_the_command_line_finds_sends_counts_and_no_value(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, file = _Cli(api, monkeypatch), tmp_path / "intake.parquet"
    pl.DataFrame({"contact": ["ann@example.org", "bob@example.org"], "weight": [70.0, 80.0]}).write_parquet(
        file
    )
    dry = run("classify", "hospital", "lake.intake", str(file), "--dry-run")
    assert "email" in dry and "example.org" not in dry and api.listed() == []
    told = run("classify", "hospital", "lake.intake", str(file))
    assert "1 wait for an approver" in told
    (found,) = api.listed()
    assert found["kind"] == "email" and "example.org" not in str(found)
    assert "open" in run("findings", "hospital")
    run("reject", "hospital", "lake.intake", "contact", expect=2)
    assert '"state": "rejected"' in run(
        "reject", "hospital", "lake.intake", "contact", "--reason", "of the ward", "--json"
    )
    assert "confirmed" in run("confirm", "hospital", "lake.intake", "contact", "--kind", "phone")
    assert "phone" in run("findings", "hospital", "--state", "confirmed")
    bad = tmp_path / "bad.parquet"
    bad.write_bytes(b"PAR1 no")
    assert "cannot be read" in run("classify", "hospital", "lake.intake", str(bad), expect=1)
    csv = tmp_path / "x.csv"
    csv.write_text("iban\nDE89370400440532013000\n")
    assert "bank_account" in run("classify", "hospital", "lake.x", str(csv), "--dry-run", "--json")


def test_a_synthetic_table_is_made_by_what_people_decided(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, file, out = _Cli(api, monkeypatch), tmp_path / "intake.parquet", tmp_path / "made.parquet"
    rng, n = np.random.default_rng(1), 600
    weight = rng.normal(70, 10, n)
    pl.DataFrame(
        {
            "mail": [f"p{i}@example.org" for i in range(n)],
            "phone": [1000 + i // 20 for i in range(n)],
            "order_no": [f"A{i % 40}" for i in range(n)],
            "weight": weight,
            "heavy": weight + rng.normal(0, 5, n) > 75,
        }
    ).write_parquet(file)
    run("classify", "hospital", "lake.intake", str(file))
    run("reject", "hospital", "lake.intake", "phone", "--reason", "the ward's", "--as", "approver@local")
    words = (
        "synthesise",
        str(file),
        str(out),
        "--rows",
        "800",
        "--target",
        "heavy",
        "--identifier",
        "order_no",
    )
    told = json.loads(run(*words, "--json"))["data"]
    assert {"mail", "phone", "order_no"} == set(told["identifiers"]) and told["problems"] == []
    told = json.loads(run(*words, "--project", "hospital", "--entry", "lake.intake", "--json"))["data"]
    assert {"mail", "order_no"} == set(told["identifiers"]), "a person said whose the phone is"
    made = pl.read_parquet(out)
    assert made.height == 800 and set(made["phone"]) <= set(range(1000, 1030))
    assert not made["mail"].str.contains("@").any() and told["auc_of_synthetic"] > 0.8
    assert "membership_auc" in run(*words)
    pl.read_parquet(file).write_csv(tmp_path / "intake.csv")
    words_csv = ("synthesise", str(tmp_path / "intake.csv"), str(tmp_path / "csv.parquet"), *words[3:])
    assert json.loads(run(*words_csv, "--json"))["data"]["auc_of_synthetic"] > 0.8
    assert pl.read_parquet(tmp_path / "csv.parquet").schema == made.schema
    assert "go together" in run(*words, "--entry", "lake.intake", expect=2)
    out.unlink()
    monkeypatch.setattr(judging, "MOST_MEMBERSHIP", 0.0)
    assert "synthetic.private" in run(*words, expect=3) and not out.exists()


def test_the_words_of_the_command_line_are_the_contracts() -> None:
    assert set(verbs.KINDS) == set(get_args(protection.PiiKind)) == set(protection.KINDS)
    field = protection.ClassificationDecision.model_fields["classification"].annotation
    assert set(verbs.CLASSES) == set(get_args(get_args(field)[0]))
