"""FOCUS rows keep every billionth, in each format, and no cell of them is a formula."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import hypothesis
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core import cost, settings
from mainspring.core.contracts import control, training
from mainspring.core.contracts.capacity import Capacity
from mainspring.platform.costs import focus

BOOK = settings.CostSettings()
DECEMBER = datetime(2026, 12, 31, 23, 30, tzinfo=UTC)


def priced(quantity: float = 2.5, **fields: Any) -> control.CostView:
    given = {
        "usage_key": "k",
        "run_id": "run_a",
        "project": "flight-delay",
        "service": "ray-train",
        "sku": "cpu_core_hour",
        "consumed_quantity": quantity,
        "consumed_unit": "core-hours",
        "started_at": DECEMBER,
        "ended_at": DECEMBER + timedelta(hours=1),
    }
    return cost.price(training.UsageRecord.model_validate({**given, **fields}), BOOK)


def written(costs: list[control.CostView], form: focus.Format) -> tuple[int, bytes]:
    out = io.BytesIO()
    return focus.write(costs, out, form), out.getvalue()


def test_a_row_has_focus_columns() -> None:
    found = focus.row(priced(run_id="endpoint/delay"))
    assert tuple(sorted(found)) == focus.COLUMNS == tuple(sorted(focus.COLUMNS))
    assert (found["BilledCost"], found["ListUnitPrice"]) == (Decimal("0.1"), Decimal("0.04"))
    assert (found["ResourceType"], found["ResourceId"]) == ("endpoint", "delay")
    assert (found["SubAccountId"], found["Tags"]["environment"]) == ("flight-delay", "dev")
    assert found["BillingPeriodStart"] == datetime(2026, 12, 1, tzinfo=UTC)
    assert found["BillingPeriodEnd"] == datetime(2027, 1, 1, tzinfo=UTC), "the month that the use began in"
    assert focus.row(priced())["ResourceType"] == "run"
    long_ago = datetime(999, 2, 3, tzinfo=UTC)
    found = focus.row(priced(started_at=long_ago, ended_at=long_ago))
    assert found["BillingPeriodStart"] == datetime(999, 2, 1, tzinfo=UTC), (
        "a clock that was wrong ends no export"
    )


@pytest.mark.parametrize(
    ("sku", "unit", "category"),
    [
        ("million_events", "millions", "Analytics"),
        ("storage_gib_month", "GiB-months", "Storage"),
        ("memory_gib_hour", "GiB-hours", "AI and Machine Learning"),
    ],
)
def test_what_is_no_model_s_work_has_its_own_category(sku: str, unit: str, category: str) -> None:
    found = focus.row(priced(run_id="stream/orders", service="streams", sku=sku, consumed_unit=unit))
    assert found["ServiceCategory"] == category and found["ConsumedUnit"] == unit
    assert (found["ResourceType"], found["ResourceId"]) == ("stream", "orders")


@pytest.mark.parametrize(
    ("capacity", "category", "paid"),
    [("on-demand", "Standard", "0.1"), ("spot", "Dynamic", "0.0325"), ("reserved", "Committed", "0.06")],
)
def test_costs_are_by_the_rate_and_the_list_is_that_of_on_demand(
    capacity: str, category: str, paid: str
) -> None:
    found = focus.row(priced(2.5, capacity=capacity))
    assert (found["PricingCategory"], found["BilledCost"]) == (category, Decimal(paid))
    assert found["EffectiveCost"] == found["BilledCost"]
    assert found["ListCost"] == found["ContractedCost"] == Decimal("0.1")
    for price, costs in (("ListUnitPrice", "ListCost"), ("ContractedUnitPrice", "ContractedCost")):
        assert found[price] * found["PricingQuantity"] == found[costs], "as FOCUS asks"


def test_what_has_one_price_is_standard_wherever_it_was() -> None:
    found = focus.row(priced(2.5, sku="thousand_predictions", consumed_unit="thousands", capacity="spot"))
    assert found["PricingCategory"] == "Standard" and found["ListCost"] == found["BilledCost"]


@hypothesis.settings(deadline=None)  # the first example imports what writes Parquet
@given(st.lists(st.tuples(st.floats(0, 1e6, allow_nan=False), st.sampled_from(list(Capacity))), max_size=20))
def test_every_format_adds_up_to_the_billionth(used: list[tuple[float, Capacity]]) -> None:
    costs = [priced(quantity, capacity=capacity) for quantity, capacity in used]
    total = sum(cost.to_nanos(c.billed_cost) for c in costs)
    for form in focus.Format:
        count, content = written(costs, form)
        assert count == len(costs)
        if form is focus.Format.CSV:
            amounts = [Decimal(r["BilledCost"]) for r in csv.DictReader(io.StringIO(content.decode()))]
        elif form is focus.Format.JSON:
            amounts = [Decimal(json.loads(line)["BilledCost"]) for line in content.splitlines()]
        else:
            amounts = pl.read_parquet(content)["BilledCost"].to_list()
        assert sum(amounts, Decimal()) == Decimal(total).scaleb(-9)


def test_parquet_has_types() -> None:
    frame = pl.read_parquet(written([priced()], focus.Format.PARQUET)[1])
    assert frame.schema["BilledCost"] == pl.Decimal(38, 9)
    assert frame.schema["ChargePeriodStart"] == pl.Datetime("us", "UTC")
    assert frame["ConsumedQuantity"].to_list() == [2.5]
    assert pl.read_parquet(written([], focus.Format.PARQUET)[1]).schema == frame.schema


@pytest.mark.parametrize(
    "evil", ['=HYPERLINK("x")', "+1", "-1+cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", "\r=1"]
)
def test_no_cell_is_a_formula(evil: str) -> None:
    _, content = written([priced(service=evil, run_id=evil, usage_key=evil)], focus.Format.CSV)
    (found,) = csv.DictReader(io.StringIO(content.decode(), newline=""))
    assert all(not cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in found.values())
    assert found["ServiceName"] == "'" + evil
    told = json.loads(written([priced(service=evil)], focus.Format.JSON)[1])
    assert told["ServiceName"] == evil, "only spreadsheets compute"
