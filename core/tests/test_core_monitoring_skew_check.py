"""Recorded reads, asked again offline: equal to the bit where serving was right, named where it was not; and the log's bounds."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from mainspring.core import ports
from mainspring.core.features import online, schema
from mainspring.core.features.windows import CREATED, EVENT
from mainspring.core.monitoring import read_log, skew_check

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = 3_600_000_000


def column(name: str, dtype: ports.FieldType) -> schema.Column:
    return schema.Column(name=name, dtype=dtype)


VIEW = schema.FeatureView(
    name="sizes",
    keys=(column("id", "string"), column("shop", "int64")),
    fields=(column("size", "float32"), column("kind", "string"), column("seen", "float64")),
    ttl_seconds=7200,
)
SERVICE = schema.FeatureService(name="s", views=(VIEW,))


def us(hours: float) -> int:
    return int((START + timedelta(hours=hours)).timestamp() * 1e6)


def rows(n: int = 40) -> pl.DataFrame:
    """A row an hour of each of four things, some of its values missing."""
    rng = np.random.default_rng(7)
    at = [START + timedelta(hours=i // 4) for i in range(n)]
    return pl.DataFrame(
        {
            "id": [f"k{i % 2}" for i in range(n)],
            "shop": [i % 4 // 2 for i in range(n)],
            EVENT: pl.Series(at, dtype=pl.Datetime("us", "UTC")),
            CREATED: pl.Series(at, dtype=pl.Datetime("us", "UTC")),
            "size": pl.Series(
                [None if i % 7 == 0 else float(v) for i, v in enumerate(rng.normal(size=n))], dtype=pl.Float32
            ),
            "kind": [None if i % 5 == 0 else f"c{i % 3}" for i in range(n)],
            "seen": [float(v) for v in rng.normal(size=n)],
        }
    )


@pytest.fixture
def log(tmp_path: Path) -> Iterator[read_log.ReadLog]:
    made = read_log.ReadLog(tmp_path / "reads", max_bytes=1 << 20, flush_seconds=3600)
    yield made
    made.close()


def push(store: ports.OnlineFeatures, frame: pl.DataFrame) -> None:
    store.upsert(
        "sizes",
        {k.name: frame[k.name].to_list() for k in VIEW.keys},
        event_us=frame[EVENT].to_physical().to_numpy(),
        created_us=frame[CREATED].to_physical().to_numpy(),
        columns={f.name: frame[f.name].to_list() for f in VIEW.fields},
    )


def serve(log: read_log.ReadLog, offline: pl.DataFrame, **read: Any) -> None:
    """Push each hour's rows and read in the middle of it, known keys and one that nobody has."""
    store = online.OnlineStore()
    recorded: ports.OnlineFeatures = read_log.RecordedFeatures(store, log, 1.0)
    recorded.register(VIEW.online)
    for hour in range(10):
        push(recorded, offline.filter(pl.col(EVENT) == START + timedelta(hours=hour)))
        keys = {"id": ["k0", "k1", "k0", "k9"], "shop": [0, 1, 1, 0]}
        recorded.read("sizes", keys, now_us=us(hour + 0.5) if hour < 9 else us(9), **read)
    log.flush()


def check(log: read_log.ReadLog, offline: pl.DataFrame, **changes: Any) -> skew_check.SkewCheck:
    given = {"max_rows": 10_000, "service": SERVICE} | changes
    return skew_check.check(
        log._folder,
        given["service"],
        {"sizes": offline.lazy()},
        max_rows=given["max_rows"],
        since=given.get("since"),
    )


def test_what_was_served_rightly_is_equal_to_the_bit(log: read_log.ReadLog) -> None:
    serve(log, rows())
    found = check(log, rows())
    assert not found.is_skewed and found.report.rows == 40 and found.later_rows == 0
    assert {f.name: f.equal for f in found.report.features} == {
        "sizes__size": 40, "sizes__kind": 40, "sizes__seen": 40,
    }  # fmt: skip


def test_reads_of_some_fields_are_compared_in_those(log: read_log.ReadLog) -> None:
    serve(log, rows(), fields=["seen"])
    serve(log, rows())
    found = check(log, rows())
    assert {f.name: f.equal for f in found.report.features} == {
        "sizes__size": 40, "sizes__kind": 40, "sizes__seen": 80,
    }  # fmt: skip


def test_each_kind_of_skew_is_told_by_feature(log: read_log.ReadLog) -> None:
    serve(log, rows())
    one_bit = rows().with_columns(pl.col("seen") + pl.lit(1e-15))
    emptied = one_bit.with_columns(pl.lit(None, pl.Float32).alias("size"))
    filled = emptied.with_columns(pl.col("kind").fill_null("c9"))
    found = {f.name: f for f in check(log, filled).report.skewed}
    assert found["sizes__seen"].mismatched > 20 and found["sizes__seen"].missing == 0
    assert found["sizes__size"].extra > 20 and found["sizes__size"].mismatched == 0
    assert found["sizes__kind"].missing > 3 and found["sizes__kind"].extra == 0


def test_a_ttl_that_serving_did_not_keep_is_seen(log: read_log.ReadLog) -> None:
    store = online.OnlineStore()
    recorded = read_log.RecordedFeatures(store, log, 1.0)
    never = ports.ViewSchema("sizes", VIEW.online.join_keys, VIEW.online.fields, None)
    recorded.register(never)
    offline = rows(8)
    push(recorded, offline)
    recorded.read("sizes", {"id": ["k1"], "shop": [1]}, now_us=us(9))
    log.flush()
    late = pl.concat(
        [offline, rows().filter(pl.col(EVENT) == START + timedelta(hours=9), pl.col("id") == "k0")]
    )
    (seen,) = [f for f in check(log, late).report.features if f.name == "sizes__seen"]
    assert seen.extra == 1


