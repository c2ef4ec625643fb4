"""Price what was kept, from whole byte-microseconds, exactly."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from mainspring.core import settings
from mainspring.core.contracts import control
from mainspring.core.contracts.storage import StoragePlace
from mainspring.core.cost import pricing
from mainspring.core.cost.idle import HOURS_PER_MONTH

__all__ = ["SERVICE", "SHARED", "price_storage"]

SERVICE: Final = "storage"
#: Files are of the project: none of its environments has them alone.
SHARED: Final = "shared"
_SKU: Final = "storage_gib_month"
_PER: Final = (1 << 30) * HOURS_PER_MONTH * 3_600_000_000


def price_storage(
    project: str,
    stored: Mapping[StoragePlace, int],
    since: datetime,
    until: datetime,
    book: settings.CostSettings,
) -> tuple[control.CostView, int]:
    """The charge for keeping `stored` bytes, by place, from `since` to `until`, with its cost in billionths, rounded half-even.

    A month has 730 hours. `run_id` is `storage/<project>`, there being no run.
    """
    units = sum(stored.values()) * ((until - since) // timedelta(microseconds=1))
    unit_price: float = getattr(book, _SKU)
    nanos = pricing.whole_nanos(units, unit_price, _PER)
    view = control.CostView(
        usage_key=f"{SERVICE}/{project}/{since.isoformat()}",
        run_id=f"{SERVICE}/{project}",
        project=project,
        environment=SHARED,
        service_name=SERVICE,
        sku_id=_SKU,
        consumed_quantity=units / _PER,
        consumed_unit=pricing.UNITS[_SKU],
        list_unit_price=unit_price,
        billed_cost=pricing.to_amount(nanos),
        billing_currency=book.currency,
        charge_period_start=since,
        charge_period_end=until,
    )
    return view, nanos
