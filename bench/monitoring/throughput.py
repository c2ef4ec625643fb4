"""A day of ten million answers: how long a check of it takes one process, and how much memory beyond what it had.

The log is what serving would have written in half minutes: 2,880 files, thirty features (twenty-four numbers, six strings), two
slices. An hour after each answer its outcome is known. The check runs in a process of its own, so that the peak is its own, and does
what process CheckDrift does: find the newest bundle, count, join what happened, judge, and make the page of a sample.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from mainspring.core.monitoring import baselines, judging, outcomes, prediction_log, predictions, windows

__all__ = ["check", "measure"]

T = TypeVar("T")

BUNDLE: Final = "sha256:" + "d" * 64
ENDPOINT: Final = "busy"
FILES: Final = 2880
#: Of a day of ten million.
ROWS_A_FILE: Final = 10_000_000 // FILES
HORIZON: Final = timedelta(hours=2)
#: Of the page, as process CheckDrift has it.
PAGE_ROWS: Final = 5_000
_DAY: Final = datetime(2026, 11, 1, tzinfo=UTC)
_NUMBERS: Final = tuple(f"number_{i}" for i in range(24))
_STRINGS: Final = tuple(f"string_{i}" for i in range(6))
_FEATURES: Final = (*_NUMBERS, *_STRINGS)
_VALUES: Final = np.array([f"value-{i:04d}" for i in range(300)], object)


def _rows(rng: np.random.Generator, n: int) -> pl.DataFrame:
    """Answers whose scores are the truth, with what happened."""
    scores = rng.beta(2, 5, n).astype(np.float32)
    return pl.DataFrame(
        {
            **{name: rng.normal(i, 1 + i, n).astype(np.float32) for i, name in enumerate(_NUMBERS)},
            **{
                name: pl.Series(
                    _VALUES[np.minimum(rng.zipf(1.5, n) - 1, 10 + 50 * i - (i == 5))], dtype=pl.String
                )
                for i, name in enumerate(_STRINGS)
            },
            "score": scores,
            "label": (rng.random(n) < scores).astype(np.int8),
        }
    )


def measure(folder: Path, rows: int) -> dict[str, Any]:
    """Write the day and its outcomes, and have a process of its own check it."""
    rng = np.random.default_rng(5)
    reference = _rows(rng, 20_000)
    baseline = baselines.make(
        reference, bundle_digest=BUNDLE, score="score", label="label", features=_FEATURES,
        slices=("string_0", "string_1"),
    )  # fmt: skip
    store = windows.WindowStore.of(folder / "windows", ENDPOINT, BUNDLE)
    store.put_baseline(baseline)
    reference.write_parquet(folder / "reference.parquet")
    size = _write(folder, rng, rows)
    done = subprocess.run(
        [sys.executable, "-m", "mainspring.bench.monitoring.throughput", str(folder)],
        check=True,
        capture_output=True,
        text=True,
        timeout=3600,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    segments = sum(path.stat().st_size for path in (folder / "windows").rglob("*.parquet"))
    return {
        **found,
        "is_right": found["rows"] == found["known"] == rows and not found["alarms"],
        "log_megabytes": round(size / 1e6, 1),
        "windows_megabytes": round(segments / 1e6, 1),
        "columns": len(baseline.columns),
        "files": max(rows // ROWS_A_FILE, 1),
    }


def _write(folder: Path, rng: np.random.Generator, rows: int) -> int:
    """Files of equal rows, each named by the time of its writing, and beside them what happened."""
    log, happened = log_of(folder), folder / "happened"
    log.mkdir(parents=True)
    happened.mkdir()
    files = max(rows // ROWS_A_FILE, 1)
    total, base, first = 0, round(_DAY.timestamp()) * 1_000_000, 0
    some = _rows(rng, 4 * (rows // files))
    step = 86_400_000_000 // files
    for i in range(files):
        n = rows // files + (i < rows % files)
        # Cut from a few thousand drawn rows: drawing ten million would be what is measured.
        part = some.slice(int(rng.integers(0, some.height - n)), n)
        at = base + i * step + np.arange(n) * (step // n)
        moments = pl.Series(at).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
        frame = part.select(
            time=moments,
            as_of=moments,
            role=pl.lit(windows.JUDGED_ROLE),
            model_version=pl.lit(BUNDLE),
            by_entity=pl.lit(True),
            key__id=pl.int_range(first, first + n),
            score="score",
            **{prediction_log.FEATURE + name: pl.col(name) for name in _FEATURES},
        )
        path = log / f"{base + (i + 1) * step:020d}-1-{i:06d}.parquet"
        pq.write_table(frame.to_arrow(), path, compression="zstd")
        outcome = frame.select(id="key__id", due=pl.col("as_of") + timedelta(hours=1), label=part["label"])
        outcome.write_parquet(happened / f"{i:06d}.parquet")
        total, first = total + path.stat().st_size, first + n
    return total


def log_of(folder: Path) -> Path:
    """Where the bundle's log lies."""
    return folder / "log" / ENDPOINT / BUNDLE.removeprefix("sha256:")[:16]


