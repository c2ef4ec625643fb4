"""Metering: every unit that was used is reported once, to the caller's project, whatever fails on the way."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import serving_access_world as access_world
import serving_world as world
from serving_access_world import ASKED, PREDICT

from mainspring.core import errors, settings
from mainspring.core.client import serving as client_module
from mainspring.core.contracts import metering
from mainspring.core.contracts.capacity import Capacity
from mainspring.core.contracts.deployment import TrafficTable
from mainspring.serving import admission, observed, usage, watchers
from mainspring.serving.access import callers, guard, limits

BUNDLE = world.World()


class Ledger:
    """The control API's side of the contract: a batch is kept whole or not, each record once by its key."""

    def __init__(self, fails: Sequence[Exception | None] = ()) -> None:
        self.records: dict[str, metering.ServingUsage] = {}
        self.fails = list(fails)

    def __call__(self, records: Sequence[metering.ServingUsage]) -> None:
        metering.ServingUsageBatch(records=list(records))
        failure = self.fails.pop(0) if self.fails else None
        if not isinstance(failure, errors.DependencyDown):
            if failure is not None:
                raise failure
            for one in records:
                assert self.records.setdefault(one.usage_key, one) == one
            return
        if "after" in failure.message:  # received, and the answer was lost
            for one in records:
                self.records[one.usage_key] = one
        raise failure

    def total(self, *fields: str) -> Counter[tuple[str, ...]]:
        sums: Counter[tuple[str, ...]] = Counter()
        for one in self.records.values():
            name = tuple(str(getattr(one, f)) for f in fields)
            sums[(*name, "requests")] += one.requests
            sums[(*name, "rows")] += one.predictions
            sums[(*name, "micros")] += one.cpu_microseconds
        return sums


def scored(rows: int, cpu_nanos: int, *, role: str = "stable", endpoint: str = "flights") -> observed.Scored:
    asked = admission.Asked(rows, False, {}, {})
    return observed.Scored(
        endpoint, 1, BUNDLE, role, asked, {}, np.zeros(rows, np.float32), 0, 0.001, cpu_nanos
    )


def as_caller(name: str, project: str = "") -> None:
    guard._CALL.set(guard.Call(callers.Caller(name, frozenset(), project), "flights"))


def test_sums_are_conserved_to_the_last_unit_whatever_fails(tmp_path: Path) -> None:
    chance = random.Random(7)
    fails = [
        chance.choice(
            [
                None,
                errors.DependencyDown("gone before", name="c"),
                errors.DependencyDown("gone after", name="c"),
            ]
        )
        for _ in range(60)
    ]
    ledger, meter = Ledger(fails), usage.Meter()
    reporter = usage.Reporter(meter, ledger, tmp_path / "usage" / "spool.jsonl", every_seconds=3600)
    given: Counter[str] = Counter()
    for _ in range(40):
        for _ in range(25):
            rows, nanos = chance.randrange(1, 9), chance.randrange(1, 5000)
            as_caller(chance.choice(["a", "b"]), chance.choice(["", "shop"]))
            meter.observe(scored(rows, nanos, endpoint=chance.choice(["flights", "hotels"])))
            given.update(requests=1, rows=rows, nanos=nanos)
        reporter.report()
    ledger.fails.clear()
    reporter.close()
    total = ledger.total()
    assert (total["requests",], total["rows",]) == (given["requests"], given["rows"])
    groups = 2 * 2 * 2  # each keeps less than a microsecond back
    assert 0 <= given["nanos"] - 1000 * total["micros",] < 1000 * groups
    assert ledger.total("caller")["a", "requests"] + ledger.total("caller")["b", "requests"] == 1000
    assert {one.project for one in ledger.records.values()} == {"shop", "flights-team"}
    assert (reporter.lost_records, (tmp_path / "usage" / "spool.jsonl").read_bytes()) == (0, b"")


