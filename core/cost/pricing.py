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

#: 2^52 billionths: below this amount a float names every billionth.
EXACT_BELOW: Final = 4_500_000.0

_NANOS: Final = Decimal(10) ** 9


def price(record: training.UsageRecord, book: settings.CostSettings) -> control.CostView:
    """The record with its price in the book's currency, rounded half-even to a billionth.

    Errors: InvalidRequest for an unknown SKU, a unit that is not the SKU's, a quantity that is not finite, or a
    period that ends before it starts.
    """
    return control.CostView(
        usage_key=record.usage_key,
        run_id=record.run_id,
        project=record.project,
        environment=record.environment,
        service_name=record.service,
        sku_id=record.sku,
        consumed_quantity=record.consumed_quantity,
        consumed_unit=record.consumed_unit,
        list_unit_price=float(_unit_price(record, book)),
        billed_cost=to_amount(cost_nanos(record, book)),
        billing_currency=book.currency,
        charge_period_start=record.started_at,
        charge_period_end=record.ended_at,
    )


def cost_nanos(record: training.UsageRecord, book: settings.CostSettings) -> int:
    """The record's cost in billionths of the book's currency. Errors: as :func:`price`."""
    unit_price = _unit_price(record, book)
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
    return _round(quantity * unit_price)


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


def _unit_price(record: training.UsageRecord, book: settings.CostSettings) -> Decimal:
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
    return Decimal(repr(getattr(book, record.sku)))
