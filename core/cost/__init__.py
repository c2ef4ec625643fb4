"""What usage costs: pure, exact arithmetic over usage records and a price book."""

from mainspring.core.cost.pricing import UNITS, cost_nanos, price, to_amount, to_nanos
from mainspring.core.cost.serving import price_serving

__all__ = ["UNITS", "cost_nanos", "price", "price_serving", "to_amount", "to_nanos"]
