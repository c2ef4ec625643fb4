"""Old events of lineage go, on record and in one transaction with it; the graph, what is held and what is in service stay."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from platform_api import Api, api, empty, launcher  # noqa: F401 - fixtures

from mainspring.core.contracts import base
from mainspring.core.lineage import jobs, openlineage_adapter
from mainspring.platform.retention import service

#: Once over SQLite, once over PostgreSQL.
pytestmark = pytest.mark.usefixtures("database_url")

PATH = "/api/v1/projects/flight-delay/retentions"
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


class Told:
    """Four trainings: of 400, 300 and 200 days ago, and of today; each a lake, a view of it and a model of that."""

    def __init__(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
        self.api = api
        for number, days in enumerate((400, 300, 200, 0)):
            monkeypatch.setattr(base, "utc_now", lambda days=days: NOW - timedelta(days=days))
            lake, view, model = (
                jobs.Dataset(name, f"{name}-{number}", kind)
                for name, kind in (("lake", "table"), ("view", "view"), ("model", "model"))
            )
            self.tell(f"join-{number}", [lake], [view])
            self.tell(f"train-{number}", [view], [model])

    def tell(self, run_id: str, reads: list[jobs.Dataset], makes: list[jobs.Dataset]) -> None:
        for kind in ("START", "COMPLETE"):
            event = openlineage_adapter.to_json(
                jobs.JobRun("flight-delay", run_id.partition("-")[0], run_id),
                kind,  # type: ignore[arg-type]
                at=NOW,
                reads=reads,
                makes=makes,
            )
            self.api.call("service", "POST", "/v1/lineage", 201, json.loads(event))

    def remove(self, days: float = 250, key: str = "k", expect: int = 201, **more: Any) -> Any:
        before = (NOW - timedelta(days=days)).isoformat()
        asked = {"event_key": key, "lineage_before": before, **more}
        return self.api.call("service", "POST", PATH, expect, asked)

    def upstream(self, version: str) -> int:
        path = "/v1/lineage/flight-delay/model:upstream"
        return len(self.api.call("developer", "GET", path, 200, version=version)["nodes"])

    def rows(self) -> list[dict[str, Any]]:
        return [row for row in self.api.audit() if row["action"] == "retention.remove"]


@pytest.fixture
def told(api: Api, monkeypatch: pytest.MonkeyPatch) -> Told:  # noqa: F811
    return Told(api, monkeypatch)


def test_old_events_go_on_record_and_what_they_said_of_models_stays(told: Told) -> None:
    dry = told.remove(is_dry=True)
    assert (dry["lineage"]["removed"], dry["lineage"]["kept"], told.rows()) == (8, 8, [])
    kinds = [{"kind": "reads", "removed": 3, "bytes": 30, "held": 0, "kept": 1}]
    done = told.remove(kinds=kinds, report_path="/r.json", report_digest="sha256:" + "a" * 64)
    assert done["lineage"] == dry["lineage"] and done["lineage"]["bytes"] > 1000 and not done["has_more"]
    (row,) = told.rows()
    assert (row["actor"], row["resource"], row["outcome"]) == (
        "service@local",
        "project/flight-delay",
        "done",
    )
    assert row["detail"]["kinds"] == kinds and row["detail"]["answer"] == done
    assert told.upstream("model-0") == told.upstream("model-3") == 3
    assert told.remove() == done, "the same key again answers as before"
    assert told.remove(key="k2")["lineage"]["removed"] == 0
    assert told.api.call("approver", "GET", "/api/v1/audit:verify", 200)["ok"]


def test_what_is_held_or_in_service_keeps_its_events(told: Told) -> None:
    hold = {
        "since": (NOW - timedelta(days=301)).isoformat(),
        "until": (NOW - timedelta(days=299)).isoformat(),
        "reason": "case 12",
    }
    other = {**hold, "kind": "reads"}
    found = told.remove(in_service=["model-0"], holds=[hold, other])["lineage"]
    assert (found["removed"], found["held"], found["kept"]) == (0, 4, 12)
    assert told.remove(key="k2", in_service=["model-0"], holds=[other])["lineage"]["removed"] == 4
    assert told.remove(key="k3", in_service=["nothing known"])["lineage"]["removed"] == 4


def test_much_goes_piece_by_piece(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_RUNS", 3)
    answers = [told.remove(key=f"k{number}") for number in range(3)]
    assert [(a["lineage"]["removed"], a["has_more"]) for a in answers] == [(6, True), (2, False), (0, False)]
    assert answers[1]["lineage"]["kept"] == 8 and len(told.rows()) == 3


def test_only_a_service_removes_and_a_key_is_for_one_thing(told: Told) -> None:
    for role in ("developer", "approver", "admin"):
        assert told.api.call(role, "POST", PATH, 403, {"event_key": "k"})["code"] == "permission_denied"
    told.remove(days=9999)
    other = "/api/v1/projects/another/retentions"
    told.api.call(
        "developer", "POST", "/api/v1/projects", 201, {"name": "another", "owner": "team@example.org"}
    )
    assert told.api.call("service", "POST", other, 409, {"event_key": "k"})["code"] == "conflict"
    assert told.api.call("service", "POST", PATH.replace("flight-delay", "none"), 404, {"event_key": "x"})
    assert told.remove(key="", expect=400)["code"] == "invalid_request"


def test_a_hold_that_the_worker_does_not_know_of_keeps_its_events_in_the_same_transaction(told: Told) -> None:
    holds = "/api/v1/projects/flight-delay/holds"
    since, until = ((NOW - timedelta(days=days)).isoformat() for days in (310, 290))
    asked = {"matter": "12", "reason": "a case", "kinds": ["lineage_events"], "since": since, "until": until}
    hold = told.api.call("approver", "POST", holds, 201, asked)["hold_id"]
    told.api.call("approver", "POST", holds, 201, {**asked, "kinds": ["reads"], "since": None, "until": None})
    done = told.remove(days=100)["lineage"]
    assert (done["removed"], done["held"], done["kept"]) == (8, 4, 4)
    (row,) = told.rows()
    assert f"{hold} (12)" in [h["reason"] for h in row["detail"]["holds"]], "and what held is on record"
    told.api.call("approver", "POST", f"{holds}/{hold}/lift", 200, {"reason": "it is over"})
    assert told.remove(days=100, key="k2")["lineage"]["removed"] == 0, "one who asks to lift it frees nothing"
    told.api.call("admin", "POST", f"{holds}/{hold}/decide", 200, {"approve": True})
    assert told.remove(days=100, key="k3")["lineage"]["removed"] == 4
