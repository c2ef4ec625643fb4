"""What five personas see of classified columns where the control API reads something back: no raw value that policies do not show."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from platform_bundles import METRICS, signed
from platform_hospital import ROLES, World, column, started, view

from mainspring.core.monitoring import pages

#: Values of somebody, of a column that is personal (`view__field` in reports), one that is confidential, and a join key.
RAW = ("zoe@example.org", "ynez-ward-9", "quincy-77", "31337.25", "4711.5", "1234567.5")
COLUMNS = (
    column("mail", "confidential", is_pii=True, low=31337.25, high=31337.25, mean=31337.25),
    column("bonus", "restricted", low=4711.5, high=4711.5, mean=4711.5),
    column("pid", "restricted", is_pii=True, is_key=True),
    column("age", "public", low=18.5, high=99.5, mean=44.5),
)
EVALUATION = {
    "slices": [
        {"column": "intake__mail", "value": "zoe@example.org", "rows": 300, "auc": 0.7},
        {"column": "intake__mail", "value": "(other)", "rows": 10},
        {"column": "age", "value": "old", "rows": 300},
    ],
    "fairness": [
        {"column": "pid", "threshold": 0.5, "groups": [{"value": "quincy-77", "rows": 9, "positives": 1}]}
    ],
}
FINDING = {"severity": "alarm", "value": 0.9, "limit": 0.1}


def report(**changed: Any) -> dict[str, Any]:
    told = {
        "project": "hospital",
        "endpoint": "triage",
        "bundle_digest": "sha256:" + "0" * 64,
        "begins": "2026-01-01T00:00:00Z",
        "ends": "2026-01-02T00:00:00Z",
        "rows": 1000,
        "known": 900,
        "slices": [
            {"column": "pid", "value": "quincy-77", "rows": 300},
            {"column": "age", "value": "old", "rows": 300},
            {"column": "pid", "value": "\0other", "rows": 9},
        ],
        "columns": [
            {"name": "intake__mail", "kind": "categorical", "rows": 1000, "unseen": 0.9, "new_values": ["zoe@example.org", "ynez-ward-9"]},
            {"name": "bonus", "kind": "numerical", "rows": 1000, "psi": 0.5, "mean": 4711.5, "mean_reference": 4711.5, "deviation": 4711.5, "quantiles": {"0.5": 4711.5}},
            {"name": "age", "kind": "numerical", "rows": 1000, "mean": 44.5},
        ],
        "findings": [
            {**FINDING, "kind": "quality", "subject": "intake__mail", "message": "`intake__mail`: 0.900 of the values were never seen in training, such as `zoe@example.org`, `ynez-ward-9`"},
            {**FINDING, "kind": "ranking", "subject": "pid=quincy-77", "message": "ranking: AUC 0.5, 0.9 when the model was accepted"},
            {**FINDING, "kind": "quality", "subject": "age", "message": "`age`: 0.9 of the values were never seen in training, such as `old`"},
        ],
        **changed,
    }  # fmt: skip
    return {"report": told, "made_by": "w"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    yield from started(tmp_path)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[World]:
    (tmp_path / "policies").mkdir()
    clear = 'when { principal.roles.contains("viewer") && context.form == "clear" };'
    rule = f'@id("acme.all")\n@advice("all")\npermit (principal, action == Action::"data.see", resource)\n{clear}'
    (tmp_path / "policies" / "acme.cedar").write_text(rule)
    (tmp_path / "mainspring.toml").write_text('[control]\npolicies_dir = "policies"\nsynthetic_only = ""\n')
    yield from started(tmp_path)


def fill(world: World, *, classified: bool = True) -> dict[str, str]:
    """A project with everything that the control API has of values; what reads are asked about."""
    if classified:
        world.catalog(view(*COLUMNS))
    run = world.call("developer", "POST", "/api/v1/runs", 201, {"project": "hospital"})["run_id"]
    digest = signed(world.settings.stack.state_dir.parent)
    result = {"bundle_digest": digest, "metrics": {"test": METRICS}, "evaluation": EVALUATION}
    event = {"event_key": "end", "run_id": run, "action": "run.end", "actor": "w", "detail": {"stage": "done", "result": result}}  # fmt: skip
    world.call("service", "POST", f"/api/v1/runs/{run}/events", 201, event)
    page = pages.leave(world.settings.stack.state_dir / "monitoring/reports", "<html>zoe@example.org</html>")
    told = world.call("service", "POST", "/api/v1/monitoring/reports", 201, {**report(), "html_digest": page})
    return {"run": run, "digest": digest, "report": told["report_id"], "alert": told["alerts"][0]}


def reads(known: dict[str, str]) -> dict[str, str]:
    return {
        "entry": "/v1/catalog/hospital/view.intake",
        "catalog": "/v1/catalog",
        "run": f"/api/v1/runs/{known['run']}",
        "runs": "/api/v1/runs",
        "report": f"/api/v1/monitoring/reports/{known['report']}",
        "reports": "/api/v1/monitoring/reports",
        "alert": f"/api/v1/alerts/{known['alert']}",
        "alerts": "/api/v1/alerts",
        "audit": "/api/v1/audit",
        "model": f"/api/v1/models/hospital/{known['digest']}",
    }


def test_five_personas_see_no_raw_value_of_what_is_not_for_them(world: World) -> None:
    known = fill(world)
    for role in ROLES:
        for what, path in reads(known).items():
            told = json.dumps(world.call(role, "GET", path, 200), ensure_ascii=False)
            assert [raw for raw in RAW if raw in told] == [], (role, what)
        page = world.call(role, "GET", f"/api/v1/monitoring/reports/{known['report']}/page", 403)
        assert (page["code"], page["details"]["action"]) == ("permission_denied", "data.see")
        assert "`intake__mail`, `bonus`" in page["detail"]
    folder = world.settings.stack.state_dir
    stored = b"".join(p.read_bytes() for p in folder.rglob("control.db*"))
    assert b"ynez-ward-9" not in stored  # new values of a report are tokens before they are anywhere


def test_each_form_is_what_policies_say_and_the_rest_stays(world: World) -> None:
    known = fill(world)
    for role, mail, pid in (
        ("developer", "z***@***", "tok_"),
        ("viewer", "***", "***"),
        ("service", "***", "***"),
    ):
        told = world.call(role, "GET", reads(known)["run"], 200)["result"]["evaluation"]
        values = [s["value"] for s in told["slices"]]
        assert values == [mail if role != "developer" else values[0], "(other)", "old"]
        assert values[0] in (mail, "z***") and told["fairness"][0]["groups"][0]["value"].startswith(pid)
        assert told["slices"][0]["auc"] == 0.7
        found = world.call(role, "GET", reads(known)["report"], 200)["report"]
        by_name = {c["name"]: c for c in found["columns"]}
        assert by_name["age"]["mean"] == 44.5 and by_name["bonus"]["psi"] == 0.5
        assert (by_name["bonus"]["mean"], by_name["bonus"]["quantiles"]) == (None, {})
        assert [f["subject"].startswith(("intake__mail", "pid=", "age")) for f in found["findings"]] == [
            True
        ] * 3
        assert found["findings"][2]["message"].endswith("such as `old`")
        entry = {c["name"]: c for c in world.call(role, "GET", reads(known)["entry"], 200)["columns"]}
        assert entry["age"]["low"] == 18.5 and entry["bonus"]["low"] is None


def test_an_organisations_policy_shows_as_it_is_what_is_kept_as_it_is(own: World) -> None:
    known = fill(own)
    told = own.call("viewer", "GET", reads(known)["run"], 200)["result"]["evaluation"]
    assert told["slices"][0]["value"] == "zoe@example.org"
    entry = {c["name"]: c for c in own.call("viewer", "GET", reads(known)["entry"], 200)["columns"]}
    assert entry["bonus"]["low"] == 4711.5
    # A report was put on record with tokens, for whoever reads it, and its page is whole.
    found = own.call("viewer", "GET", reads(known)["report"], 200)["report"]
    assert found["slices"][0]["value"].startswith("tok_")
    page = own.client.get(f"/api/v1/monitoring/reports/{known['report']}/page", headers={"Authorization": "Bearer viewer"})  # fmt: skip
    assert page.status_code == 200 and "zoe@example.org" in page.text
    own.call("developer", "GET", f"/api/v1/monitoring/reports/{known['report']}/page", 403)


def test_what_was_classified_later_is_masked_where_it_was_kept_before(world: World) -> None:
    known = fill(world, classified=False)
    assert "zoe@example.org" in json.dumps(world.call("viewer", "GET", reads(known)["report"], 200))
    world.catalog(view(*COLUMNS))
    for what in ("run", "runs", "report", "alert", "alerts"):
        for role in ROLES:
            told = json.dumps(world.call(role, "GET", reads(known)[what], 200))
            assert [raw for raw in RAW if raw in told] == [], (role, what)
