"""A model whose scores are the truth, its baseline, and a log of what it answered."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mainspring.core.contracts.monitoring import Baseline
from mainspring.core.monitoring import baselines, outcomes, prediction_log, predictions, windows

T0 = datetime(2026, 11, 1, tzinfo=UTC)
BUNDLE = "sha256:" + "a" * 64
ENDPOINT = "flights"
HORIZON = timedelta(hours=2)
DAY = timedelta(days=1)


def rows(
    n: int, *, begins: datetime = T0, days: float = 7, seed: int = 1, shift: float = 0.0
) -> pl.DataFrame:
    """`n` answers evenly over `days`; more happens than was predicted by `shift`."""
    rng = np.random.default_rng(seed)
    scores = rng.beta(2, 5, n).astype(np.float32)
    step = days * 86_400e6 / n
    at = [begins + timedelta(microseconds=int(i * step)) for i in range(n)]
    return pl.DataFrame(
        {
            "as_of": pl.Series(at, dtype=pl.Datetime("us", "UTC")),
            "key": pl.Series(np.arange(n), dtype=pl.Int64),
            "carrier": [("AA", "BB", "CC")[i % 3] for i in range(n)],
            "distance": pl.Series(rng.normal(500, 100, n), dtype=pl.Float32),
            "fixed": pl.Series(np.full(n, 3.0), dtype=pl.Float32),
            "score": scores,
            "late": (rng.random(n) < np.clip(scores + shift, 0, 1)).astype(np.int8),
        }
    )


def baseline(**changes: Any) -> Baseline:
    made = baselines.make(
        rows(5000, seed=9),
        bundle_digest=BUNDLE,
        score="score",
        label="late",
        features=("carrier", "distance", "fixed"),
        slices=("carrier",),
    )
    return made.model_copy(update=changes)


def write(folder: Path, answered: pl.DataFrame, *, later: timedelta = timedelta(), **entry: Any) -> None:
    """Into a prediction log, a request a row."""
    log = prediction_log.PredictionLog(folder, max_bytes=1 << 30)
    for row in answered.iter_rows(named=True):
        as_of = round(row["as_of"].timestamp() * 1e6)
        fields: dict[str, Any] = {
            "time_us": as_of + later // timedelta(microseconds=1),
            "as_of_us": as_of,
            "endpoint": ENDPOINT,
            "model_version": BUNDLE,
            "traffic_version": 1,
            "role": "stable",
            "request_id": f"req-{row['key']}",
            "caller": "team",
            "keys": {"key": np.array([row["key"]], np.int64)},
            "key_types": {"key": "int64"},
            "features": {
                "carrier": np.array([row["carrier"]], object),
                "distance": np.array([row["distance"]], np.float32),
                "fixed": np.array([row["fixed"]], np.float32),
            },
            "scores": np.array([row["score"]], np.float32),
            "latency_seconds": 0.001,
        }
        log.add(prediction_log.Entry(**fields | entry))
    log.close()


def log_of(folder: Path) -> Path:
    """Where the log of this endpoint and bundle lies."""
    return folder / ENDPOINT / ("a" * 16)


def store(folder: Path, made: Baseline | None = None) -> windows.WindowStore:
    found = windows.WindowStore.of(folder, ENDPOINT, BUNDLE)
    found.put_baseline(made or baseline())
    return found


def join(
    folder: Path, into: windows.WindowStore, happened: pl.DataFrame, *, now: datetime = T0 + 60 * DAY
) -> int:
    """Bring the outcomes of the first thirty days up to date."""
    due = happened.select("key", "late", due=pl.col("as_of") + timedelta(hours=1)).lazy()
    labels = outcomes.Labels(due, keys=("key",), at="due", label="late", horizon=HORIZON)
    scanned = predictions.scan(folder, endpoint=ENDPOINT)
    return outcomes.update(into, scanned, labels, since=T0, until=T0 + 30 * DAY, now=now)


def counts(cells: pl.DataFrame, column: str, *, value: str = "") -> Sequence[int]:
    """Of one slice's value, or of all rows."""
    chosen = cells.filter(pl.col("column") == column, pl.col("value") == value)
    total: Any = np.array(chosen["counts"].to_list()).sum(axis=0)
    return [int(n) for n in total]
