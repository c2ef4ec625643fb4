"""The prediction log: what is written comes back, whole files or none, bounded; and labels that come later find their predictions."""

from __future__ import annotations

import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from mainspring.core import errors
from mainspring.core.monitoring import prediction_log, predictions, tokens

T0 = datetime(2026, 11, 1, 12, tzinfo=UTC)
A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
TOKENS = tokens.Tokeniser(b"k" * 32)


def us(time: datetime) -> int:
    return round(time.timestamp()) * 1_000_000


def entry(n: int = 2, *, at: datetime = T0, **changes: Any) -> prediction_log.Entry:
    fields: dict[str, Any] = {
        "time_us": us(at),
        "as_of_us": us(at),
        "endpoint": "flights",
        "model_version": A,
        "traffic_version": 3,
        "role": "stable",
        "request_id": "req-1",
        "caller": "team-a",
        "keys": {
            "origin": np.array([f"O{i}" for i in range(n)], object),
            "flight": np.arange(n, dtype=np.int64),
        },
        "key_types": {"origin": "string", "flight": "int64"},
        "features": {
            "distance": np.array([1.5, np.nan] * n, np.float32)[:n],
            "weather": np.array(["fog", None] * n, object)[:n],
        },
        "scores": np.linspace(0, 1, n, dtype=np.float32),
        "latency_seconds": 0.002,
    }
    return prediction_log.Entry(**fields | changes)


def written(folder: Path, *entries: prediction_log.Entry, **settings: Any) -> prediction_log.PredictionLog:
    log = prediction_log.PredictionLog(folder, **{"max_bytes": 1 << 30, **settings})
    for one in entries:
        log.add(one)
    log.close()
    return log


def test_what_was_answered_comes_back_typed(tmp_path: Path) -> None:
    log = written(tmp_path / "log", entry(), entry(1, request_id="req-2", keys={}))
    assert (log.written_rows, log.dropped_rows) == (3, 0)
    rows = predictions.scan(tmp_path / "log").collect()
    assert rows.schema["time"] == pl.Datetime("us", "UTC")
    assert rows.schema["score"] == rows.schema["feature__distance"] == pl.Float32
    assert rows.select("request_id", "row", "by_entity", "key__origin", "key__flight").rows() == [
        ("req-1", 0, True, "O0", 0),
        ("req-1", 1, True, "O1", 1),
        ("req-2", 0, False, None, None),
    ]
    assert rows["feature__distance"].to_list() == [1.5, None, 1.5]
    assert rows["feature__weather"].to_list() == ["fog", None, "fog"]
    assert rows["time"].to_list() == [T0] * 3
    assert set(rows.select("endpoint", "model_version", "traffic_version", "role", "caller").rows()) == {
        ("flights", A, 3, "stable", "team-a")
    }
    assert rows["latency_ms"].to_list() == [2.0] * 3
    files = str(tmp_path / "log" / "*" / "*" / "*.parquet")
    assert duckdb.sql(f"select sum(score) from '{files}'").fetchall() == [(1.0,)]
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o700


def test_bundles_with_other_features_are_read_together(tmp_path: Path) -> None:
    other = entry(model_version=B, features={"speed": np.array([1.0, 2.0])}, at=T0 + timedelta(hours=1))
    written(tmp_path, entry(), other, entry(endpoint="hotels"))
    rows = predictions.scan(tmp_path, endpoint="flights").collect()
    assert rows["feature__speed"].to_list() == [None, None, 1.0, 2.0]
    late = predictions.scan(tmp_path, endpoint="flights", since=T0 + timedelta(minutes=1)).collect()
    assert late["model_version"].unique().to_list() == [B]
    early = predictions.scan(tmp_path, until=T0 + timedelta(minutes=1)).collect()
    assert sorted(early["endpoint"].unique()) == ["flights", "hotels"]
    for nothing in ({"endpoint": "trains"}, {"since": datetime.now(UTC) + timedelta(days=1)}):
        with pytest.raises(errors.NotFound, match="no predictions"):
            predictions.scan(tmp_path, **nothing)


