"""Costs add up exactly, and nothing is priced that the book does not name."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mainspring.core import cost, errors, settings
from mainspring.core.contracts import control, training
from mainspring.core.contracts.capacity import Capacity
from mainspring.core.cost import keeping

BOOK = settings.CostSettings()
ON_DEMAND = Capacity.ON_DEMAND
START = datetime(2026, 11, 1, tzinfo=UTC)


def usage(quantity: float = 2.0, sku: str = "cpu_core_hour", **fields: object) -> training.UsageRecord:
    given = {
        "usage_key": "k",
        "run_id": "run_a",
        "project": "flight-delay",
        "service": "ray-train",
        "sku": sku,
        "consumed_quantity": quantity,
        "consumed_unit": cost.UNITS.get(sku, "things"),
        "started_at": START,
        "ended_at": START + timedelta(hours=1),
    }
    return training.UsageRecord.model_validate({**given, **fields})


def test_price_is_quantity_times_the_book() -> None:
    view = cost.price(usage(2.5), BOOK)
    assert (view.billed_cost, view.list_unit_price, view.billing_currency) == (0.1, 0.04, "USD")
    assert (view.service_name, view.sku_id, view.charge_period_start) == ("ray-train", "cpu_core_hour", START)


def test_every_unit_has_a_price_in_the_book() -> None:
    no_prices = {
        *("currency", "run_reservation", "reservation_hours", "storage_minutes", "close_days"),
        *("required_tags", "enforce_tags", "shared_projects"),
    }
    rates = {
        f"{rate}_{sku}" for sku in cost.UNITS for rate in Capacity if cost.rate_of(sku, rate) is not ON_DEMAND
    }
    assert set(cost.UNITS) | rates == set(settings.CostSettings.model_fields) - no_prices


@pytest.mark.parametrize(
    ("sku", "prices"),
    [
        ("cpu_core_hour", (0.04, 0.013, 0.024)),
        ("memory_gib_hour", (0.005, 0.0017, 0.003)),
        ("gpu_hour", (2.5, 0.85, 1.5)),
        ("thousand_predictions", (0.001, 0.001, 0.001)),
        ("storage_gib_month", (0.023, 0.023, 0.023)),
        ("million_events", (0.08, 0.08, 0.08)),
    ],
)
def test_each_capacity_has_its_rate(sku: str, prices: tuple[float, ...]) -> None:
    for capacity, paid in zip(Capacity, prices, strict=True):
        record = usage(1.000000001, sku=sku, capacity=capacity)
        view = cost.price(record, BOOK)
        exact = Fraction("1.000000001") * Fraction(repr(paid)) * 10**9
        assert cost.to_nanos(view.billed_cost) == cost.cost_nanos(record, BOOK) == round(exact)
        assert view.list_unit_price == prices[0], "what it would be on demand"
        assert view.capacity is (capacity if prices[1] != prices[0] else ON_DEMAND)


def test_rates_are_settings_like_all(tmp_path: Path) -> None:
    (tmp_path / "mainspring.toml").write_text("[cost]\nspot_gpu_hour = 0.5\n")
    book = settings.load({"MAINSPRING_COST_RESERVED_CPU_CORE_HOUR": "0.03"}, directory=tmp_path).cost
    assert cost.price(usage(2.0, "gpu_hour", capacity="spot"), book).billed_cost == 1.0
    assert cost.price(usage(2.0, capacity="reserved"), book).billed_cost == 0.06
    with pytest.raises(errors.InvalidSettings, match=r"cost\.spot_gpu_hour"):
        settings.load({"MAINSPRING_COST_SPOT_GPU_HOUR": "-1"}, directory=tmp_path)


def test_what_an_older_release_wrote_is_on_demand() -> None:
    old = usage().model_dump(mode="json", exclude={"capacity"})
    assert training.UsageRecord.model_validate(old) == usage(capacity="on-demand")
    view = cost.price(usage(), BOOK)
    kept = control.CostView.model_validate(view.model_dump(mode="json", exclude={"capacity"}))
    assert kept == view and cost.list_nanos(kept) == cost.to_nanos(kept.billed_cost)
    with pytest.raises(ValidationError, match="'on-demand', 'spot' or 'reserved'"):
        usage(capacity="borrowed")


@pytest.mark.parametrize(
    ("record", "field"),
    [
        (usage(sku="moon_hour"), "sku"),
        (usage(consumed_unit="seconds"), "consumed_unit"),
        (usage(quantity=float("inf")), "consumed_quantity"),
        (usage(ended_at=START - timedelta(seconds=1)), "ended_at"),
    ],
)
def test_what_the_book_cannot_price_is_refused(record: training.UsageRecord, field: str) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        cost.price(record, BOOK)
    assert caught.value.field == field


records = st.builds(
    usage,
    quantity=st.floats(0, 1000, allow_nan=False),
    sku=st.sampled_from(sorted(cost.UNITS)),
    project=st.sampled_from(["aa", "bb", "cc"]),
    run_id=st.sampled_from(["run_a", "run_b"]),
    service=st.sampled_from(["ray-train", "serving"]),
    capacity=st.sampled_from(list(Capacity)),
)


@given(records)
def test_a_price_is_within_half_a_billionth_of_the_truth(record: training.UsageRecord) -> None:
    quantity = Fraction(repr(record.consumed_quantity))
    paid, listed = (
        quantity * Fraction(repr(cost.unit_price(BOOK, record.sku, one))) * 10**9
        for one in (record.capacity, ON_DEMAND)
    )
    assert abs(Fraction(cost.cost_nanos(record, BOOK)) - paid) <= Fraction(1, 2)
    assert abs(Fraction(cost.list_nanos(cost.price(record, BOOK))) - listed) <= Fraction(1, 2)


@given(st.lists(records, max_size=30))
def test_capacities_add_up_to_what_was_paid(used: list[training.UsageRecord]) -> None:
    views = [cost.price(one, BOOK) for one in used]
    by_rate = {
        rate: sum(cost.to_nanos(v.billed_cost) for v in views if v.capacity is rate) for rate in Capacity
    }
    assert sum(by_rate.values()) == sum(cost.cost_nanos(one, BOOK) for one in used)


@given(st.integers(0, 4_500_000 * 10**9))
def test_amounts_hold_every_billionth(nanos: int) -> None:
    assert cost.to_nanos(cost.to_amount(nanos)) == nanos


def test_what_is_kept_and_made_costs_by_the_book() -> None:
    book = settings.CostSettings(storage_gib_month=0.5, memory_gib_hour=0.01, cpu_core_hour=0.36)
    kept = keeping.Kept(stored_bytes=1 << 31, memory_bytes=1 << 30, seconds=10.0)
    assert keeping.cost_per_month(kept, made_per_month=30, book=book) == 1.0 + 7.3 + 0.03
    nothing = keeping.Kept(stored_bytes=0, memory_bytes=0, seconds=0.0)
    assert keeping.cost_per_month(nothing, made_per_month=30, book=book) == 0.0
