"""Price one usage record.

Sums are of integer billionths of the currency, so groups add up to their total exactly, whatever the order. Amounts
leave as floats, which hold every billionth up to :data:`EXACT_BELOW`.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from types import MappingProxyType
from typing import Final

from mainspring.core import errors, settings
from mainspring.core.contracts import control, training
from mainspring.core.contracts.capacity import Capacity

#: Price-book entry -> the unit its price is for.
UNITS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "cpu_core_hour": "core-hours",
        "memory_gib_hour": "GiB-hours",
        "gpu_hour": "gpu-hours",
        "thousand_predictions": "thousands",
        "storage_gib_month": "GiB-months",
        "million_events": "millions",
    }
)

#: What nodes differ in: the book has a rate for each capacity.
_RATED: Final = frozenset({"cpu_core_hour", "memory_gib_hour", "gpu_hour"})

#: 2^52 billionths: below this amount a float names every billionth.
EXACT_BELOW: Final = 4_500_000.0

_NANOS: Final = Decimal(10) ** 9


def price(record: training.UsageRecord, book: settings.CostSettings) -> control.CostView:
    """The record with its price in the book's currency by the rate of its capacity, rounded half-even to a billionth.

    Errors: InvalidRequest for an unknown SKU, a unit that is not the SKU's, a quantity that is not finite, or a
    period that ends before it starts.
    """
    nanos = cost_nanos(record, book)
    return control.CostView(
        usage_key=record.usage_key,
        run_id=record.run_id,
        project=record.project,
        environment=record.environment,
        service_name=record.service,
        sku_id=record.sku,
        consumed_quantity=record.consumed_quantity,
        consumed_unit=record.consumed_unit,
        list_unit_price=unit_price(book, record.sku, Capacity.ON_DEMAND),
        billed_cost=to_amount(nanos),
        billing_currency=book.currency,
        charge_period_start=record.started_at,
        charge_period_end=record.ended_at,
        capacity=rate_of(record.sku, record.capacity),
    )


def cost_nanos(record: training.UsageRecord, book: settings.CostSettings) -> int:
    """The record's cost in billionths of the book's currency. Errors: as :func:`price`."""
    _check_unit(record)
    quantity = Decimal(repr(record.consumed_quantity))
    if not quantity.is_finite():
        raise errors.InvalidRequest(
            f"`consumed_quantity` is {record.consumed_quantity}, expected a finite number; correct the meter",
            field="consumed_quantity",
        )
    if record.ended_at < record.started_at:
        raise errors.InvalidRequest(
            f"usage `{record.usage_key}` ends before it starts; correct the meter's clock", field="ended_at"
        )
    return _round(quantity * Decimal(repr(unit_price(book, record.sku, record.capacity))))


def list_nanos(view: control.CostView) -> int:
    """What it would have cost on demand, in billionths."""
    if view.capacity is Capacity.ON_DEMAND:
        return to_nanos(view.billed_cost)  # of whole units, where the quantity is a quotient of them
    return _round(Decimal(repr(view.consumed_quantity)) * Decimal(repr(view.list_unit_price)))


def rate_of(sku: str, capacity: Capacity) -> Capacity:
    """By whose rate `sku` is billed on `capacity`: by that of on-demand, where nodes do not differ in it."""
    return capacity if sku in _RATED else Capacity.ON_DEMAND


def unit_price(book: settings.CostSettings, sku: str, capacity: Capacity) -> float:
    """Of one unit of a SKU of :data:`UNITS`, in the book's currency."""
    rate = rate_of(sku, capacity)
    return float(getattr(book, sku if rate is Capacity.ON_DEMAND else f"{rate}_{sku}"))


def to_nanos(amount: float) -> int:
    """Billionths of an amount; the inverse of :func:`to_amount` below :data:`EXACT_BELOW`."""
    return _round(Decimal(repr(amount)))


def to_amount(nanos: int) -> float:
    """The amount of `nanos` billionths, as the nearest float."""
    return float(Decimal(nanos) / _NANOS)


def whole_nanos(units: int, unit_price: float, per: int) -> int:
    """Billionths that `units` cost at `unit_price` for each `per` of them, rounded half-even once."""
    with localcontext(prec=60):
        # Units before the division: the quotient may have no finite decimal form.
        exact = Decimal(units) * Decimal(repr(unit_price)) * _NANOS / per
        return int(exact.quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


def _round(amount: Decimal) -> int:
    with localcontext(prec=60):
        return int((amount * _NANOS).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


def _check_unit(record: training.UsageRecord) -> None:
    unit = UNITS.get(record.sku)
    if unit is None:
        raise errors.InvalidRequest(
            f"`{record.sku}` is not in the price book; use one of {', '.join(f'`{s}`' for s in UNITS)}",
            field="sku",
        )
    if unit != record.consumed_unit:
        raise errors.InvalidRequest(
            f"`{record.sku}` is priced per `{unit}`, usage is in `{record.consumed_unit}`; convert it first",
            field="consumed_unit",
        )
