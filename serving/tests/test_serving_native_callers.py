"""Predictions that the native front answers for callers with keys: let in, limited, charged and traced as by the app."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import serving_native_world as native_world
import serving_world as world
from serving_both import Both
from serving_native_world import ROW, body, path, put
from serving_receiver import Receiver, attributes

from mainspring.core.contracts import metering
from mainspring.core.contracts.deployment import TrafficTable

pytestmark = pytest.mark.integration

ONE: Final = body(entities=[world.entity()], as_of=world.AS_OF)
TWO: Final = body(rows=[ROW, ROW])
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Ledger:
    """Use by caller and project."""

    def __init__(self) -> None:
        self.records: list[metering.ServingUsage] = []

    def by_payer(self, name: str) -> dict[tuple[str, str], int]:
        sums: Counter[tuple[str, str]] = Counter()
        for one in self.records:
            sums[one.caller, one.project] += getattr(one, name)
        return dict(sums)


def start(both: Both, home: Any) -> None:
    put(both, TrafficTable(endpoint="flights", version=1, stable=native_world.write_network(home, 1)))


def ask(both: Both, asked: bytes, key: str = "", **fields: str) -> httpx.Response:
    """Of the front alone."""
    shown = {"x-api-key": key} if key else {}
    return both.front.post(path("flights"), content=asked, headers=shown | fields)


def is_the_fronts(both: Both, asked: bytes, key: str = "") -> bool | None:
    """Or the app's; None: it was refused."""
    before = both.answered_by_the_front()
    status = ask(both, asked, key).status_code
    assert status in (200, 401, 403, 429)
    return both.answered_by_the_front() == before + 1 if status == 200 else None


def test_a_known_key_is_answered_here_and_is_no_way_round(tmp_path: Path) -> None:
    with native_world.serve(tmp_path, require_token=True) as (both, home):
        start(both, home)
        key = native_world.key(both, "team-a", "predict", project="shop")
        fields = {"authorization": f"Bearer {key}"}
        before = both.answered_by_the_front()
        for asked in (
            ONE,
            TWO,
            body(entities=[world.entity()], as_of=world.AS_OF, overrides={"distance": 1}),
        ):
            assert both.ask(path("flights"), asked, fields).status_code == 200
        assert both.answered_by_the_front() == before + 3
        assert is_the_fronts(both, ONE) is None
        assert is_the_fronts(both, ONE, key + "x") is None
        assert is_the_fronts(both, ONE, native_world.key(both, "reader", "read")) is None
        before = both.answered_by_the_front()
        assert both.ask(path("flights"), ONE, native_world.token(both)).status_code == 200
        wish = {"x-mainspring-role": "stable", **fields}
        assert both.ask(path("flights"), ONE, wish).status_code == 403, "the key may not choose, says the app"
        assert both.answered_by_the_front() == before, "tokens and wishes are the app's to judge"
        gone = both.front.delete(f"/v1/keys/{key.split('_')[1]}", headers=native_world.token(both, "admin"))
        assert gone.status_code == 200
        assert is_the_fronts(both, ONE, key) is None


def test_without_a_demand_who_is_not_known_is_the_apps(tmp_path: Path) -> None:
    ledger = Ledger()
    with native_world.serve(tmp_path, send_usage=ledger.records.extend) as (both, home):
        start(both, home)
        key = native_world.key(both, "reader", "read")
        assert is_the_fronts(both, ONE) is True
        assert is_the_fronts(both, ONE, key) is True, "what nobody in particular may, it may as well"
        assert is_the_fronts(both, ONE, "a-proxys-own") is False
        assert is_the_fronts(both, ONE, "msk_0_unknown") is False
    assert ledger.by_payer("requests") == {
        ("anonymous", "plain-project"): 3,
        ("reader", "plain-project"): 1,
    }


def test_rows_are_charged_to_the_limits_that_the_app_takes_from(tmp_path: Path) -> None:
    with native_world.serve(tmp_path) as (both, home):
        start(both, home)
        key = native_world.key(both, "eager", "predict")
        rules = {"version": 1, "rules": [{"caller": "eager", "rows_per_day": 5, "endpoint": "flights"}]}
        admin = native_world.token(both, "admin")
        both.front.put("/v1/limits", json=rules, headers=admin).raise_for_status()
        odd = body(entities=[world.entity()], as_of="2013-12-01T13:13:20+01:00")
        assert is_the_fronts(both, TWO, key) is True
        assert is_the_fronts(both, odd, key) is False, "the app answers, and charges a row"
        assert is_the_fronts(both, TWO, key) is True
        for asked in (ONE, odd):
            answer = ask(both, asked, key)
            assert (answer.status_code, answer.headers["x-error-code"]) == (429, "rate_limited")
        assert is_the_fronts(both, TWO) is True, "anonymous has no limit"


