"""The streams' measurements: a target is met on its own side, and a wrong row is seen before it is timed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mainspring.bench.features import payments, streams
from mainspring.core.features import online
from mainspring.core.features.streams import sinks
from mainspring.core.features.streams.records import records
from mainspring.core.features.streams.state import StreamState


def results(**values: float | None) -> list[dict[str, Any]]:
    met = {
        "streams/memory": 2e5,
        "streams/kafka": 1e5,
        "streams/freshness": 0.2,
        "push/visible": 0.5,
        "push/durable": 1e6,
    }
    return [{"name": name, "value": value} for name, value in (met | values).items()]


@pytest.mark.parametrize(
    ("name", "value", "ok"),
    [
        ("streams/memory", 99_999.0, False),
        ("streams/freshness", 1.5, False),
        ("push/visible", 1.0, True),
        ("push/durable", None, False),
    ],
)
def test_a_target_is_met_on_its_own_side(name: str, value: float | None, ok: bool) -> None:
    goals = {g["name"]: g for g in streams.judge(results(**{name: value}))}
    assert goals[name]["ok"] is ok and ("why" in goals[name]) is not ok
    assert all(g["ok"] for other, g in goals.items() if other != name)


def test_a_missed_rate_tells_what_the_cpu_time_would_have_allowed() -> None:
    missed = results(**{"streams/kafka": 70_000.0})
    next(r for r in missed if r["name"] == "streams/kafka")["cpu_us_per_event"] = 8.0
    (goal,) = [g for g in streams.judge(missed) if not g["ok"]]
    assert "125,000 events a second of CPU time" in goal["why"]


def test_a_wrong_row_is_seen() -> None:
    made = payments.make(2000, cards=50, now_us=1_700_000_000_000_000)
    store = online.OnlineStore()
    sink = sinks.StoreSink(store)
    sink.open([view.schema() for view in payments.STREAM.views])
    assert payments.wrong_answer(made, store) == "`card_1h` lacks cards"
    for rows in StreamState(payments.STREAM).apply(records(made.values, timestamp_us=made.at_us)).rows:
        sink.push(rows)
    assert payments.wrong_answer(made, store) is None
    card, at = made.frame["card"][-1], made.at_us[-1:]
    columns: dict[str, Any] = {
        a.name: np.array([1.0], np.float32) for a in payments.STREAM.views[1].aggregates
    }
    store.upsert("card_30d", {"card": [card]}, event_us=at, created_us=at + 1, columns=columns)
    assert payments.wrong_answer(made, store) == "another `payments` of `card_30d` than the batch"


@pytest.mark.slow
@pytest.mark.integration
def test_what_is_measured_is_right() -> None:
    """The measurements themselves, on a few events: each checks its answers against the batch."""
    made = payments.make(3000, cards=100, now_us=1_700_000_000_000_000)
    for name, source in (("streams/memory", streams._from_memory), ("streams/kafka", streams._from_kafka)):
        record = streams._ingest(name, made, 1, source)
        assert record["correct"] and record["value"] > 0
    assert streams._freshness(seconds=0.5, rate=1000)["correct"]
    assert streams._visible(pushes=20, is_durable=True)["correct"]
    assert streams._durable(rows=50_000, rounds=1)["correct"]
