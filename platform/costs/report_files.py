"""Reports as files: a row a line of a chargeback, or a receiver of a showback, in FOCUS columns and, for what FOCUS has no word for, `x_` ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import IO, Any, Final

from mainspring.core import cost
from mainspring.core.contracts import cost_reports as contracts
from mainspring.platform.costs import focus, store

__all__ = ["CHARGEBACK", "SHOWBACK", "write"]

#: In FOCUS's order: by name.
CHARGEBACK: Final[Mapping[str, focus.Kind]] = {
    "BilledCost": "money",
    "BillingCurrency": "text",
    "BillingPeriodEnd": "time",
    "BillingPeriodStart": "time",
    "ChargeCategory": "text",
    "ChargeClass": "text",
    "PricingCategory": "text",
    "ServiceCategory": "text",
    "ServiceName": "text",
    "SkuId": "text",
    "SubAccountId": "text",
    "Tags": "tags",
    "x_AllocationRule": "text",
    "x_IsShare": "text",
    "x_Receiver": "text",
}
SHOWBACK: Final[Mapping[str, focus.Kind]] = {
    "BilledCost": "money",
    "BillingCurrency": "text",
    "BillingPeriodEnd": "time",
    "BillingPeriodStart": "time",
    "SubAccountId": "text",
    "Tags": "tags",
    "x_BilledCostBefore": "money",
    "x_Budget": "money",
    "x_Change": "money",
    "x_Forecast": "money",
    "x_Receiver": "text",
}


def write(report: contracts.Chargeback | contracts.Showback, file: IO[bytes], form: focus.Format) -> int:
    """Write the rows, and say how many. The same report is the same bytes."""
    if isinstance(report, contracts.Chargeback):
        return focus.write_rows(_charged(report), CHARGEBACK, file, form)
    return focus.write_rows(_shown(report), SHOWBACK, file, form)


def _charged(report: contracts.Chargeback) -> Iterator[dict[str, Any]]:
    for one in report.lines:
        yield {
            **_of(report, one.receiver),
            "BilledCost": _money(one.billed_cost),
            "ChargeCategory": "Usage",
            "ChargeClass": "Correction" if one.is_correction else "",
            "PricingCategory": focus.CATEGORIES[one.capacity],
            "ServiceCategory": focus.service_category(one.sku_id),
            "ServiceName": one.service_name,
            "SkuId": one.sku_id,
            "x_AllocationRule": str(report.split) if one.is_share else "",
            "x_IsShare": "true" if one.is_share else "false",
        }


def _shown(report: contracts.Showback) -> Iterator[dict[str, Any]]:
    for one in report.receivers:
        yield {
            **_of(report, one.receiver),
            "BilledCost": _money(one.cost),
            "x_BilledCostBefore": _money(one.cost_before),
            "x_Budget": None if one.budget is None else _money(one.budget),
            "x_Change": _money(one.change),
            "x_Forecast": _money(one.forecast),
        }
    if report.shared:
        yield {
            **_of(report, contracts.SHARED),
            "BilledCost": _money(report.shared),
            "x_BilledCostBefore": None,
            "x_Budget": None,
            "x_Change": None,
            "x_Forecast": None,
        }


def _of(report: contracts.Chargeback | contracts.Showback, receiver: str) -> dict[str, Any]:
    is_project, key = report.by == "project", report.by.removeprefix(store.TAG)
    is_known = receiver != contracts.SHARED
    return {
        "BillingCurrency": report.currency,
        "BillingPeriodEnd": report.ends,
        "BillingPeriodStart": report.begins,
        "SubAccountId": receiver if is_project and is_known else "",
        "Tags": {key: receiver} if is_known else {},
        "x_Receiver": receiver,
    }


def _money(amount: float) -> Decimal:
    return Decimal(cost.to_nanos(amount)).scaleb(-9)
