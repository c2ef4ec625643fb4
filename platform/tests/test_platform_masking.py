"""What policies say of masking, for serving to follow; and sealed values opened, each time on record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import platform_api
import polars as pl
import pytest
from click.testing import CliRunner
from platform_hospital import PLACE, World, column, started, view

from mainspring.core.client import control as control_client
from mainspring.core.protection import keysets, sealing
from mainspring.platform.cli import main as cli
from mainspring.platform.cli import session

FIELD = sealing.Field("lake.intake", "patient", "joinable")
OWN = """
@id("acme.care")
@advice("care sees it")
permit (principal, action == Action::"data.see", resource)
when { principal.roles.contains("viewer") && context.purpose == "care" && context.form == "clear" };

@id("acme.never")
@advice("developers see nothing")
forbid (principal, action == Action::"data.see", resource)
when { principal.roles.contains("developer") };
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    yield from started(tmp_path)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[World]:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "acme.cedar").write_text(OWN)
    (tmp_path / "mainspring.toml").write_text('[control]\npolicies_dir = "policies"\n')
    yield from started(tmp_path)


COLUMNS = (
    column("mail", "confidential", is_pii=True),
    column("ssn", "restricted", is_pii=True),
    column("grade", "internal", is_pii=True),
    column("bonus", "confidential"),
    column("ward", "public"),
    column("pid", "restricted", is_pii=True, is_key=True),
)


def test_fields_are_those_of_views_that_are_not_for_everybody(world: World) -> None:
    world.catalog(view(*COLUMNS), view(*COLUMNS, name="lake.intake", kind="dataset"))
    found = world.call("viewer", "GET", PLACE + "/masking", 200)
    assert {(f["view"], f["field"], f["classification"]) for f in found["fields"]} == {
        ("intake", "mail", "confidential"),
        ("intake", "ssn", "restricted"),
        ("intake", "grade", "confidential"),  # of a person: confidential at least
        ("intake", "bonus", "confidential"),
    }
    finding = {"column": "mail", "kind": "email", "classification": "confidential", "confidence": 0.9}
    world.call(
        "service", "POST", PLACE + "/classifications", 200, {"entry": "view.intake", "findings": [finding]}
    )
    kinds = {f["field"]: f["kind"] for f in world.call("viewer", "GET", PLACE + "/masking", 200)["fields"]}
    assert kinds["mail"] == "email" and kinds["ssn"] == ""


def test_each_role_sees_what_our_policies_say_and_no_more(world: World) -> None:
    world.catalog(view(*COLUMNS))
    rules = world.rules(purpose="prediction")

    def seen(role: str, purpose: str = "") -> dict[str, str]:
        forms = rules.forms("intake", ["mail", "ssn", "ward"], frozenset({role}), purpose)
        return {name: forms.get(name, ("clear", ""))[0] for name in ("mail", "ssn", "ward")}

    for role in ("developer", "approver", "admin"):
        for purpose in ("", "prediction"):
            assert seen(role, purpose) == {"mail": "partial", "ssn": "hash", "ward": "clear"}
    for role in ("viewer", "key", "service", "nobody"):
        assert seen(role) == {"mail": "full", "ssn": "full", "ward": "clear"}
    assert seen("service", "prediction") == {"mail": "clear", "ssn": "clear", "ward": "clear"}
    assert seen("key", "prediction")["mail"] == seen("service", "care")["mail"] == "full"


def test_an_organisations_policies_say_more_and_less(own: World) -> None:
    own.catalog(view(*COLUMNS))
    rules = own.rules(purpose=["care"])
    assert rules.forms("intake", ["mail"], frozenset({"viewer"}), "care") == {}
    assert rules.forms("intake", ["mail"], frozenset({"viewer"}), "")["mail"][0] == "full"
    assert rules.forms("intake", ["mail"], frozenset({"developer"}), "care")["mail"][0] == "full"
    own.call("viewer", "GET", PLACE + "/masking", 400, purpose="*")
    own.call("viewer", "GET", "/api/v1/projects/hopsital/masking", 404)


def test_sealed_values_are_opened_for_who_may_and_each_time_on_record(world: World) -> None:
    sealed = (
        keysets.keyset(world.settings.protection, "hospital").cipher().seal(pl.Series(["ann", "bob"]), FIELD)
    )
    world.catalog(view(column("patient", "confidential", is_pii=True), name="lake.intake", kind="dataset"))
    assert world.open("approver", 200, values=sealed.to_list())["values"] == ["ann", "bob"]
    assert world.open("admin", 200, values=[sealed[1]])["values"] == ["bob"]
    for role in ("viewer", "developer", "service"):
        world.open(role, 403, values=sealed.to_list())
    told = world.log()
    assert [(a, o) for a, o, _ in told] == [
        ("approver@local", "requested"), ("approver@local", "done"), ("admin@local", "requested"), ("admin@local", "done"),
        ("viewer@local", "denied"), ("developer@local", "denied"), ("service@local", "denied"),
    ]  # fmt: skip
    first = told[0][2]
    assert (first["purpose"], first["reason"], first["values"]) == ("care", "a complaint", 2)
    assert first["authorisation"]["decisions"][0]["asked"]["context"]["classification"] == "confidential"
    assert "ann" not in str(told).replace("plan", "") and sealed[0] not in str(told)


