"""Costs add up exactly, and nothing is priced that the book does not name."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core import cost, errors, settings
from mainspring.core.contracts import training
from mainspring.core.cost import keeping

BOOK = settings.CostSettings()
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
    no_prices = {"currency", "run_reservation", "reservation_hours", "storage_minutes"}
    assert set(cost.UNITS) == set(settings.CostSettings.model_fields) - no_prices


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
)


@given(records)
def test_a_price_is_within_half_a_billionth_of_the_truth(record: training.UsageRecord) -> None:
    exact = Fraction(repr(record.consumed_quantity)) * Fraction(repr(getattr(BOOK, record.sku)))
    assert abs(Fraction(cost.cost_nanos(record, BOOK)) - exact * 10**9) <= Fraction(1, 2)


@given(st.integers(0, 4_500_000 * 10**9))
def test_amounts_hold_every_billionth(nanos: int) -> None:
    assert cost.to_nanos(cost.to_amount(nanos)) == nanos


def test_what_is_kept_and_made_costs_by_the_book() -> None:
    book = settings.CostSettings(storage_gib_month=0.5, memory_gib_hour=0.01, cpu_core_hour=0.36)
    kept = keeping.Kept(stored_bytes=1 << 31, memory_bytes=1 << 30, seconds=10.0)
    assert keeping.cost_per_month(kept, made_per_month=30, book=book) == 1.0 + 7.3 + 0.03
    nothing = keeping.Kept(stored_bytes=0, memory_bytes=0, seconds=0.0)
    assert keeping.cost_per_month(nothing, made_per_month=30, book=book) == 0.0
