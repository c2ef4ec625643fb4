"""Price what serving used, from whole units, exactly."""

from __future__ import annotations

from typing import Final

from mainspring.core import errors, settings
from mainspring.core.contracts import control, metering
from mainspring.core.contracts.capacity import Capacity
from mainspring.core.cost import pricing

SERVICE: Final = "serving"
_MICROSECONDS_PER_HOUR: Final = 3_600_000_000


def price_serving(
    usage: metering.ServingUsage, book: settings.CostSettings
) -> tuple[tuple[control.CostView, int], ...]:
    """Its two charges, predictions and CPU, each with its cost in billionths, rounded half-even; CPU by the rate of its capacity.

    The charge's own keys derive from `usage_key`; `run_id` is `endpoint/<name>`, there being no run.
    Errors: InvalidRequest if the window ends before it starts.
    """
    if usage.ended_at < usage.started_at:
        raise errors.InvalidRequest(
            f"usage `{usage.usage_key}` ends before it starts; correct the meter's clock", field="ended_at"
        )
    return (
        _charge(usage, book, "thousand_predictions", usage.predictions, 1000),
        _charge(usage, book, "cpu_core_hour", usage.cpu_microseconds, _MICROSECONDS_PER_HOUR),
    )


def _charge(
    usage: metering.ServingUsage, book: settings.CostSettings, sku: str, units: int, per: int
) -> tuple[control.CostView, int]:
    nanos = pricing.whole_nanos(units, pricing.unit_price(book, sku, usage.capacity), per)
    view = control.CostView(
        usage_key=f"{SERVICE}/{usage.usage_key}/{sku}",
        run_id=f"endpoint/{usage.endpoint}",
        project=usage.project,
        environment=usage.environment,
        service_name=SERVICE,
        sku_id=sku,
        consumed_quantity=units / per,
        consumed_unit=pricing.UNITS[sku],
        list_unit_price=pricing.unit_price(book, sku, Capacity.ON_DEMAND),
        billed_cost=pricing.to_amount(nanos),
        billing_currency=book.currency,
        charge_period_start=usage.started_at,
        charge_period_end=usage.ended_at,
        capacity=pricing.rate_of(sku, usage.capacity),
    )
    return view, nanos
