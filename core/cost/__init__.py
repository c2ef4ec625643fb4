"""What usage costs: pure, exact arithmetic over usage records and a price book."""

from mainspring.core.cost.pricing import UNITS, cost_nanos, price, to_amount, to_nanos
from mainspring.core.cost.serving import price_serving
from mainspring.core.cost.storage import price_storage

__all__ = ["UNITS", "cost_nanos", "price", "price_serving", "price_storage", "to_amount", "to_nanos"]