def test_a_key_of_a_request_keeps_no_copy_of_what_was_opened(world: World) -> None:
    sealed = (
        keysets.keyset(world.settings.protection, "hospital")
        .cipher()
        .seal(pl.Series(["zebra-person"]), FIELD)
    )
    body = {
        "dataset": "lake.intake",
        "column": "patient",
        "values": sealed.to_list(),
        "purpose": "care",
        "reason": "r",
    }
    headers = {"Authorization": "Bearer admin", "Idempotency-Key": "one"}
    for _ in range(2):
        answer = world.client.post(PLACE + "/sealed:open", json=body, headers=headers)
        assert answer.json()["values"] == ["zebra-person"] and answer.headers["cache-control"] == "no-store"
        assert "idempotent-replayed" not in answer.headers
    assert [o for _, o, _ in world.log()] == ["requested", "done"] * 2  # each time
    folder = world.settings.stack.state_dir
    stored = b"".join(p.read_bytes() for p in folder.rglob("control.db*"))
    assert b"sealed.open" in stored and b"zebra-person" not in stored


def test_a_value_of_a_domain_is_not_opened_under_a_milder_name(world: World) -> None:
    strict = sealing.Field("lake.secret", "ssn", "joinable", "person")
    sealed = (
        keysets.keyset(world.settings.protection, "hospital")
        .cipher()
        .seal(pl.Series(["078-05-1120"]), strict)
    )
    world.catalog(view(column("patient", "confidential", is_pii=True), name="lake.intake", kind="dataset"))
    world.open("approver", 403, values=sealed.to_list(), domain="person")
    assert world.open("admin", 200, values=sealed.to_list(), domain="person")["values"] == ["078-05-1120"]
    world.open("approver", 422, values=sealed.to_list())  # without its domain it does not open at all


def test_what_nobody_classified_is_restricted(world: World) -> None:
    sealed = keysets.keyset(world.settings.protection, "hospital").cipher().seal(pl.Series([7]), FIELD)
    world.open("approver", 403, values=sealed.to_list())
    assert world.open("admin", 200, values=sealed.to_list())["values"] == ["7"]


def test_what_does_not_open_opens_nothing_and_is_on_record(world: World) -> None:
    cipher = keysets.keyset(world.settings.protection, "hospital").cipher()
    good = cipher.seal(pl.Series(["ann"]), FIELD)[0]
    elsewhere = cipher.seal(pl.Series(["bob"]), sealing.Field("lake.other", "patient", "joinable"))[0]
    for bad in ("ann", elsewhere, good[:-4] + "AAAA", good.replace(".j.", ".r.")):
        assert "values" not in world.open("admin", 422, values=[good, bad])
    assert [o for _, o, _ in world.log()] == ["requested", "failed"] * 4
    for bad in (
        {"values": []},
        {"values": ["x"] * 1001},
        {"purpose": ""},
        {"purpose": "*"},
        {"reason": ""},
        {"mode": "x"},
    ):
        world.open("admin", 400, **bad)
    world.open("", 401)
    world.call("admin", "POST", "/api/v1/projects/hopsital/sealed:open", 404, {"dataset": "x", "column": "y", "values": ["z"], "purpose": "care", "reason": "r"})  # fmt: skip


def test_values_of_every_type_are_read_as_a_person_reads_them(world: World) -> None:
    cipher = keysets.keyset(world.settings.protection, "hospital").cipher()
    for values, text in (([1.5], "1.5"), ([True], "true"), ([b"\x01"], "01"), ([-7], "-7")):
        assert world.open("admin", 200, values=cipher.seal(pl.Series(values), FIELD).to_list())["values"] == [
            text
        ]


def test_the_command_line_shows_rules_and_opens_values(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        session,
        "client",
        lambda a: control_client.ControlClient(
            "http://api", a.partition("@")[0], transport=platform_api.transport(world.client)
        ),
    )

    def run(*words: str, expect: int = 0) -> str:
        done = CliRunner().invoke(cli.cli, ["data", *words])
        assert done.exit_code == expect, (done.output, done.exception)
        return done.output

    world.catalog(view(*COLUMNS))
    told = run("mask", "hospital", "--purpose", "prediction")
    assert "intake" in told and "partial" in told and "ward" not in told
    assert "is no purpose" in run("mask", "hospital", "--purpose", "*", expect=1)
    sealed = keysets.keyset(world.settings.protection, "hospital").cipher().seal(pl.Series(["ann"]), FIELD)
    asked = (
        "open",
        "hospital",
        "lake.intake",
        "patient",
        sealed[0],
        "--purpose",
        "care",
        "--reason",
        "a complaint",
    )
    assert "ann" in run(*asked, "--as", "admin@local")
    assert "ann" not in run(*asked, "--as", "developer@local", expect=3)
    assert [o for _, o, _ in world.log()] == ["requested", "done", "denied"]