def check(folder: Path) -> dict[str, Any]:
    """In this process: a check of the day, and what each step of it took."""
    from mainspring.core.monitoring import evidently_adapter

    store = windows.WindowStore.of(folder / "windows", ENDPOINT, BUNDLE)
    baseline, begins, ends = store.baseline(), _DAY, _DAY + timedelta(days=1)
    labels = outcomes.Labels(
        pl.scan_parquet(folder / "happened"), keys=("id",), at="due", label="label", horizon=HORIZON
    )
    steps: dict[str, dict[str, float]] = {}
    before, begun = _resident_megabytes(), time.perf_counter()
    logged = predictions.scan(folder / "log", endpoint=ENDPOINT)
    assert _timed(steps, "newest_bundle", lambda: predictions.newest_bundle(logged)) == BUNDLE
    counted = _timed(steps, "count", lambda: store.ingest(log_of(folder)))
    now = ends + timedelta(days=3)
    _timed(steps, "join", lambda: outcomes.update(store, logged, labels, since=begins, until=ends, now=now))
    report = _timed(
        steps,
        "judge",
        lambda: judging.report(
            baseline, store.cells(begins, ends), store.outcome_cells(begins, ends), project=ENDPOINT,
            endpoint=ENDPOINT, begins=begins, ends=ends,
        ),
    )  # fmt: skip

    def page() -> str:
        chosen = logged.select("score", *(pl.col(prediction_log.FEATURE + n).alias(n) for n in _FEATURES))
        sample = predictions.sampled(chosen, PAGE_ROWS, of=report.rows).head(PAGE_ROWS)
        reference = pl.read_parquet(folder / "reference.parquet").select(sample.columns).head(PAGE_ROWS)
        return evidently_adapter.full_report(reference, sample)

    assert "<html" in _timed(steps, "page", page)[:2000].lower()
    seconds = time.perf_counter() - begun
    return {
        "rows": counted.rows,
        "known": report.known,
        "alarms": [finding.message for finding in report.alarms],
        "seconds": round(seconds, 2),
        "rows_per_second": round(counted.rows / seconds),
        "cpu_seconds": round(sum(step["cpu_seconds"] for step in steps.values()), 2),
        "steps": steps,
        "resident_megabytes_before": before,
        "resident_megabytes_peak": _resident_megabytes(),
    }


def _timed(steps: dict[str, dict[str, float]], name: str, work: Callable[[], T]) -> T:
    """Its answer; into `steps` what it took, and the peak of memory until its end."""
    before, begun = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    answer = work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    steps[name] = {
        "seconds": round(time.perf_counter() - begun, 2),
        "cpu_seconds": round(cpu, 2),
        "resident_megabytes_peak": _resident_megabytes(),
    }
    return answer


def _resident_megabytes() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


if __name__ == "__main__":
    print(json.dumps(check(Path(sys.argv[1]))))