def test_personal_columns_are_tokens_and_without_a_key_nothing(tmp_path: Path) -> None:
    private = frozenset({"origin", "distance"})
    written(tmp_path / "with", entry(private=private), tokeniser=TOKENS)
    rows = predictions.scan(tmp_path / "with").collect()
    assert rows["key__origin"].to_list() == TOKENS.column("origin", ["O0", "O1"])
    assert rows["feature__distance"].to_list()[1] is None, "missing is not told as a token"
    for path in (tmp_path / "with").rglob("*.parquet"):
        assert b"O0" not in path.read_bytes() + pq.read_table(path).to_pandas().to_csv().encode()
    written(tmp_path / "without", entry(private=private))
    rows = predictions.scan(tmp_path / "without").collect()
    assert rows["key__origin"].to_list() == rows["feature__distance"].to_list() == [None, None]
    assert rows["key__flight"].to_list() == [0, 1]


def test_tokens_are_equal_for_equal_values_of_one_column_and_one_key(tmp_path: Path) -> None:
    first, again, other = TOKENS.column("a", ["x", "x", "y"])
    assert first == again != other
    assert first is not None and first.startswith("tok_") and len(first) == 36
    assert TOKENS.column("b", ["x"]) != [first]
    assert tokens.Tokeniser(b"j" * 32).column("a", ["x"]) != [first]
    assert TOKENS.column("a", [None, float("nan")]) == [None, None]
    path = tmp_path / "keys" / "tokens.key"
    made = tokens.Tokeniser.load(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert tokens.Tokeniser.load(path).column("a", ["x"]) == made.column("a", ["x"])
    path.write_text("abc")
    with pytest.raises(errors.InvalidSettings, match=r"`tokens\.key` holds no key"):
        tokens.Tokeniser.load(path)


def test_memory_is_bounded_and_what_is_too_much_is_counted(tmp_path: Path) -> None:
    log = prediction_log.PredictionLog(
        tmp_path, max_bytes=1 << 30, max_waiting_bytes=50_000, flush_seconds=3600
    )
    held = threading.Lock()
    with log._writing, held:  # the thread cannot write
        for _ in range(1000):
            log.add(entry(10))
        assert sum(e.held_bytes for e in log._waiting) <= 50_000
        assert log.dropped_rows > 9000
    log.close()
    assert log.written_rows + log.dropped_rows == 10_000
    assert predictions.scan(tmp_path).collect().height == log.written_rows
    log.add(entry(10))
    assert log.written_rows + log.dropped_rows == 10_010, "after the end nothing is taken"


def test_the_disk_is_bounded_and_the_oldest_go(tmp_path: Path) -> None:
    log = prediction_log.PredictionLog(tmp_path, max_bytes=1 << 40)
    for i in range(6):
        log.add(entry(request_id=f"req-{i}"))
        log.flush()
    size = sum(p.stat().st_size for p in tmp_path.rglob("*.parquet")) // 6
    log._max_bytes = 3 * size + size // 2
    log.add(entry(request_id="req-6"))
    log.close()
    assert predictions.scan(tmp_path).collect()["request_id"].unique().sort().to_list() == [
        "req-4",
        "req-5",
        "req-6",
    ]


def test_a_disk_that_refuses_loses_rows_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "log").write_text("a file where the folder should be")
    log = written(tmp_path / "log", entry(), entry())
    assert (log.written_rows, log.dropped_rows) == (0, 4)
    assert "4 logged predictions of `flights` are lost" in caplog.text


def test_half_a_file_is_never_read_and_goes_in_the_end(tmp_path: Path) -> None:
    written(tmp_path, entry())
    (path,) = tmp_path.rglob("*.parquet")
    torn = path.with_name("00000000000000000001-1-000001.parquet.new")
    torn.write_bytes(path.read_bytes()[:100])
    assert predictions.scan(tmp_path).collect().height == 2
    import os

    os.utime(torn, (1, 1))
    written(tmp_path, entry())
    assert not torn.exists()


def labels(*rows: tuple[str, int, datetime, bool]) -> pl.LazyFrame:
    return pl.LazyFrame(
        {
            "origin": [r[0] for r in rows],
            "flight": [r[1] for r in rows],
            "landed_at": [r[2] for r in rows],
            "late": [r[3] for r in rows],
        }
    )


