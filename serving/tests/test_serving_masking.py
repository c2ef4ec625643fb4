"""What is shown to whom: personas over every way that reads of features are answered, and no raw value for who may not see it."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import hypothesis
import numpy as np
import pyarrow as pa
import pytest
import serving_world as world
from hypothesis import strategies as st

from mainspring.core import errors, ports
from mainspring.core.contracts import masking as contracts
from mainspring.core.monitoring import tokens
from mainspring.core.protection import masking, showing
from mainspring.serving.access import masking as in_force

PATH: Final = "/v1/features:read"
ARROW: Final = "application/vnd.apache.arrow.stream"
PEOPLE: Final = ports.ViewSchema(
    "people", ("pid",), (("mail", "string"), ("card", "string"), ("born", "float64"), ("visits", "int64"), ("ward", "string")), None
)  # fmt: skip
OPEN: Final = ports.ViewSchema("beds", ("ward",), (("beds", "float32"),), None)
IDS: Final = ("p0", "p1", "p2")
MAILS: Final = ("ann.smith@example.org", "b@x.io", None)
CARDS: Final = ("4111111111111111", "5555555555554444", "378282246310005")
BORN: Final = (1980.25, 1991.5, None)
VISITS: Final = (700_001, 700_002, 700_003)
WARDS: Final = ("north", "south", "north")
#: Whatever tells of a person, as it would stand in an answer.
RAW: Final = (
    "ann.smith",
    "example.org",
    "b@x",
    "x.io",
    *CARDS,
    "1980.25",
    "1991.5",
    "700001",
    "700002",
    "700003",
)
SECTION: Final = contracts.MaskingSection.model_validate(
    {
        "project": "hospital",
        "fields": [
            {"view": "people", "field": "mail", "classification": "confidential", "kind": "email"},
            {"view": "people", "field": "card", "classification": "restricted", "kind": "card_number"},
            {"view": "people", "field": "born", "classification": "confidential", "kind": "birth_date"},
            {"view": "people", "field": "visits", "classification": "restricted"},
        ],
        "rules": [
            {"classification": "confidential", "role": "developer", "form": "partial", "purpose": "*"},
            {"classification": "restricted", "role": "developer", "form": "hash", "purpose": "*"},
            {"classification": "confidential", "role": "approver", "form": "hash", "purpose": "*"},
            {"classification": "confidential", "role": "service", "form": "clear", "purpose": "care"},
            {"classification": "restricted", "role": "service", "form": "clear", "purpose": "care"},
        ],
    }
)


def token_of(field: str, values: tuple[Any, ...], tokeniser: tokens.Tokeniser) -> list[str | None]:
    return tokeniser.column(f"people.{field}", values)


@dataclasses.dataclass(frozen=True)
class Ward:
    served: world.Served
    http: httpx.Client
    directory: Path
    keys: dict[str, str]

    def read(
        self, who: str, features: list[str], ids: list[str], purpose: str = "", accept: str = ""
    ) -> httpx.Response:
        headers = {"accept": accept} if accept else {}
        if who:
            headers["authorization"] = f"Bearer {self.keys[who]}"
        if purpose:
            headers["x-mainspring-purpose"] = purpose
        body = {"features": [f"people:{f}" for f in features], "entities": {"pid": ids}}
        return self.http.post(PATH, json=body, headers=headers)

    def values(self, who: str, feature: str, purpose: str = "") -> list[Any]:
        answer = self.read(who, [feature], list(IDS), purpose)
        assert answer.status_code == 200, answer.text
        assert answer.json()["results"][1]["statuses"] == ["PRESENT"] * 3
        return list(answer.json()["results"][1]["values"])

    def put(self, document: contracts.MaskingDocument, expect: int = 200, who: str = "admin") -> Any:
        headers = {"authorization": f"Bearer {self.keys[who]}"} if who else {}
        answer = self.http.put("/v1/masking", json=document.model_dump(mode="json"), headers=headers)
        assert answer.status_code == expect, answer.text
        return answer.json()

    def document(self) -> contracts.MaskingDocument:
        answer = self.http.get("/v1/masking", headers={"authorization": f"Bearer {self.keys['admin']}"})
        return contracts.MaskingDocument.model_validate(answer.json())


def fill(served: world.Served) -> None:
    now = np.full(3, time.time_ns() // 1000, np.int64)
    served.online.register(PEOPLE)
    columns = {"mail": MAILS, "card": CARDS, "born": BORN, "visits": VISITS, "ward": WARDS}
    served.online.register(OPEN)
    served.online.upsert(
        "beds", {"ward": ["north"]}, event_us=now[:1], created_us=now[:1], columns={"beds": [7.0]}
    )
    served.online.upsert("people", {"pid": IDS}, event_us=now, created_us=now, columns=columns)


@pytest.fixture(scope="module", params=world.WAYS)
def ward(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    directory = tmp_path_factory.mktemp("masking")
    with (
        world.serve(directory, **world.WAYS[request.param]) as served,
        httpx.Client(base_url=served.url, trust_env=False, timeout=30) as http,
    ):
        fill(served)
        keys = {
            who: served.tokens.token_of(f"{who}@local")
            for who in ("developer", "approver", "service", "admin")
        }
        made = Ward(served, http, directory, keys)
        issued = http.post("/v1/keys", json={"caller": "team-a", "scopes": ["predict", "read"]}, headers={"authorization": f"Bearer {keys['admin']}"})  # fmt: skip
        keys["key"] = issued.json()["key"]
        made.put(made.document().with_section(SECTION))
        yield made


def test_each_sees_what_policies_let_it(ward: Ward) -> None:
    tokeniser = tokens.Tokeniser.load(ward.directory / ".mainspring" / "keys" / "tokens.key")
    assert ward.values("developer", "mail") == ["a***@***", "b***@***", None]
    assert ward.values("developer", "card") == token_of("card", CARDS, tokeniser)
    assert ward.values("approver", "mail") == token_of("mail", MAILS, tokeniser)
    assert ward.values("service", "mail", "care") == list(MAILS)
    assert ward.values("service", "visits", "care") == list(VISITS)
    for who, purpose in (("", ""), ("key", "care"), ("service", ""), ("service", "marketing")):
        for feature in ("mail", "card", "born", "visits"):
            assert ward.values(who, feature, purpose) == [None] * 3, (who, feature)
    for who in ("developer", "approver"):
        assert (
            ward.values(who, "born") == ward.values(who, "visits") == [None] * 3
        )  # a number has no form between
    for who in ("", "key", "developer", "service"):
        assert ward.values(who, "ward") == list(WARDS)


@hypothesis.settings(
    max_examples=25, deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
@hypothesis.given(
    who=st.sampled_from(["", "key", "developer", "approver", "service", "admin"]),
    purpose=st.sampled_from(["", "marketing", "*", "CARE", "care,"]),
    features=st.lists(st.sampled_from(PEOPLE.field_names), min_size=1, max_size=5, unique=True),
    ids=st.lists(st.sampled_from([*IDS, "nobody"]), min_size=1, max_size=5),
    accept=st.sampled_from(["", ARROW]),
)
def test_no_raw_value_is_in_any_answer(
    ward: Ward, who: str, purpose: str, features: list[str], ids: list[str], accept: str
) -> None:
    answer = ward.read(who, features, ids, purpose, accept)
    assert answer.status_code == 200
    if accept:
        rows = pa.ipc.open_stream(answer.content).read_all().to_pydict()
        told = json.dumps(rows, default=str)
        assert not any(raw.encode() in answer.content for raw in RAW if not raw[0].isdigit() or "@" in raw)
    else:
        told = answer.text
    assert [raw for raw in RAW if raw in told] == []


def test_views_that_are_for_everybody_are_answered_as_before_and_by_the_front(ward: Ward) -> None:
    body = {"features": ["beds:beds"], "entities": {"ward": ["north"]}}
    before = ward.served.front.counts().get("answered", 0)
    assert ward.http.post(PATH, json=body).json()["results"][1]["values"] == [7.0]
    if ward.served.front.counts():
        assert ward.served.front.counts()["answered"] == before + 1
        ward.read("developer", ["ward"], ["p0"])
        assert (
            ward.served.front.counts()["answered"] == before + 1
        )  # it knows nothing of views that are masked


def test_the_document_is_an_admins_and_versioned(ward: Ward) -> None:
    now = ward.document()
    assert now.set_by == "admin@local" and [s.project for s in now.sections] == ["hospital"]
    for who, expect in (("", 401), ("developer", 403), ("service", 403), ("key", 401)):
        ward.put(now.with_section(SECTION), expect, who)
    assert "send version" in ward.put(now.model_copy(update={"version": now.version + 2}), 409)["message"]
    ward.put(now)  # the same again
    bad = now.model_dump(mode="json") | {
        "version": now.version + 1,
        "sections": [SECTION.model_dump(mode="json")] * 2,
    }
    answer = ward.http.put("/v1/masking", json=bad, headers={"authorization": f"Bearer {ward.keys['admin']}"})
    assert answer.status_code in (400, 422) and ward.document() == now


def test_a_stricter_project_counts_and_an_unmasked_view_is_clear_again(ward: Ward) -> None:
    now = ward.document()
    other = contracts.MaskingSection.model_validate(
        {"project": "school", "fields": [{"view": "people", "field": "ward", "classification": "restricted"}]}
    )
    ward.put(now.with_section(other))
    try:
        assert ward.values("developer", "ward") == [None] * 3  # no rule is for it
    finally:
        after = ward.document()
        ward.put(contracts.MaskingDocument(version=after.version + 1, sections=[SECTION]))
    assert ward.values("developer", "ward") == list(WARDS)


def test_a_document_that_cannot_be_read_stops_a_start_and_changes_nothing_later(tmp_path: Path) -> None:
    path = tmp_path / "access" / "masking.json"
    path.parent.mkdir()
    path.write_text("{")
    with pytest.raises(errors.Misconfigured, match=r"masking\.json"):
        in_force.Masking(path, tmp_path / "tokens.key")
    path.unlink()
    kept = in_force.Masking(path, tmp_path / "tokens.key")
    assert kept.views == frozenset() and kept.document.version == 0
    kept.apply(contracts.MaskingDocument(version=1, sections=[SECTION]))
    other = in_force.Masking(path, tmp_path / "tokens.key")
    assert other.views == {"people"}
    path.write_text("{")
    other.look()
    assert other.views == {"people"}


@pytest.mark.parametrize("kind", ["email", "card_number", "phone", "person_name", ""])
@hypothesis.given(st.text(st.characters(exclude_categories=["Cs"]), max_size=24))
def test_what_is_left_of_a_value_is_little(kind: str, value: str) -> None:
    shown = showing.part(value, kind) if value else "***"
    assert "***" in shown
    assert len(shown.replace("***", "").replace("@", "")) <= 2
    if 1 < len(value) < 4 and "*" not in value:
        assert value not in shown


def test_a_rule_for_the_wrong_field_or_role_hides() -> None:
    rules = masking.Rules(contracts.MaskingDocument(version=1, sections=[SECTION]))
    assert rules.forms("people", ["mail", "ward"], frozenset({"developer", "approver"}), "x") == {
        "mail": ("partial", "email")
    }
    assert rules.forms("people", ["mail"], frozenset({"service"}), "care") == {}
    assert rules.forms("people", ["mail"], frozenset(), "care") == {"mail": ("full", "email")}
    assert rules.forms("elsewhere", ["mail"], frozenset(), "") == {}
