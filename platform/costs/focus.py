"""Priced records as FinOps FOCUS rows (version 1.2), for the finance tools that read them.

Columns that FOCUS wants and that nothing here can fill, such as regions, are left out. `Tags` holds the project's tags as they
were when the use was put on record, with `project` and `environment`, which each record has by itself. What came after its
month was closed is a `Correction` of the month that it is billed in. Money keeps its billionths: decimal text in CSV and JSON, `decimal(38, 9)` in Parquet. Nothing is missing in
a row: what does not apply is an empty text.

`ListUnitPrice` and `ListCost` are those of nodes on demand, whatever the use ran on; `BilledCost` and `EffectiveCost` are by the
rate of its capacity, so that their difference is what spot and reserved nodes saved. `ContractedUnitPrice` and `ContractedCost`
are the list's, because FOCUS takes negotiated discounts into them and neither commitments' nor others: nobody has negotiated
here. `PricingCategory` is `Dynamic` of spot nodes, `Committed` of reserved ones and `Standard` of all else. Which commitment a
reserved node was of nothing here knows, so the columns of `CommitmentDiscount...` are left out as well.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import IO, Any, Final, Literal, TypeAlias

from mainspring.core.contracts import control
from mainspring.core.contracts.budgets import Period
from mainspring.core.contracts.capacity import Capacity
from mainspring.core.cost import closing, periods, pricing

__all__ = [
    "CATEGORIES",
    "COLUMNS",
    "VERSION",
    "Format",
    "Kind",
    "row",
    "service_category",
    "write",
    "write_rows",
]

VERSION: Final = "1.2"
_PAID: Final = ("BilledCost", "EffectiveCost")
_LISTED: Final = ("ContractedCost", "ListCost")
_MONEY: Final = (*_PAID, *_LISTED)
_PRICES: Final = ("ContractedUnitPrice", "ListUnitPrice")
_QUANTITIES: Final = ("ConsumedQuantity", "PricingQuantity")
_TIMES: Final = ("BillingPeriodStart", "BillingPeriodEnd", "ChargePeriodStart", "ChargePeriodEnd")
#: In this order, which is FOCUS's: by name.
COLUMNS: Final = (
    "BilledCost",
    "BillingAccountId",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "ContractedUnitPrice",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "ListUnitPrice",
    "PricingCategory",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "ResourceId",
    "ResourceType",
    "ServiceCategory",
    "ServiceName",
    "SkuId",
    "SubAccountId",
    "Tags",
    "x_UsageKey",
)
#: What a column holds.
Kind: TypeAlias = Literal["text", "money", "number", "time", "tags"]
_KINDS: Final[Mapping[str, Kind]] = {
    **dict.fromkeys(COLUMNS, "text"),
    **dict.fromkeys(_MONEY, "money"),
    **dict.fromkeys((*_PRICES, *_QUANTITIES), "number"),
    **dict.fromkeys(_TIMES, "time"),
    "Tags": "tags",
}
CATEGORIES: Final[Mapping[Capacity, str]] = {
    Capacity.ON_DEMAND: "Standard",
    Capacity.SPOT: "Dynamic",
    Capacity.RESERVED: "Committed",
}
_ISSUER: Final = "mainspring"
#: FOCUS's word by SKU, of what is not the work of a model.
_SERVICE_CATEGORIES: Final[Mapping[str, str]] = {
    "million_events": "Analytics",
    "storage_gib_month": "Storage",
}
#: A spreadsheet takes a cell that begins so for a formula.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


class Format(StrEnum):
    CSV = "csv"
    JSON = "json"
    """One object a line."""
    PARQUET = "parquet"


def row(cost: control.CostView) -> dict[str, Any]:
    """A priced record in FOCUS columns: money and quantities as `Decimal`, times as UTC `datetime`."""
    billed = Decimal(pricing.to_nanos(cost.billed_cost)).scaleb(-9)
    listed = Decimal(pricing.list_nanos(cost)).scaleb(-9)
    price, quantity = Decimal(repr(cost.list_unit_price)), Decimal(repr(cost.consumed_quantity))
    own = periods.span(Period.MONTH, cost.charge_period_start)
    began, ended = closing.span_of(cost.billed_in) if cost.billed_in else own
    resource, _, name = cost.run_id.rpartition("/")
    return {
        **dict.fromkeys(_PAID, billed),
        **dict.fromkeys(_LISTED, listed),
        **dict.fromkeys(_PRICES, price),
        **dict.fromkeys(_QUANTITIES, quantity),
        "BillingAccountId": _ISSUER,
        "BillingCurrency": cost.billing_currency,
        "BillingPeriodEnd": ended,
        "BillingPeriodStart": began,
        "ChargeCategory": "Usage",
        "ChargeClass": "Correction" if cost.billed_in else "",
        "ChargeDescription": f"{cost.sku_id} of {cost.service_name}",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodEnd": cost.charge_period_end.astimezone(UTC),
        "ChargePeriodStart": cost.charge_period_start.astimezone(UTC),
        "ConsumedUnit": cost.consumed_unit,
        "InvoiceIssuerName": _ISSUER,
        "PricingCategory": CATEGORIES[cost.capacity],
        "PricingUnit": cost.consumed_unit,
        "ProviderName": _ISSUER,
        "PublisherName": _ISSUER,
        "ResourceId": name,
        "ResourceType": resource or "run",
        "ServiceCategory": service_category(cost.sku_id),
        "ServiceName": cost.service_name,
        "SkuId": cost.sku_id,
        "SubAccountId": cost.project,
        "Tags": {**cost.tags, "project": cost.project, "environment": cost.environment},
        "x_UsageKey": cost.usage_key,
    }


def write(costs: Iterable[control.CostView], file: IO[bytes], form: Format) -> int:
    """Write the rows, and say how many. CSV and JSON are written as they come; Parquet is held in memory first."""
    return write_rows(map(row, costs), _KINDS, file, form)


def write_rows(
    rows: Iterable[Mapping[str, Any]], columns: Mapping[str, Kind], file: IO[bytes], form: Format
) -> int:
    """As :func:`write`, of rows that have these columns: money and quantities as `Decimal` or None, times as UTC `datetime`."""
    if form is Format.PARQUET:
        return _write_parquet(rows, columns, file)
    pieces = (
        _csv(rows, columns)
        if form is Format.CSV
        else (json.dumps({name: _plain(found[name]) for name in columns}) + "\n" for found in rows)
    )
    count = -1 if form is Format.CSV else 0  # the header is no row
    for piece in pieces:
        file.write(piece.encode())
        count += 1
    return count


def service_category(sku: str) -> str:
    """FOCUS's word for what a SKU is."""
    return _SERVICE_CATEGORIES.get(sku, "AI and Machine Learning")


