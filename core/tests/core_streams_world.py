"""A small stream over every aggregate, events of it as records, and what the batch says of the same events."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from mainspring.core.features import frames, windows
from mainspring.core.features.streams.definition import Field, StreamDefinition, WindowedView
from mainspring.core.features.streams.keys import ViewRows
from mainspring.core.features.streams.records import Records, records
from mainspring.core.features.streams.state import StreamState

SECOND = 1_000_000
#: Some instant of 2013, on a boundary of every hop that tests use.
T0 = 1_357_000_200 * SECOND

EVERY_HOW = (
    *(windows.Aggregate(how, how, "amount") for how in ("mean", "sum", "count", "min", "max", "last")),
    windows.Aggregate("events", "rows"),
    windows.Aggregate("paid_share", "mean", "paid"),
    *(windows.Aggregate(f"price_{how}", how, "price") for how in ("count", "min", "max", "last")),
)

STREAM = StreamDefinition(
    name="orders",
    topic="orders.v1",
    fields=(
        Field("order", "string"),
        Field("at_us", "int64"),
        Field("shop", "string"),
        Field("customer", "int64"),
        Field("amount", "int64"),
        Field("paid", "bool"),
        Field("price", "float64"),
    ),
    event_time="at_us",
    event_id="order",
    hop=timedelta(minutes=1),
    views=(
        WindowedView("shop_5m", ("shop",), timedelta(minutes=5), EVERY_HOW),
        WindowedView("shop_6h", ("shop",), timedelta(hours=6), EVERY_HOW[:3]),
        WindowedView("shop_customer_1h", ("shop", "customer"), timedelta(hours=1), EVERY_HOW),
    ),
    allowed_lateness=timedelta(days=30),
)

POLARS = {"int64": pl.Int64, "float64": pl.Float64, "bool": pl.Boolean, "string": pl.String}

Event = dict[str, Any]


def event(seconds: int, **fields: Any) -> Event:
    """An event `seconds` after T0 whose id is its own content, unless one is given."""
    made = {"at_us": T0 + seconds * SECOND} | fields
    return {"order": json.dumps(made, sort_keys=True)} | made


def encoded(events: Iterable[Event]) -> list[bytes]:
    return [json.dumps(e).encode() for e in events]


def batch(events: Sequence[Event], *, partition: Any = 0, first_offset: int = 0) -> Records:
    """Records taken the moment after the newest of them happened."""
    newest = max((e["at_us"] for e in events), default=0)
    return records(encoded(events), timestamp_us=newest, partition=partition, first_offset=first_offset)


def with_lateness(seconds: float, **changes: Any) -> StreamDefinition:
    return replace(STREAM, allowed_lateness=timedelta(seconds=seconds), **changes)


def batch_rows(events: Sequence[Event], stream: StreamDefinition, view: WindowedView) -> pl.DataFrame:
    """What `windows.trailing` says: one row a key and hop."""
    columns = {
        f.name: pl.Series(f.name, [e.get(f.name) for e in events], POLARS[f.type]) for f in stream.fields
    }
    frame = pl.DataFrame(columns).with_columns(pl.col(stream.event_time).cast(frames.TIME).alias("known_at"))
    return windows.trailing(
        frame,
        keys=view.keys,
        known_at="known_at",
        window=view.window,
        hop=stream.hop,
        aggregates=view.aggregates,
    )


def bits(values: Any) -> list[int]:
    """float32 bits; every null and NaN is one."""
    array = np.array([np.nan if v is None else v for v in values], np.float32)
    array[np.isnan(array)] = np.nan
    return array.view(np.uint32).tolist()


def newest_of_batch(rows: pl.DataFrame, view: WindowedView) -> dict[tuple[Any, ...], list[int]]:
    """By key, the bits of the batch's last row."""
    last = rows.sort(windows.EVENT).unique(view.keys, keep="last")
    names = [a.name for a in view.aggregates]
    return {tuple(r[k] for k in view.keys): bits(r[n] for n in names) for r in last.iter_rows(named=True)}


def newest_of_rows(rows: ViewRows) -> dict[tuple[Any, ...], list[int]]:
    """By key, the bits of a stream's rows."""
    columns = list(rows.columns.values())
    return {
        key: bits(column[i] for column in columns)
        for i, key in enumerate(zip(*rows.keys.values(), strict=True))
    }


def every_window(state: StreamState, view: WindowedView, rows: pl.DataFrame) -> list[list[int]]:
    """What the tiles say of each row of a batch: same key, same boundary."""
    keys = next(k for k in state.key_sets if k.fields == view.keys)
    names = list(rows.select(view.keys).iter_rows())
    numbers = np.array([keys.number_of(n if len(view.keys) > 1 else n[0]) for n in names], np.int64)
    last = rows[windows.EVENT].to_physical().to_numpy() // state.stream.hop_us
    columns = list(keys.values(view, numbers, last).values())
    return [bits(column[i] for column in columns) for i in range(len(names))]
