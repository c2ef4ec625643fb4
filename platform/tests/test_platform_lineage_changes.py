"""Each change of the control API tells lineage, or is on one list with the reason why not: a new route is on neither, and fails."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import platform_commits as commits
import pytest
from litestar.routes import HTTPRoute
from litestar.testing import TestClient

from mainspring.core.lineage import reading
from mainspring.platform import mutation

CHANGING: Final = {"POST", "PUT", "PATCH", "DELETE"}
#: The job of what is told, which is the change's action.
TELLS: Final[Mapping[str, str]] = {
    "PUT /catalog/{}": "catalog.put",
    "POST /projects/{}/classifications:decide": "classification.decide",
    "PUT /projects/{}/purposes/{}": "purpose.decide",
    "POST /projects/{}/data-exports": "data.export",
}

_PEOPLE = "who may do what is of people and a project: no dataset, job or run is otherwise"
_MONEY = "what may be spent, and what was, is of a project or a run; the run's own events have what it read and made"
_RUN = "the run or import that it is about tells by itself what it reads and makes (`workflows/*/lineage.py`, `platform/cli/importing.py`)"
_SECRET = "a key or a secret is of no dataset; which columns are sealed is in the catalog, which tells"
_WATCH = "it looks at answers that were given: it makes no data and no model, and the training that it may start tells"
_QUESTION = "it changes nothing"
_CODE = "a definition: the run that takes it up tells, with its version"
_PLACE = "of a place that answers; the deployment or release that puts it there or takes it away tells"
_ROWS = "rows and folders go or come back, and versions and columns stay: the audit log, and what a run reads next, have it"
_ANOTHER = "it is decided by the service of what it is about, whose change tells where it is about columns"
_WORDS = "an opinion of a detector, or answers about a project: the decision tells where it is about columns"
#: What tells nothing, and why.
TELLS_NOTHING: Final[Mapping[str, tuple[str, ...]]] = {
    _PEOPLE: (
        "POST /projects", "PATCH /projects/{}", "PUT /projects/{}/members/{}", "DELETE /projects/{}/members/{}",
        "POST /projects/{}/access-requests", "POST /projects/{}/access-requests:break-glass",
        "POST /projects/{}/access-requests/{}/decision", "POST /projects/{}/access-requests/{}/revoke",
        "POST /projects/{}/access-requests/{}/review", "POST /projects/{}/access-requests/{}/expire",
        "POST /projects/{}/service-accounts", "PATCH /projects/{}/service-accounts/{}",
        "POST /projects/{}/service-accounts/{}/rotate", "DELETE /projects/{}/service-accounts/{}",
        "POST /service-accounts:token",
    ),
    _MONEY: (
        "POST /usage", "POST /serving-usage", "POST /projects/{}/storage", "PUT /projects/{}/quota",
        "PUT /projects/{}/budgets/{}/{}", "DELETE /projects/{}/budgets/{}/{}",
        "POST /projects/{}/reservations:renew", "POST /projects/{}/reservations:end",
        "POST /projects/{}/notebooks:change", "POST /projects/{}/notebooks:end",
        "PUT /projects/{}/privacy/{}", "POST /projects/{}/privacy/{}/spends",
    ),
    _RUN: (
        "POST /runs", "POST /runs/{}/decision", "POST /runs/{}/cancel", "POST /runs/{}/resume", "POST /runs/{}/events",
        "POST /runs/{}/canary", "POST /lineage", "POST /projects/{}/models",
    ),
    _SECRET: (
        "PUT /projects/{}/secrets/{}", "DELETE /projects/{}/secrets/{}", "POST /projects/{}/keyset:change",
        "POST /projects/{}/sealed:open", "POST /projects/{}/secrets/{}/use", "POST /key-changes", "POST /key-changes/{}/events",
    ),
    _WATCH: (
        "POST /monitoring/reports", "POST /alerts/{}/acknowledge", "POST /alerts/{}/resolve",
        "PUT /projects/{}/alert-rules",
    ),
    _QUESTION: (
        "POST /policies:dry-run", "POST /endpoints/{}/predict", "POST /endpoints/{}/explain", "POST /templates/{}/plan",
        "POST /service-accounts:introspect", "POST /projects/{}/evidence", "POST /projects/{}/data-reads",
    ),
    _CODE: (
        "PUT /projects/{}/pipelines/{}", "PUT /projects/{}/schedules/{}", "DELETE /projects/{}/schedules/{}",
        "POST /projects/{}/schedules/{}/runs",
    ),
    _PLACE: ("DELETE /endpoints/{}", "POST /endpoints/{}/idle-events"),
    _ROWS: (
        "POST /quarantine/{}/{}/release", "POST /projects/{}/retentions", "POST /projects/{}/erasures",
        "POST /projects/{}/erasures/{}/decision", "POST /projects/{}/erasures/{}/report",
        "POST /projects/{}/holds", "POST /projects/{}/holds/{}/lift", "POST /projects/{}/holds/{}/decide",
    ),
    _ANOTHER: ("POST /approvals/{}/decision",),
    _WORDS: (
        "POST /projects/{}/classifications", "POST /projects/{}/dpia", "POST /projects/{}/dpia:decide",
    ),
}  # fmt: skip


@pytest.fixture
def house(tmp_path: Path) -> Iterator[commits.House]:
    app, launcher = commits.app(tmp_path)
    with TestClient(app) as client:
        yield commits.House(client, launcher, tmp_path)


def changing(house: commits.House) -> dict[str, tuple[str, str]]:
    """Method and path by shape, of what changes something; of two paths the first."""
    found: dict[str, tuple[str, str]] = {}
    for route in sorted(house.client.app.routes, key=lambda route: route.path):
        if isinstance(route, HTTPRoute) and route.path.startswith("/api/v1/"):
            for method in CHANGING & {m for handler in route.route_handlers for m in handler.http_methods}:
                found.setdefault(commits.shape(f"{method} {route.path}"), (method, route.path))
    return found


def events(house: commits.House) -> list[dict[str, Any]]:
    """As they are kept, oldest first."""
    file = house.settings.control.database_url.partition("///")[2]
    with sqlite3.connect(file) as connection:
        rows = connection.execute("SELECT event FROM lineage_events ORDER BY rowid").fetchall()
    connection.close()
    return [json.loads(row[0]) for row in rows]


def send(house: commits.House, place: tuple[str, str], taken: commits.Taken) -> Any:
    method, path = place
    filled = re.sub(r"\{(\w+):\w+\}", lambda m: quote(taken.names[m[1]], safe=""), path)
    return house.call(taken.who, method, filled, taken.body, **taken.headers)


def undecided(operations: set[str]) -> list[str]:
    """What is on no list, is on two, or is not there any more."""
    listed = [*TELLS, *(one for some in TELLS_NOTHING.values() for one in some)]
    twice = {one for one in listed if listed.count(one) > 1}
    return sorted(twice | (operations ^ set(listed)))


def test_each_change_tells_lineage_or_says_why_not(house: commits.House) -> None:
    known = set(changing(house))
    assert undecided(known) == []
    assert undecided(known | {"POST /seeded"}) == ["POST /seeded"]


def test_what_tells_tells_once_and_nothing_else_does(house: commits.House) -> None:
    places, told, heard = changing(house), {}, []
    for shape, recipe in sorted(commits.TAKEN.items()):
        taken: commits.Taken = recipe(house, house.mark())
        before = len(events(house))
        send(house, places[shape], taken)
        new = events(house)[before:]
        heard += new
        if shape != "POST /lineage":
            told |= {shape: [event["job"]["name"] for event in new]} if new else {}
    assert told == {shape: [job] for shape, job in TELLS.items()}
    digests = [reading.parse(event).digest for event in heard if event["job"]["name"] in TELLS.values()]
    rows = house.call("root", "GET", "/api/v1/audit?limit=500&newest=true")["items"]
    on_record = [one for row in rows for one in row["detail"].get(mutation.LINEAGE, [])]
    assert set(digests) <= set(on_record), "the log has the digest of each event"


def facets(event: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one["facets"] for one in event["outputs"]}


def test_the_catalog_tells_what_is_otherwise_and_what_is_gone(house: commits.House) -> None:
    def put(*entries: dict[str, Any], expect: int = 1) -> list[dict[str, Any]]:
        before = len(events(house))
        house.call("ana", "PUT", "/api/v1/catalog/alpha", {"entries": list(entries)})
        assert len(events(house)) == before + expect
        return events(house)[before:]

    column = {"name": "delay", "dtype": "float32", "classification": "restricted", "is_pii": True}
    lake = {"kind": "dataset", "name": "lake.one", "version": "v1", "owner": "ana", "columns": [column]}
    lake |= {"description": "words", "classification": "restricted", "tags": {"purposes": "billing"}}
    view = {"kind": "view", "name": "view.one", "owner": "ana", "description": "d", "reads": ["lake.one"]}
    view |= {"classification": "restricted"}
    (first,) = put(lake, view)
    assert first["eventType"] == "OTHER" and first["job"] == {**first["job"], "namespace": "alpha"}
    found = facets(first)["lake.one"]
    assert [(f["name"], f["type"]) for f in found["schema"]["fields"]] == [("delay", "float32")]
    assert found["ownership"]["owners"][0]["name"] == "ana"
    assert found["documentation"]["description"] == "words"
    assert {(t.get("field"), t["key"], t["value"]) for t in found["tags"]["tags"]} == {
        (None, "purposes", "billing"),
        (None, "classification", "restricted"),
        ("delay", "classification", "restricted"),
        ("delay", "pii", "true"),
    }
    put(lake, view, expect=0)
    (second,) = put(lake)
    assert list(facets(second)) == ["view.one"], "what stays as it is is not told again"
    assert facets(second)["view.one"]["lifecycleStateChange"]["lifecycleStateChange"] == "DROP"
    graph = house.client.get(
        "/api/v1/lineage/alpha/lake.one:downstream", headers={"Authorization": "Bearer ana"}
    )
    assert graph.status_code == 404, "a word about data makes none"


def test_a_refused_change_tells_nothing(house: commits.House) -> None:
    before = events(house)
    body = {"entries": [{"kind": "view", "name": "view.one", "owner": "o", "description": "d"}]}
    for who, sent, status in (("vic", body, 403), ("ana", {"entries": body["entries"] * 2}, 400)):
        answer = house.client.put(
            "/api/v1/catalog/alpha", json=sent, headers={"Authorization": f"Bearer {who}"}
        )
        assert answer.status_code == status and events(house) == before


def test_a_catalog_of_many_entries_is_several_events(house: commits.House) -> None:
    entries = [{"kind": "view", "name": f"view.n{i}", "owner": "o", "description": "d"} for i in range(101)]
    before = len(events(house))
    house.call("ana", "PUT", "/api/v1/catalog/alpha", {"entries": entries})
    new = events(house)[before:]
    assert [len(event["outputs"]) for event in new] == [100, 1]
    assert len({event["run"]["runId"] for event in new}) == 2