def joined(folder: Path, told: pl.LazyFrame, now: datetime = T0 + timedelta(days=9)) -> pl.DataFrame:
    return predictions.join_labels(
        predictions.scan(folder),
        told,
        keys=["origin", "flight"],
        label="late",
        label_time="landed_at",
        horizon=timedelta(hours=6),
        now=now,
    ).collect()


def test_a_label_is_the_first_one_of_its_entity_after_the_prediction(tmp_path: Path) -> None:
    hour = timedelta(hours=1)
    written(tmp_path, entry(3), entry(1, at=T0 + 3 * hour, request_id="req-2"))
    told = labels(
        ("O0", 0, T0 - hour, False),  # before it was asked: not what it foretold
        ("O0", 0, T0 + 2 * hour, True),
        ("O0", 0, T0 + 4 * hour, False),  # of the second prediction
        ("O1", 7, T0 + hour, True),  # another flight
        ("O1", 1, T0 + 7 * hour, True),  # too late
        ("O2", 2, T0 + 6 * hour, False),  # just in time
    )
    rows = joined(tmp_path, told)
    assert rows.select("request_id", "row", "label").rows() == [
        ("req-1", 0, True),
        ("req-1", 1, None),
        ("req-1", 2, False),
        ("req-2", 0, False),
    ]
    assert rows["label_time"].to_list() == [T0 + 2 * hour, None, T0 + 6 * hour, T0 + 4 * hour]
    assert rows["is_due"].all()
    soon = joined(tmp_path, told, now=T0 + 8 * hour)
    assert soon["is_due"].to_list() == [True, True, True, False]


def test_labels_of_tokens_and_of_requests(tmp_path: Path) -> None:
    written(
        tmp_path,
        entry(private=frozenset({"origin"})),
        entry(1, keys={}, request_id="req-2"),
        tokeniser=TOKENS,
    )
    told = labels(("O1", 1, T0 + timedelta(hours=1), True))
    assert joined(tmp_path, told)["label"].to_list() == [None, None, None]
    rows = joined(tmp_path, predictions.tokenised(told, TOKENS, ["origin"]))
    assert rows["label"].to_list() == [None, True, None]
    reported = pl.LazyFrame({"request_id": ["req-1", "req-1", "req-2"], "row": [1, 1, 0], "late": [0, 1, 0]})
    rows = predictions.join_labels_by_request(predictions.scan(tmp_path), reported, label="late").collect()
    assert rows["label"].to_list() == [None, 1, 0], "the last report counts, and no row is doubled"


def test_a_column_that_is_not_there_is_said(tmp_path: Path) -> None:
    written(tmp_path, entry())
    told = labels().rename({"origin": "orgin"})
    with pytest.raises(errors.InvalidRequest, match="the labels have no column `origin`"):
        joined(tmp_path, told)
    with pytest.raises(errors.InvalidRequest, match="the labels have no column `row`"):
        predictions.join_labels_by_request(
            predictions.scan(tmp_path), pl.LazyFrame({"request_id": ["a"], "late": [1]}), label="late"
        )


def test_the_newest_bundle_and_a_sample_are_of_the_whole_log(tmp_path: Path) -> None:
    log = prediction_log.PredictionLog(tmp_path, max_bytes=1 << 24)
    for hour in range(40):
        version = B if hour == 25 else A
        log.add(entry(25, at=T0 + timedelta(hours=hour), model_version=version, request_id=f"req-{hour}"))
    log.close()
    logged = predictions.scan(tmp_path)
    assert predictions.newest_bundle(logged) == A
    assert predictions.newest_bundle(logged.filter(pl.col("time") <= T0 + timedelta(hours=25))) == B
    assert predictions.newest_bundle(logged.filter(pl.col("role") == "canary")) == ""
    some = predictions.sampled(logged, 100, of=1000)
    assert (
        some.height == 100
        and some["request_id"].n_unique() == 40
        and some.columns == logged.collect_schema().names()
    )
    assert predictions.sampled(logged, 5000, of=1000).height == 1000
