"""From tables to rows that a model can learn from: who is asked about, when, what was known, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

import polars as pl

from mainspring.core.features import frames, point_in_time, schema
from mainspring.core.reference.flight_delay import events, request_time

__all__ = ["IDENTITY", "LABEL", "SPLIT", "assemble", "requests"]

LABEL: Final = "late"
SPLIT: Final = "split"

#: What names a flight in the source, beside the keys that features are looked up by.
IDENTITY: Final = ("time_hour", "carrier", "flight")

_KEYS: Final = ("carrier", "flight", "tailnum", "origin", "dest")
_FIRST_VALID_MONTH: Final = 9
_FIRST_TEST_MONTH: Final = 10


def requests(flights: pl.DataFrame) -> pl.DataFrame:
    """One row per scheduled flight: keys, `as_of` two hours before departure, the request columns, label and split.

    `late` is null for flights that never arrived: they are asked about as all others, and no label came.
    `bank_departures` counts the flights scheduled from the same airport in the same UTC hour, cancelled ones too:
    the schedule is published, its cancellations are not.
    """
    month = pl.col("month")
    return flights.select(
        "time_hour",
        *_KEYS,
        (pl.col("scheduled_departure") - timedelta(seconds=request_time.HORIZON_SECONDS)).alias(
            point_in_time.AS_OF
        ),
        scheduled_departure_us=pl.col("scheduled_departure").dt.timestamp("us"),
        scheduled_arrival_us=pl.col("scheduled_arrival").dt.timestamp("us"),
        distance_miles=pl.col("distance").cast(pl.Float32),
        bank_departures=pl.len()
        .over("origin", pl.col("scheduled_departure").dt.truncate("1h"))
        .cast(pl.Float32),
        **{
            LABEL: (pl.col("arr_delay") > events.LATE_MINUTES).cast(pl.Int8),
            SPLIT: pl.when(month >= _FIRST_TEST_MONTH)
            .then(pl.lit("test"))
            .when(month >= _FIRST_VALID_MONTH)
            .then(pl.lit("valid"))
            .otherwise(pl.lit("train")),
        },
    )


def assemble(
    asked: pl.DataFrame, service: schema.FeatureService, views: Mapping[str, pl.DataFrame | pl.LazyFrame]
) -> pl.DataFrame:
    """`asked` with every column of `service` as of its `as_of`, and the request-time features. Rows and order stay."""
    joined = point_in_time.join_service(asked, service, views)
    derived = request_time.derive(frames.to_numpy(joined, (*request_time.REQUEST_COLUMNS, *service.columns)))
    # NaN is how arrays say missing; a frame says null.
    return joined.with_columns(
        pl.Series(c.name, derived[c.name], frames.POLARS_TYPES[c.dtype], nan_to_null=c.dtype == "float32")
        for c in request_time.DERIVED
    )
