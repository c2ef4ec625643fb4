"""Features that are there twice are found, under whichever names, and others are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mainspring.core import errors
from mainspring.core.features import duplicates

N = 2000
KEYS = ("origin", "event_at")


def tables() -> dict[str, pl.LazyFrame]:
    rng = np.random.default_rng(1)
    at = np.arange(N)
    delay, wind = rng.exponential(10, N), rng.normal(5, 2, N)
    flights = pl.DataFrame(
        {
            "origin": [f"A{i % 50}" for i in at],
            "event_at": at,
            "delay": delay,
            "delay_minutes": delay * 60,
            "late": delay > 15,
            "constant": 1.0,
            "nothing": pl.Series([None] * N, dtype=pl.Float64),
        }
    )
    weather = pl.DataFrame(
        {
            "event_at": at[::-1],
            "origin": [f"A{i % 50}" for i in at[::-1]],
            "wind": wind,
            "lull": -wind,
            "mean_delay": delay[::-1] + rng.normal(0, 0.01, N),
            "noise": rng.normal(size=N),
            "ones": 1,
        }
    )
    carriers = pl.DataFrame(
        {
            "carrier": [f"C{i}" for i in at],
            "wait": rng.permutation(delay),
            "rounded": np.rint(rng.permutation(wind)),
        }
    )
    return {"flights": flights.lazy(), "weather": weather.lazy(), "carriers": carriers.lazy()}


def test_the_same_and_nearly_the_same_are_found_and_nothing_else() -> None:
    found = duplicates.find(tables(), (*KEYS, "carrier"))
    assert [(d.one, d.other, d.kind) for d in found] == [
        ("flights.delay", "carriers.wait", "same"),
        ("flights.delay", "flights.delay_minutes", "nearly"),
        ("weather.wind", "weather.lull", "nearly"),
        ("flights.delay", "weather.mean_delay", "nearly"),
        ("flights.delay_minutes", "weather.mean_delay", "nearly"),
    ]
    assert found[2].alike == -1.0 and found[3].alike > duplicates.NEARLY
    assert {d.rows for d in found} == {N}


def test_a_number_is_the_same_in_another_type_and_nan_is_missing() -> None:
    key = pl.Series("k", range(300))
    whole = pl.DataFrame(
        {"k": key, "n": [i % 7 for i in range(300)], "f": [float("nan"), *map(float, range(299))]}
    )
    other = pl.DataFrame({"k": key, "n32": pl.Series([i % 7 for i in range(300)], dtype=pl.Int32),
                          "g": [None, *map(float, range(299))]})  # fmt: skip
    found = duplicates.find({"a": whole.lazy(), "b": other.lazy()}, ["k"])
    assert [(d.one, d.other, d.kind, d.rows) for d in found] == [
        ("a.f", "b.g", "same", 299),
        ("a.n", "b.n32", "same", 300),
    ]


def test_words_are_compared_too_and_few_rows_are_not_judged() -> None:
    key = range(150)
    words = [f"w{i % 9}" for i in key]
    a = pl.DataFrame({"k": key, "city": words, "x": np.arange(150.0)})
    b = pl.DataFrame(
        {"k": key, "town": words[::-1], "y": np.where(np.arange(150) < 60, np.arange(150.0), None)}
    )
    found = duplicates.find({"a": a.lazy(), "b": b.lazy()}, ["k"])
    assert [(d.one, d.other) for d in found] == [("a.city", "b.town")]


def test_a_table_without_a_key_is_refused() -> None:
    with pytest.raises(errors.InvalidRequest, match="`a` has none of the keys k; it has x"):
        duplicates.find({"a": pl.LazyFrame({"x": [1]})}, ["k"])


def test_of_a_large_table_the_same_rows_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_COMPARED", 300)
    found = duplicates.find(tables(), (*KEYS, "carrier"))
    assert {d.rows for d in found if d.kind == "nearly"} == {300}, (
        "not only those that both samples happen to have"
    )
    assert len(found) == 5


def test_what_the_second_takes_online_and_to_make(tmp_path: Path) -> None:
    rows = pl.DataFrame(
        {
            "k": ["a", "a", "b", "c"],
            "event_timestamp": [1, 2, 1, 1],
            "real": [1.0, 2.0, None, 4.0],
            "small": pl.Series([1, 2, 3, 4], dtype=pl.Int16),
            "flag": [True, False, True, None],
            "text": ["xx", "xxxx", None, "x" * 6],
            "at": pl.Series([1, 2, 3, 4], dtype=pl.Datetime("us", "UTC")),
        }
    )
    rows.write_parquet(tmp_path / "v.parquet")
    files = {"v": tmp_path / "v.parquet"}

    def takes(field: str) -> int:
        return duplicates.online_bytes(files, f"v.{field}", ["k", "event_timestamp"], ["event_timestamp"])

    assert {name: takes(name) for name in ("real", "small", "flag", "text", "at")} == {
        "real": 3 * 8, "small": 3 * 2, "flag": 1, "text": 3 * 4, "at": 3 * 8,
    }  # fmt: skip
    assert 0 <= duplicates.making_seconds(files, "v.real") < 5
