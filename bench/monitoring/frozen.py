"""A model of static features that is fitted to January, February and March of 2013 and frozen: what it answers in the rest of the year.

Every fifth day of these months is held out of the fit: it is the reference. Each later flight is an answer, two hours before its
scheduled departure, and its outcome is known when it was due: nine of the ten columns are the schedule's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from mainspring.core.contracts.monitoring import Baseline
from mainspring.core.features import point_in_time
from mainspring.core.monitoring import baselines, prediction_log
from mainspring.core.reference.flight_delay import dataset, source

__all__ = ["BUNDLE", "ENDPOINT", "FEATURES", "Frozen", "answer", "write_log"]

BUNDLE: Final = "sha256:" + "f" * 64
ENDPOINT: Final = "flight-delay"
FEATURES: Final = (
    "carrier", "origin", "dest", "dep_hour", "weekday", "block_minutes", "distance_miles", "bank_departures", "seats", "temp",
)  # fmt: skip
#: Is logged beside the model's features and is none: nobody's season is in the schedule.
_BESIDE: Final = ("temp",)
_TEXT: Final = ("carrier", "origin", "dest")
_HELD_OUT: Final = 5
#: Of answers in one file of the log.
_FILE_BYTES: Final = 16 << 20


@dataclass(frozen=True)
class Frozen:
    """`answered` are all flights from April on, with `score` and `late` (null: never arrived)."""

    baseline: Baseline
    answered: pl.DataFrame


def answer() -> Frozen:
    """Fit, freeze and answer. Some 20 s of two cores."""
    import lightgbm

    rows = _rows()
    first = rows.filter(pl.col("as_of").dt.month() <= 3, pl.col(dataset.LABEL).is_not_null())
    is_held = first["as_of"].dt.ordinal_day() % _HELD_OUT == 0
    codes = {name: pl.Enum(rows[name].unique().sort()) for name in _TEXT}
    used = [name for name in FEATURES if name not in _BESIDE]

    def matrix(part: pl.DataFrame) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        coded = (pl.col(n).cast(codes[n]).to_physical().cast(pl.Float64) for n in _TEXT)
        rest = (pl.col(n).cast(pl.Float64) for n in used if n not in _TEXT)
        return part.select(*coded, *rest).to_numpy()

    fit = first.filter(~is_held)
    model = lightgbm.LGBMClassifier(
        n_estimators=120, num_leaves=31, learning_rate=0.05, min_child_samples=200, seed=7, verbose=-1, n_jobs=1,
        deterministic=True,
    )  # fmt: skip
    model.fit(matrix(fit), fit[dataset.LABEL].to_numpy(), categorical_feature=list(range(len(_TEXT))))
    scores = model.booster_.predict(matrix(rows))
    scored = rows.with_columns(pl.Series("score", scores, pl.Float32))
    reference = scored.filter(
        pl.col("as_of").dt.month() <= 3,
        pl.col("as_of").dt.ordinal_day() % _HELD_OUT == 0,
        pl.col(dataset.LABEL).is_not_null(),
    )
    baseline = baselines.make(
        reference,
        bundle_digest=BUNDLE,
        score="score",
        label=dataset.LABEL,
        features=FEATURES,
        slices=("carrier", "origin"),
        training_run_id="run_frozen",
    )
    return Frozen(baseline, scored.filter(pl.col("as_of").dt.month() >= 4))


def _rows() -> pl.DataFrame:
    tables = source.read(source.find()[0])
    asked = dataset.requests(tables.flights)
    planes = tables.planes.select("tailnum", pl.col("seats").cast(pl.Float32))
    weather = tables.weather.select(
        "origin", pl.col("time_hour").alias("hour"), pl.col("temp").cast(pl.Float32)
    )
    due = pl.from_epoch("scheduled_departure_us", time_unit="us").dt.replace_time_zone("UTC")
    local = due.dt.convert_time_zone("America/New_York")
    block = (pl.col("scheduled_arrival_us") - pl.col("scheduled_departure_us")) / 60e6
    return (
        asked.rename({point_in_time.AS_OF: "as_of"})
        .with_columns(
            dep_hour=local.dt.hour().cast(pl.Float32),
            weekday=local.dt.weekday().cast(pl.Float32),
            block_minutes=block.cast(pl.Float32),
            hour=pl.col("as_of").dt.truncate("1h"),
            due=due,
        )
        .join(planes, on="tailnum", how="left")
        .join(weather.unique(["origin", "hour"]), on=["origin", "hour"], how="left")
        .sort("as_of", "carrier", "flight")
    )


def write_log(folder: Path, answered: pl.DataFrame) -> None:
    """As a serving process would have: a request for the flights that are asked about at one moment."""
    log, waiting = prediction_log.PredictionLog(folder, max_bytes=1 << 30, flush_seconds=3600), 0
    for (moment,), rows in answered.group_by(pl.col("as_of").dt.epoch("us"), maintain_order=True):
        entry = _entry(int(moment), rows)
        waiting += entry.held_bytes
        if waiting > _FILE_BYTES:
            log.flush()
            waiting = 0
        log.add(entry)
    log.close()


def _entry(as_of_us: int, rows: pl.DataFrame) -> prediction_log.Entry:
    text = {name: rows[name].to_numpy() for name in FEATURES}
    return prediction_log.Entry(
        time_us=as_of_us,
        as_of_us=as_of_us,
        endpoint=ENDPOINT,
        model_version=BUNDLE,
        traffic_version=1,
        role="stable",
        request_id=f"req_{as_of_us}",
        caller="schedule",
        keys={
            "carrier": np.array(rows["carrier"].to_list(), object),
            "flight": rows["flight"].cast(pl.Int64).to_numpy(),
            "origin": np.array(rows["origin"].to_list(), object),
        },
        key_types={"carrier": "string", "flight": "int64", "origin": "string"},
        features={
            name: np.array(rows[name].to_list(), object) if name in _TEXT else values.astype(np.float32)
            for name, values in text.items()
        },
        scores=rows["score"].to_numpy(),
        latency_seconds=0.001,
    )
