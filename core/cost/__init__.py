"""What usage costs: pure, exact arithmetic over usage records and a price book."""

from mainspring.core.cost.pricing import (
    UNITS,
    cost_nanos,
    list_nanos,
    price,
    rate_of,
    to_amount,
    to_nanos,
    unit_price,
)
from mainspring.core.cost.serving import price_serving
from mainspring.core.cost.storage import price_storage

__all__ = [
    "UNITS",
    "cost_nanos",
    "list_nanos",
    "price",
    "price_serving",
    "price_storage",
    "rate_of",
    "to_amount",
    "to_nanos",
    "unit_price",
]
