"""A stream of card payments to measure with, and what the batch says of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mainspring.core import ports
from mainspring.core.features import frames, windows
from mainspring.core.features.streams.definition import Field, StreamDefinition, WindowedView

_AGGREGATES = (
    windows.Aggregate("payments", "rows"),
    windows.Aggregate("total", "sum", "amount"),
    windows.Aggregate("mean", "mean", "amount"),
    windows.Aggregate("riskiest", "max", "risk"),
)

#: Six fields of an event, a window of one hour and one of thirty days in hops of ten minutes, by card.
STREAM = StreamDefinition(
    name="payments",
    topic="payments.v1",
    fields=(
        Field("id", "string", is_required=True),
        Field("at_us", "int64"),
        Field("card", "int64", is_required=True),
        Field("merchant", "string"),
        Field("amount", "int64"),
        Field("risk", "float64"),
    ),
    event_time="at_us",
    event_id="id",
    hop=timedelta(minutes=10),
    views=(
        WindowedView("card_1h", ("card",), timedelta(hours=1), _AGGREGATES),
        WindowedView("card_30d", ("card",), timedelta(days=30), _AGGREGATES),
    ),
)


@dataclass(frozen=True)
class Payments:
    """Events of three days that end now, each as its producer sends it, in order of time."""

    frame: pl.DataFrame
    values: list[bytes]
    at_us: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.values)


def make(n: int, *, cards: int, now_us: int, span: timedelta = timedelta(days=3)) -> Payments:
    """`n` payments by `cards` cards, the same whenever it is asked but for their times."""
    choose = np.random.default_rng(11)
    at_us = now_us - span // timedelta(microseconds=1) * np.arange(n, 0, -1, dtype=np.int64) // n
    frame = pl.DataFrame(
        {
            "id": [f"payment-{i}" for i in range(n)],
            "at_us": at_us,
            "card": choose.integers(0, cards, n),
            "merchant": [f"m{i % 100}" for i in range(n)],
            "amount": choose.integers(1, 100_000, n),
            "risk": choose.random(n).round(6),
        }
    )
    return Payments(frame, frame.write_ndjson().encode().splitlines(), at_us)


def wrong_answer(payments: Payments, store: ports.OnlineFeatures) -> str | None:
    """Where a store's newest rows are not the batch's, bit for bit; None: nowhere."""
    frame = payments.frame.with_columns(pl.col("at_us").cast(frames.TIME).alias("known_at"))
    for view in STREAM.views:
        rows = windows.trailing(
            frame,
            keys=view.keys,
            known_at="known_at",
            window=view.window,
            hop=STREAM.hop,
            aggregates=view.aggregates,
        )
        newest = rows.sort(windows.EVENT).unique("card", keep="last").sort("card")
        keys: dict[str, Any] = {"card": newest["card"].to_numpy()}
        # Any age: a card that was not used for an hour has a row of an hour that is long over.
        got = store.read(view.name, keys, now_us=int(payments.at_us[-1]))
        is_alive = got.status == ports.FeatureStatus.PRESENT
        if not is_alive.any() or (got.status == ports.FeatureStatus.NOT_FOUND).any():
            return f"`{view.name}` lacks cards"
        for a in view.aggregates:
            want = newest[a.name].fill_null(np.nan).to_numpy()
            if not np.array_equal(got.values[a.name][is_alive], want[is_alive], equal_nan=True):
                return f"another `{a.name}` of `{view.name}` than the batch"
    return None