def _csv(rows: Iterable[Mapping[str, Any]], columns: Iterable[str]) -> Iterator[str]:
    def line(cells: Iterable[str]) -> str:
        text = io.StringIO(newline="")
        csv.writer(text).writerow(cells)  # RFC 4180: lines end in CR LF, and cells with either are quoted
        return text.getvalue()

    names = list(columns)
    yield line(names)
    for found in rows:
        yield line(_cell(found[name]) for name in names)


def _cell(value: Any) -> str:
    """Text that a spreadsheet would compute is marked as text; an amount below 0 is a number, and stays one."""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, dict) else str(_plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value:f}"
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value


def _write_parquet(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, Kind], file: IO[bytes]) -> int:
    import polars as pl

    types: dict[Kind, Any] = {
        "money": pl.Decimal(38, 9),
        "number": pl.Float64,
        "time": pl.Datetime("us", "UTC"),
        "text": pl.String,
        "tags": pl.String,
    }

    def stored(kind: Kind, value: Any) -> Any:
        if kind == "tags":
            return json.dumps(value)
        return float(value) if kind == "number" else value

    made = [{name: stored(kind, found[name]) for name, kind in columns.items()} for found in rows]
    schema = {name: types[kind] for name, kind in columns.items()}
    pl.DataFrame(made, schema=schema).write_parquet(file)
    return len(made)
