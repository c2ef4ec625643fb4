"""A day of ten million answers: how long counting it takes one process, and how much memory beyond what it had.

The log is what serving would have written in half minutes: 2,880 files, thirty features (twenty-four numbers, six strings), two
slices. Counting starts in a process of its own, so that the peak is its own.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from mainspring.core.contracts.monitoring import SCORE
from mainspring.core.monitoring import baselines, judging, prediction_log, windows

__all__ = ["count", "measure"]

BUNDLE: Final = "sha256:" + "d" * 64
ENDPOINT: Final = "busy"
FILES: Final = 2880
#: Of a day of ten million.
ROWS_A_FILE: Final = 10_000_000 // FILES
_DAY: Final = datetime(2026, 11, 1, tzinfo=UTC)
_NUMBERS: Final = tuple(f"number_{i}" for i in range(24))
_STRINGS: Final = tuple(f"string_{i}" for i in range(6))
_VALUES: Final = np.array([f"value-{i:04d}" for i in range(300)], object)


def _rows(rng: np.random.Generator, n: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            **{name: rng.normal(i, 1 + i, n).astype(np.float32) for i, name in enumerate(_NUMBERS)},
            **{
                name: pl.Series(
                    _VALUES[np.minimum(rng.zipf(1.5, n) - 1, 10 + 50 * i - (i == 5))], dtype=pl.String
                )
                for i, name in enumerate(_STRINGS)
            },
            "score": rng.beta(2, 5, n).astype(np.float32),
        }
    )


def measure(folder: Path, rows: int) -> dict[str, Any]:
    """Write the day, count it, and judge its last hours."""
    rng = np.random.default_rng(5)
    reference = _rows(rng, 20_000).with_columns(label=pl.Series(rng.integers(0, 2, 20_000), dtype=pl.Int8))
    baseline = baselines.make(
        reference, bundle_digest=BUNDLE, score="score", label="label", features=(*_NUMBERS, *_STRINGS),
        slices=("string_0", "string_1"),
    )  # fmt: skip
    store = windows.WindowStore.of(folder / "windows", ENDPOINT, BUNDLE)
    store.put_baseline(baseline)
    log = folder / "log"
    log.mkdir()
    size = _write(log, rng, rows)
    done = subprocess.run(
        [sys.executable, "-m", "mainspring.bench.monitoring.throughput", str(folder)],
        check=True,
        capture_output=True,
        text=True,
        timeout=3600,
    )
    counted = json.loads(done.stdout.splitlines()[-1])
    cells = store.cells(_DAY, _DAY + timedelta(days=1))
    begun = time.perf_counter()
    report = judging.report(
        baseline, cells, store.outcome_cells(_DAY, _DAY + timedelta(days=1)), project="busy", endpoint=ENDPOINT,
        begins=_DAY, ends=_DAY + timedelta(days=1),
    )  # fmt: skip
    segments = sum(path.stat().st_size for path in (folder / "windows").rglob("*.parquet"))
    return {
        **counted,
        "is_right": report.rows == rows and counted["rows"] == rows and not report.alarms,
        "log_megabytes": round(size / 1e6, 1),
        "windows_megabytes": round(segments / 1e6, 1),
        "report_seconds": round(time.perf_counter() - begun, 3),
        "columns": len(baseline.columns),
        "files": max(rows // ROWS_A_FILE, 1),
    }


def _write(log: Path, rng: np.random.Generator, rows: int) -> int:
    """Files of equal rows, each named by the time of its writing."""
    files = max(rows // ROWS_A_FILE, 1)
    total, base = 0, round(_DAY.timestamp()) * 1_000_000
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
            role=pl.lit("stable"),
            model_version=pl.lit(BUNDLE),
            by_entity=pl.lit(True),
            key__id=pl.int_range(pl.len()),
            score="score",
            **{prediction_log.FEATURE + name: pl.col(name) for name in (*_NUMBERS, *_STRINGS)},
        )
        path = log / f"{base + (i + 1) * step:020d}-1-{i:06d}.parquet"
        pq.write_table(frame.to_arrow(), path, compression="zstd")
        total += path.stat().st_size
    return total


def count(folder: Path) -> dict[str, Any]:
    """In this process: count the day, and what it took."""
    store = windows.WindowStore.of(folder / "windows", ENDPOINT, BUNDLE)
    assert store.baseline().columns[0].name == SCORE
    before = resource.getrusage(resource.RUSAGE_SELF)
    begun = time.perf_counter()
    found = store.ingest(folder / "log")
    seconds = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "rows": found.rows,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2),
        "rows_per_second": round(found.rows / seconds),
        "resident_megabytes_before": round(before.ru_maxrss / 1024, 1),
        "resident_megabytes_peak": round(after.ru_maxrss / 1024, 1),
    }


if __name__ == "__main__":
    print(json.dumps(count(Path(sys.argv[1]))))