def test_each_callers_use_is_charged_once_to_its_own_project(tmp_path: Path) -> None:
    """Two keys of one caller with projects of their own, one without, and nobody; front and app in turns, while windows close."""
    ledger = Ledger()
    with native_world.serve(tmp_path, send_usage=ledger.records.extend, usage_report_seconds=0.05) as (
        both,
        home,
    ):
        start(both, home)
        keys = [
            native_world.key(both, "team-a", "predict", project="shop"),
            native_world.key(both, "team-a", "predict", project="depot"),
            native_world.key(both, "team-b", "predict"),
            "",
        ]

        def ask_on(key: str) -> None:
            with httpx.Client(base_url=both.served.url, trust_env=False) as client:
                for asked in itertools.islice(itertools.cycle([ONE, TWO]), 100):
                    shown = {"x-api-key": key} if key else {}
                    client.post(path("flights"), content=asked, headers=shown).raise_for_status()

        threads = [threading.Thread(target=ask_on, args=(key,)) for key in keys]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for key in keys:
            shown = {"x-api-key": key} if key else {}
            assert both.app.post(path("flights"), content=TWO, headers=shown).status_code == 200
        assert both.answered_by_the_front() == 400
        (seen,) = both.front.get("/v1/endpoints/flights/stats").json()["bundles"]
        assert (seen["requests"], seen["rows"]) == (404, 608), "statistics are of all callers"
    payers = {
        ("team-a", "shop"),
        ("team-a", "depot"),
        ("team-b", "plain-project"),
        ("anonymous", "plain-project"),
    }
    assert ledger.by_payer("requests") == dict.fromkeys(payers, 101)
    assert ledger.by_payer("predictions") == dict.fromkeys(payers, 152)
    assert min(ledger.by_payer("cpu_microseconds").values()) > 0


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    built = Receiver()
    yield built
    built.close()


def test_a_traced_prediction_is_told_as_the_app_tells_it(tmp_path: Path, receiver: Receiver) -> None:
    with native_world.serve(tmp_path, trace_endpoint=receiver.url, trace_share=0.0) as (both, home):
        start(both, home)
        key = native_world.key(both, "team-a", "predict", project="shop")
        fields = {"traceparent": f"00-{TRACE}-{PARENT}-01", "x-api-key": key}
        for asked in (ONE, TWO):
            assert both.ask(path("flights"), asked, fields).status_code == 200
            assert ask(both, asked, key).status_code == 200, "and is not sampled"
        assert both.answered_by_the_front() == 4
    spans = receiver.spans()
    roots = sorted(
        (s for s in spans if s.get("parentSpanId") == PARENT), key=lambda s: int(s["startTimeUnixNano"])
    )

    def told(root: dict[str, Any]) -> list[Any]:
        inside = [s for s in spans if s.get("parentSpanId") == root["spanId"]]
        begins = [int(s["startTimeUnixNano"]) for s in (root, *inside)]
        ends = [int(s["endTimeUnixNano"]) for s in (*inside, root)]
        assert begins == sorted(begins) and ends == sorted(ends)
        return [(s["name"], s["kind"], attributes(s)) for s in (root, *inside)]

    by_entity, the_apps, by_row, the_apps_by_row = (told(root) for root in roots)
    assert [name for name, *_ in by_entity] == [f"POST {path('flights')}", "look up", "transform", "model"]
    assert by_entity == the_apps
    assert [name for name, *_ in by_row] == [f"POST {path('flights')}", "transform", "model"]
    assert by_row == the_apps_by_row
    assert by_row[0][2]["mainspring.caller"] == "team-a"
    assert len(spans) == len({s["spanId"] for s in spans}) == 14


def test_a_share_of_predictions_is_traced_here(tmp_path: Path, receiver: Receiver) -> None:
    with native_world.serve(tmp_path, trace_endpoint=receiver.url, trace_share=0.5) as (both, home):
        start(both, home)
        for _ in range(200):
            assert ask(both, TWO).status_code == 200
        assert both.answered_by_the_front() == 200
    roots = [s for s in receiver.spans() if s["name"].startswith("POST /v1/endpoints/")]
    assert 60 < len(roots) < 140  # more than five standard deviations
