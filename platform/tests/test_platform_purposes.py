"""What data may be used for: a person decides it, and reads and exports for anything else are refused, on record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from click.testing import CliRunner
from litestar.testing import TestClient
from platform_api import Api

from mainspring.core import identity, settings
from mainspring.core.client import control as control_client
from mainspring.core.contracts import masking as mask_contracts
from mainspring.core.contracts.dpia import DpiaAnswers
from mainspring.core.protection import masking
from mainspring.platform import app as control_app
from mainspring.platform.cli import main as cli
from mainspring.platform.cli import session
from mainspring.platform.runs import launcher

PLACE = "/api/v1/projects/hospital"
PEOPLE = {"name": "lake.people", "columns": ["mail", "ward"]}

ANSWERS = {
    name: "consent" if name == "lawful_basis" else False if field.annotation is bool else "in so many words"
    for name, field in DpiaAnswers.model_fields.items()
    if field.is_required()
}


def entry(name: str, kind: str, *reads: str, **tags: str) -> dict[str, Any]:
    columns = [{"name": "mail", "classification": "confidential", "is_pii": True}, {"name": "ward"}]
    told = {"owner": "care", "description": "Who came in", "reads": reads, "tags": tags}
    return {"kind": kind, "name": name, "columns": [] if kind == "plan" else columns, **told}


CATALOG = [
    entry("lake.people", "dataset", purposes="care, billing"),
    entry("view.stay", "view", "lake.people"),
    entry("lake.wards", "dataset"),
    entry("plan", "plan", "view.stay"),
]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    s = settings.load({}, directory=tmp_path)
    issuer = identity.ensure_token_file(s.control.tokens_file)
    app = control_app.create_app(s, issuer=issuer, launcher=launcher.MemoryLauncher())
    with TestClient(app, raise_server_exceptions=False) as client:
        made = Api(client, issuer)
        made.call("developer", "POST", "/api/v1/projects", 201, {"name": "hospital", "owner": "o"})
        catalog(made, *CATALOG)
        yield made


def catalog(api: Api, *entries: dict[str, Any], expect: int = 200) -> Any:
    return api.call("service", "PUT", "/v1/catalog/hospital", expect, {"entries": list(entries)})


def show(api: Api, name: str, expect: int = 200) -> Any:
    return api.call("developer", "GET", f"{PLACE}/purposes/{name}", expect)


def decide(api: Api, name: str, *purposes: str, role: str = "approver", expect: int = 200, seen: str | None = None) -> Any:  # fmt: skip
    tag = f'"{show(api, name)["version"]}"' if seen is None else seen
    body = {"purposes": list(purposes), "reason": "as the contract says"}
    return api.call_with(
        {"If-Match": tag} if tag else {}, role, "PUT", f"{PLACE}/purposes/{name}", expect, body
    )


def read(api: Api, expect: int = 200, **asked: Any) -> Any:
    body = {"environment": "prod", "datasets": [PEOPLE], **asked}
    return api.call("service", "POST", f"{PLACE}/data-reads", expect, body)


def export(api: Api, purpose: str, expect: int = 200, **asked: Any) -> Any:
    body = {"environment": "prod", "exit": "table", "destination": "/srv/out/x", "datasets": [PEOPLE], "purpose": purpose}  # fmt: skip
    return api.call("approver", "POST", f"{PLACE}/data-exports", expect, {**body, **asked})


def test_what_definitions_say_holds_for_all_that_is_made_of_it(api: Api) -> None:
    items = api.call("developer", "GET", f"{PLACE}/purposes", 200)["items"]
    assert [(one["entry"], one["purposes"], one["bound_by"]) for one in items] == [
        ("lake.people", ["billing", "care"], ["lake.people"]),
        ("lake.wards", None, []),
        ("view.stay", ["billing", "care"], ["lake.people"]),
    ]
    page = api.call("developer", "GET", f"{PLACE}/purposes", 200, limit=2)
    assert page["next"] == "lake.wards"
    rest = api.call("developer", "GET", f"{PLACE}/purposes", 200, limit=2, after=page["next"])
    assert [one["entry"] for one in rest["items"]] == ["view.stay"] and rest["next"] == ""
    told = catalog(api, entry("lake.people", "dataset", purposes="Care & billing"), expect=400)
    assert "write words of lowercase letters" in told["detail"]


@pytest.mark.usefixtures("database_url")
def test_a_person_decides_by_the_version_that_was_looked_at_and_it_is_on_record(api: Api) -> None:
    before = show(api, "view.stay")
    for role in ("developer", "service"):
        decide(api, "view.stay", "care", role=role, expect=403)
    made = decide(api, "view.stay", "care", "study")
    assert (made["decided"], made["purposes"]) == (["care", "study"], ["care"])
    assert made["bound_by"] == ["lake.people", "view.stay"]
    assert made["version"] != before["version"]
    decide(api, "view.stay", "study", seen="", expect=428)
    decide(api, "view.stay", "study", seen=f'"{before["version"]}"', expect=412)
    assert decide(api, "view.stay", "study", "care", seen='"older"') == made  # the same again changes nothing
    decide(api, "view.stay", "billing", role="admin")
    rows = [row for row in api.audit() if row["action"] == "purpose.decide" and row["outcome"] == "done"]
    assert [(row["actor"], row["detail"]["was"], row["detail"]["purposes"]) for row in rows] == [
        ("approver@local", None, ["care", "study"]),
        ("admin@local", ["care", "study"], ["billing"]),
    ]
    assert rows[0]["detail"]["in_force"] == ["care"] and rows[0]["detail"]["words"] == "as the contract says"
    catalog(api, *CATALOG)
    assert show(api, "view.stay")["decided"] == [
        "billing"
    ]  # a catalog that is put anew forgets nobody's word


def test_what_is_no_purpose_is_refused(api: Api) -> None:
    for purposes in ([], [""], ["*"], ["Care"], ["a b"], ["x"] * 51):
        decide(api, "view.stay", *purposes, expect=400)
    assert show(api, "view.stay")["decided"] is None


def test_an_entry_that_is_not_there_is_not_found_with_close_names(api: Api) -> None:
    told = show(api, "view.stat", expect=404)
    assert "did you mean `view.stay`" in told["detail"]
    decide(api, "view.nothing", "care", seen="*", expect=404)
    api.call("developer", "GET", "/api/v1/projects/hopsital/purposes", 404)


def test_what_is_read_for_something_else_is_refused_by_a_rule_and_on_record(api: Api) -> None:
    assert read(api, purpose="care")["purpose"] == "care"
    told = read(api, 403, purpose="marketing")
    assert (told["code"], told["details"]["rule_id"]) == ("policy_denied", "purpose.bound")
    for word in ("`lake.people`", "`billing`, `care`", "`marketing` was said", "`mainspring purpose list`"):
        assert word in told["detail"]
    assert "none was said" in read(api, 403)["detail"]
    rows = [row for row in api.audit() if row["action"] == "data.use"]
    asked = [row["detail"]["authorisation"]["decisions"][0]["asked"]["context"] for row in rows]
    assert [(row["outcome"], one["purpose"], one["is_for_purpose"]) for row, one in zip(rows, asked, strict=True)] == [
        ("done", "care", True), ("denied", "marketing", False), ("denied", "", False),
    ]  # fmt: skip
    assert rows[0]["detail"]["purpose"] == "care"


def test_what_nobody_said_anything_of_is_for_whatever_policies_let_it_be(api: Api) -> None:
    wards = {"name": "lake.wards", "columns": ["ward"]}
    assert read(api, datasets=[wards])["purpose"] == ""
    assert read(api, datasets=[{**PEOPLE, "is_synthetic": True}])["form"] == "synthetic"
    read(api, 403, datasets=[wards, {"name": "view.stay", "columns": ["ward"]}])
    read(api, 403, datasets=[{"name": "copy.parquet", "columns": ["mail"], "is_uncatalogued": True}])
    read(api, 400, purpose="Care")


def test_what_leaves_for_something_else_is_refused(api: Api) -> None:
    export(api, "care")
    export(api, "billing: the yearly report")
    told = export(api, "marketing: a campaign", 403)
    assert told["details"]["rule_id"] == "purpose.bound" and "`lake.people`" in told["detail"]
    export(api, "care", 200, datasets=[])
    export(api, "sale", 403, datasets=[])  # anything of the project may be in it
    export(api, "sale", 403, datasets=[{**PEOPLE, "name": "copy.parquet"}])
    export(api, "sale", datasets=[{"name": "lake.wards", "columns": ["ward"]}])


def start(api: Api, expect: int = 201, role: str = "developer", **fields: Any) -> Any:
    return api.call(role, "POST", "/api/v1/runs", expect, {"project": "hospital", **fields})


def sign(api: Api, *purposes: str) -> None:
    """An assessment in force, signed for these."""
    digest = api.call("developer", "POST", f"{PLACE}/dpia", 201, {**ANSWERS, "purposes": purposes})["digest"]
    said = {"digest": digest, "sign": True, "reason": "read it all"}
    api.call("approver", "POST", f"{PLACE}/dpia:decide", 200, said)


def denied(told: Any) -> tuple[str, str]:
    return told["details"]["rule_id"], told["detail"]


def test_a_run_is_for_what_its_plans_may_be_used_for_and_so_is_what_it_reads(api: Api) -> None:
    rule, words = denied(start(api, 403))
    assert rule == "purpose.bound" and "`lake.people`" in words and "none was said" in words
    assert "`sale` was said" in denied(start(api, 403, purpose="sale"))[1]
    made = start(api, purpose="care", idempotency_key="one")
    assert made["purpose"] == "care" and api.call("developer", "GET", f"/api/v1/runs/{made['run_id']}", 200)["purpose"] == "care"  # fmt: skip
    assert start(api, purpose="care", idempotency_key="one")["run_id"] == made["run_id"]
    start(api, 400, purpose="Care")
    (_, _, done, _) = (row for row in api.audit() if row["action"] == "run.start")
    assert done["detail"]["purpose"] == "care"
    context = done["detail"]["authorisation"]["decisions"][0]["asked"]["context"]
    assert (context["purpose"], context["is_for_purpose"]) == ("care", True)
    # What reads for a run has the run's purpose, whatever it says.
    assert read(api, run_id=made["run_id"])["purpose"] == "care"
    assert read(api, run_id=made["run_id"], purpose="billing")["purpose"] == "care"
    decide(api, "lake.people", "billing")
    assert read(api, 403, run_id=made["run_id"], purpose="billing")["details"]["rule_id"] == "purpose.bound"


def test_deployments_studies_and_scorings_are_asked_and_ends_are_not(api: Api) -> None:
    bundle = "sha256:" + "0" * 64
    deploy = {"kind": "deploy", "endpoint": "triage", "bundle_digest": bundle}
    score = {"kind": "score", "bundle_digest": bundle, "score": {"input": "/srv/in", "output": "/srv/out"}}
    for asked in (deploy, score, {"kind": "tune"}):
        assert denied(start(api, 403, **asked))[0] == "purpose.bound"
    start(api, **deploy, purpose="care")
    start(api, kind="tune", purpose="care")
    release = {"kind": "release", "endpoint": "triage", "release": {"reason": "over"}}
    start(api, 409, role="admin", **release)  # past the policies: the deployment is in its way
    said = {**score["score"], "purpose": "billing: may"}  # type: ignore[dict-item]
    assert start(api, 201, role="admin", **{**score, "score": said})["purpose"] == ""
    told = start(api, 403, role="admin", **{**score, "score": {**said, "purpose": "sale"}, "purpose": "care"})
    assert denied(told)[0] == "purpose.bound" and "`sale` was said" in told["detail"]


def test_a_run_is_for_what_the_assessment_in_force_was_signed_for(api: Api) -> None:
    sign(api)
    start(api, 403)  # it names none: nothing follows from it
    sign(api, "care")
    made = start(api)
    assert read(api, run_id=made["run_id"])["purpose"] == "care"
    rule, words = denied(start(api, 403, purpose="billing"))
    assert rule == "purpose.assessed" and "signed for `care`; `billing` was said" in words
    sign(api, "care", "study")
    assert denied(start(api, 403))[0] in (
        "purpose.assessed",
        "purpose.bound",
    )  # which of them it is for, nobody said
    start(api, purpose="care")
    assert denied(start(api, 403, purpose="study"))[0] == "purpose.bound"
    catalog(api)
    start(api, purpose="study")
    assert denied(start(api, 403, purpose="sale"))[0] == "purpose.assessed"


def test_serving_shows_fields_of_a_view_for_its_purposes_alone(api: Api) -> None:
    catalog(api, *CATALOG, entry("view.bed", "view", "lake.wards"))
    found = api.call("developer", "GET", f"{PLACE}/masking", 200, purpose=["care", "sale"])
    assert {f["view"]: f["purposes"] for f in found["fields"]} == {"stay": ["billing", "care"], "bed": None}
    section = mask_contracts.MaskingSection.model_validate(found)
    rules = masking.Rules(mask_contracts.MaskingDocument(version=1, sections=[section]))

    def form(view: str, purpose: str) -> str:
        return rules.forms(view, ["mail"], frozenset({"developer"}), purpose)["mail"][0]

    assert [form("stay", purpose) for purpose in ("care", "sale", "")] == ["partial", "full", "full"]
    assert [form("bed", purpose) for purpose in ("care", "sale", "")] == ["partial"] * 3


def test_the_command_line_lists_sets_and_asks(
    api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Transport(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            return api.client._transport.handle_request(request)

    def client(actor: str) -> control_client.ControlClient:
        token = api._tokens[actor.partition("@")[0]]
        return control_client.ControlClient("http://api", token, transport=Transport())

    monkeypatch.setattr(session, "client", client)

    def run(*words: str, expect: int = 0) -> str:
        done = CliRunner().invoke(cli.cli, list(words))
        assert done.exit_code == expect, (done.output, done.exception)
        return done.output

    assert "billing" in run("purpose", "list", "hospital")
    assert "care" in run("purpose", "set", "hospital", "lake.wards", "care", "--reason", "contract 12")
    assert '"decided": ["care"]' in run("purpose", "show", "hospital", "lake.wards", "--json")
    said = ("purpose", "set", "hospital", "lake.wards", "sale", "--reason", "contract 12")
    run(*said, "--as", "developer@local", expect=3)
    run(*said, "--version", "older", expect=1)
    file = tmp_path / "people.parquet"
    pl.DataFrame({"mail": ["a@b.org"], "ward": ["3"]}).write_parquet(file)
    check = ("data", "check", "hospital", str(file), "--environment", "prod", "--entry", "lake.people")
    assert "care" in run(*check, "--purpose", "care")
    assert "purpose.bound" in run(*check, expect=3) + run(*check, "--json", expect=3)