def test_reads_that_offline_cannot_know_yet_are_passed_over(log: read_log.ReadLog) -> None:
    serve(log, rows())
    found = check(log, rows(20))
    assert found.later_rows == 24 and found.report.rows == 16  # newest offline row: hour 4
    assert check(log, rows(0)).report.rows == 0


def test_what_offline_does_not_have_is_an_error_of_the_feature(log: read_log.ReadLog) -> None:
    serve(log, rows())
    narrow = VIEW.model_copy(update={"fields": VIEW.fields[:2]})
    found = check(log, rows(), service=schema.FeatureService(name="s", views=(narrow,)))
    assert [(f.name, f.error) for f in found.report.skewed] == [("sizes__seen", "is not known offline")]
    other = VIEW.model_copy(update={"fields": (column("size", "float64"),)})
    wide = rows().with_columns(pl.col("size").cast(pl.Float64))
    found = check(log, wide, service=schema.FeatureService(name="s", views=(other,)))
    assert (
        "Float32 as served and float64 offline"
        in {f.name: f.error for f in found.report.skewed}["sizes__size"]
    )
    (log._folder / "gone").mkdir()
    gone = pl.DataFrame({"as_of": rows()[EVENT], "served_at": rows()[EVENT], "x": [1.0] * 40})
    gone.write_parquet(log._folder / "gone" / f"{1:020d}-000001.parquet")
    assert any(f.name == "gone__x" and f.error for f in check(log, rows()).report.skewed)


def test_the_newest_reads_count_and_a_torn_file_is_told(log: read_log.ReadLog) -> None:
    serve(log, rows())
    serve(log, rows())
    assert check(log, rows(), max_rows=50).report.rows == 50
    torn = sorted((log._folder / "sizes").glob("*.parquet"))[0]
    torn.write_bytes(torn.read_bytes()[:50])
    found = check(log, rows())
    assert found.unread_files == (torn.name,) and found.report.rows == 40


def test_the_folder_stays_within_its_bound_and_is_the_owners(tmp_path: Path) -> None:
    log = read_log.ReadLog(tmp_path / "reads", max_bytes=6_000, flush_seconds=3600)
    for _ in range(6):
        serve(log, rows())
    log.close()
    files = sorted((tmp_path / "reads" / "sizes").glob("*.parquet"))
    assert 1 <= len(files) < 6 and sum(f.stat().st_size for f in files) <= 6_000
    assert (tmp_path / "reads").stat().st_mode & 0o077 == 0
    assert check(log, rows()).report.rows == 40 * len(files)


def test_too_much_is_dropped_and_counted_and_no_read_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(read_log, "MAX_WAITING_ROWS", 10)
    log = read_log.ReadLog(tmp_path / "reads", max_bytes=1 << 20, flush_seconds=3600)
    serve(log, rows())
    assert log.dropped_rows == 32
    log.close()
    (tmp_path / "file").write_text("")
    blocked = read_log.ReadLog(tmp_path / "file" / "reads", max_bytes=1 << 20, flush_seconds=3600)
    serve(blocked, rows())
    blocked.close()
    assert blocked.dropped_rows == 40 and "are lost" in caplog.text


def test_a_fraction_is_recorded_and_the_thread_writes_by_itself(tmp_path: Path) -> None:
    log = read_log.ReadLog(tmp_path / "reads", max_bytes=1 << 20, flush_seconds=0.02)
    store = online.OnlineStore()
    store.register(VIEW.online)
    recorded = read_log.RecordedFeatures(store, log, 0.25)
    for _ in range(1000):
        recorded.read("sizes", {"id": ["k0"], "shop": [0]}, now_us=us(0))
    deadline = time.monotonic() + 10
    while not list((tmp_path / "reads").glob("*/*.parquet")) and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    log.close()
    kept = pl.concat(pl.read_parquet(p) for p in (tmp_path / "reads").glob("*/*.parquet")).height
    assert 180 < kept < 320
    none = read_log.RecordedFeatures(store, log, 0.0)
    none.read("sizes", {"id": ["k0"], "shop": [0]}, now_us=us(0))
    assert log._waiting_rows == 0


def test_what_was_served_before_a_moment_is_passed_over(log: read_log.ReadLog) -> None:
    wrong = rows().with_columns(pl.col("seen") + 1)
    serve(log, wrong)
    between = datetime.now(UTC)
    serve(log, rows())
    assert check(log, rows()).report.rows == 80 and check(log, rows()).is_skewed
    found = check(log, rows(), since=between)
    assert found.report.rows == 40 and not found.is_skewed
    assert check(log, rows(), since=datetime.now(UTC)).report.rows == 0


def test_reads_before_a_moment_and_after_it_in_one_file_are_told_apart(log: read_log.ReadLog) -> None:
    store = online.OnlineStore()
    recorded = read_log.RecordedFeatures(store, log, 1.0)
    recorded.register(VIEW.online)
    keys = {"id": ["k0"], "shop": [0]}
    recorded.read("sizes", keys, now_us=us(0.5))  # nothing is there yet
    between = datetime.now(UTC)
    push(recorded, rows(8).head(4))
    recorded.read("sizes", keys, now_us=us(0.5))
    log.flush()
    offline = rows(8)  # of the hour after, too
    assert check(log, offline).is_skewed and not check(log, offline, since=between).is_skewed