def test_what_a_process_could_not_send_the_next_one_does(tmp_path: Path) -> None:
    path = tmp_path / "spool.jsonl"
    down = [errors.DependencyDown("gone", name="c")] * 9
    meter = usage.Meter()
    reporter = usage.Reporter(meter, Ledger(down), path, every_seconds=3600)
    as_caller("a")
    meter.observe(scored(3, 10_000))
    reporter.close()
    ledger = Ledger()
    usage.Reporter(usage.Meter(), ledger, path, every_seconds=3600).close()
    (one,) = ledger.records.values()
    assert (one.requests, one.predictions, one.cpu_microseconds, one.caller) == (1, 3, 10, "a")
    assert one.started_at <= one.ended_at


def test_a_refused_batch_holds_up_no_other_and_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "spool.jsonl"
    ledger = Ledger([errors.NotFound("no project `flights-team`; create it", resource="project")])
    meter = usage.Meter()
    reporter = usage.Reporter(meter, ledger, path, every_seconds=3600)
    for project in ("", "shop"):
        as_caller("a", project)
        meter.observe(scored(1, 1))
    reporter.close()
    assert [one.project for one in ledger.records.values()] == ["shop"]
    assert reporter.lost_records == 1
    assert "no project `flights-team`; create it" in caplog.text
    kept = json.loads((tmp_path / "spool.refused.jsonl").read_text())
    assert kept["records"][0]["project"] == "flights-team"


def test_what_a_process_uses_is_of_the_nodes_that_it_is_told(tmp_path: Path) -> None:
    s = settings.load({"MAINSPRING_SERVING_CAPACITY": "spot"}, directory=tmp_path).serving
    ledger = Ledger()
    limiter = limits.Limiter(tmp_path / "limits.json", lambda _: True)
    watching = watchers.start(s, limiter, ledger)
    as_caller("a", "shop")
    for observe in watching.observers:
        observe(scored(1, 5000))
    watching.close()
    assert [(one.cpu_microseconds, one.capacity) for one in ledger.records.values()] == [(5, Capacity.SPOT)]


def test_a_shadow_is_nobodys_request(tmp_path: Path) -> None:
    meter = usage.Meter()
    as_caller("a", "shop")
    meter.observe(scored(1, 5000))
    meter.observe(scored(1, 7000, role="shadow"))
    assert [(r.caller, r.project, r.cpu_microseconds) for r in meter.close_window()] == [
        ("a", "shop", 5),
        ("shadow", "flights-team", 7),
    ]
    assert meter.close_window() == []


@pytest.mark.integration
def test_a_server_tells_who_used_what(tmp_path: Path) -> None:
    ledger = Ledger()
    with world.serve(tmp_path, BUNDLE, send_usage=ledger, usage_report_seconds=0.2) as served:
        with client_module.ServingClient(served.url, token=served.tokens.token_of("service@local")) as c:
            c.load_bundle(BUNDLE.digest)
            c.set_traffic(TrafficTable(endpoint="flights", version=1, stable=BUNDLE.digest))
        with httpx.Client(base_url=served.url, trust_env=False) as http:
            admin = access_world.bearer(served.tokens.token_of("admin@local"))
            asked = {"caller": "team-a", "project": "shop"}
            key = http.post("/v1/keys", json=asked, headers=admin).json()["key"]
            two: dict[str, Any] = {**ASKED, "entities": [world.entity()] * 2}
            for document, headers in ((ASKED, None), (two, None), (two, access_world.bearer(key))):
                assert http.post(PREDICT, json=document, headers=headers).status_code == 200
            assert http.post(PREDICT, json={"entities": [{}]}).status_code == 400, "and costs nobody anything"
    sums = ledger.total("caller", "project", "model_version")
    anonymous, team = ("anonymous", "flights-team", BUNDLE.digest), ("team-a", "shop", BUNDLE.digest)
    assert (sums[(*anonymous, "requests")], sums[(*anonymous, "rows")]) == (2, 3)
    assert (sums[(*team, "requests")], sums[(*team, "rows")]) == (1, 2)
    assert sums[(*team, "micros")] > 0
