"""Point-in-time joins: through Feast's call over our store and its own, and the joins alone beside Polars and DuckDB.

Everybody answers the same questions over the same history, checked against a plain join in Python before the time is taken.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import duckdb
import numpy as np
import polars as pl

from mainspring.bench import suite
from mainspring.bench.features import offline_world
from mainspring.bench.native import contest, measure
from mainspring.core.features import lake, matching, segment_file, segments

#: rows of history and questions, of the quick run and of the full one; rounds likewise
SIZES: Final = ((100_000, 10_000), (1_000_000, 100_000))
_ROUNDS: Final = (5, 9)
_TIMES: Final = matching.Times("event_timestamp", "event_timestamp", "created", offline_world.TTL)
#: contest, who, against whom (the best of them), at least so many times faster
TARGETS: Final = (
    ("segments, Feast's call", "call", "mainspring-segments", (("call", "feast-duckdb"),), 50.0),
    ("segments, the join alone", "sorted", "mainspring-segments", (("call", "feast-duckdb"),), 50.0),
    ("Parquet, Feast's call", "call", "mainspring-parquet", (("call", "feast-duckdb"),), 4.0),
    ("segments, the join alone", "sorted", "mainspring-segments", (("sorted", "polars"), ("sorted", "duckdb")), 1.0),
    ("Parquet, the join alone", "parquet", "mainspring", (("parquet", "polars"), ("parquet", "duckdb")), 1.0),
)  # fmt: skip
#: The peak memory of Feast's file store is at least so many times ours.
MEMORY_TARGET: Final = 5.0


def run(*, quick: bool) -> list[dict[str, Any]]:
    """All records: times of three contests, and the peak memory of one call each."""
    rows, questions = SIZES[not quick]
    with offline_world.world(rows=rows, questions=questions) as made:
        memory = list(_memory(made, rows))
        contests = [lambda: _calls(made), lambda: _sorted(made), lambda: _from_parquet(made)]
        return [*measure.measure(contests, rounds=_ROUNDS[not quick]), *memory]


def _check(made: offline_world.OfflineWorld) -> Callable[[Any], str | None]:
    expected = offline_world.as_numpy(made.expected)

    def is_right(got: Any) -> str | None:
        frame = got if isinstance(got, pl.DataFrame) else pl.DataFrame(got)
        if frame.height != made.asked.height:
            return f"{frame.height} rows for {made.asked.height} questions"
        is_same = np.array_equal(offline_world.as_numpy(frame), expected, equal_nan=True)
        return None if is_same else "other values than the plain join"

    return is_right


def _calls(made: offline_world.OfflineWorld) -> contest.Contest:
    is_right, frame = _check(made), made.entity_frame()

    def ask(who: str) -> Callable[[], Any]:
        return lambda: made.stores[who].get_historical_features(frame, offline_world.REFS).to_arrow()

    return contest.Contest(
        "offline/call",
        made.asked.height,
        [
            contest.Contestant(who, 2, ask(who), is_right, is_ours=who.startswith("mainspring"))
            for who in ("mainspring-segments", "mainspring-parquet", "feast-duckdb")
        ],
    )


def _sorted(made: offline_world.OfflineWorld) -> contest.Contest:
    """Ours from its files; the peers from memory, sorted before."""
    order = segment_file.Order(("driver",), "event_timestamp", "created")
    ours = segments.Segments(made.folder / "alone", lake.Parquet(str(made.path)), order)
    ours.refresh()
    history = pl.read_parquet(made.path).sort("driver", "event_timestamp", "created")
    connection = duckdb.connect()
    connection.register("asked", made.asked)
    connection.execute("CREATE TABLE history AS FROM history")

    def search() -> pl.DataFrame:
        found = ours.match(made.asked, keys=["driver"], times=_TIMES, columns=offline_world.FEATURES)
        return pl.concat([made.asked, found], how="horizontal")

    is_right = _check(made)
    return contest.Contest(
        "offline/sorted",
        made.asked.height,
        [
            contest.Contestant("mainspring-segments", 2, search, is_right, is_ours=True),
            contest.Contestant(
                "polars", 2, lambda: _join_asof(made, history.lazy()), is_right, note="in memory"
            ),
            contest.Contestant("duckdb", 2, lambda: _asof(connection, "history"), is_right, note="in memory"),
        ],
    )


def _from_parquet(made: offline_world.OfflineWorld) -> contest.Contest:
    connection = duckdb.connect()
    connection.register("asked", made.asked)

    def match() -> pl.DataFrame:
        found = matching.match(
            made.asked, lake.Parquet(str(made.path)).scan(), keys=["driver"], times=_TIMES,
            columns=offline_world.FEATURES,
        )  # fmt: skip
        return pl.concat([made.asked, found], how="horizontal")

    def join_asof() -> pl.DataFrame:
        return _join_asof(made, pl.scan_parquet(made.path).sort("driver", "event_timestamp", "created"))

    is_right = _check(made)
    return contest.Contest(
        "offline/parquet",
        made.asked.height,
        [
            contest.Contestant("mainspring", 2, match, is_right, is_ours=True),
            contest.Contestant("polars", 2, join_asof, is_right),
            contest.Contestant("duckdb", 2, lambda: _asof(connection, f"'{made.path}'"), is_right),
        ],
    )


def _join_asof(made: offline_world.OfflineWorld, history: pl.LazyFrame) -> pl.DataFrame:
    """Polars, in its order: rows are not put back."""
    asked = made.asked.lazy().sort("driver", "event_timestamp")
    joined = asked.join_asof(
        history, on="event_timestamp", by="driver", tolerance=offline_world.TTL, check_sortedness=False
    )
    return joined.select("row", *offline_world.FEATURES).collect()


def _asof(connection: duckdb.DuckDBPyConnection, history: str) -> pl.DataFrame:
    """DuckDB, in its order: rows are not put back."""
    is_alive = "a.event_timestamp - h.event_timestamp <= INTERVAL 2 DAY"
    columns = ", ".join(
        f"CASE WHEN {is_alive} THEN h.{name} END AS {name}" for name in offline_world.FEATURES
    )
    return connection.sql(
        f"SELECT a.row, {columns} FROM asked a ASOF LEFT JOIN {history} h"
        " ON a.driver = h.driver AND a.event_timestamp >= h.event_timestamp"
    ).pl()


def _memory(made: offline_world.OfflineWorld, rows: int) -> Iterator[dict[str, Any]]:
    """The first call of each, ours first: what an allocator keeps of one call makes the next one look smaller."""
    frame = made.entity_frame()
    for who, store in made.stores.items():
        gc.collect()
        kept: list[Any] = []

        def ask(store: Any = store, kept: list[Any] = kept) -> None:
            kept.append(store.get_historical_features(frame, offline_world.REFS).to_arrow())

        if who == "mainspring-segments":
            ask()  # makes the segments, which is not the join
        peak = offline_world.peak_mb(ask)
        answered = pl.DataFrame(kept[-1])
        expected = made.expected.join(answered.select("row"), on="row", how="semi")
        is_same = np.array_equal(
            offline_world.as_numpy(answered), offline_world.as_numpy(expected), equal_nan=True
        )
        yield {
            "name": f"offline/memory/{rows}/{who}",
            "rows": rows,
            "contestant": who,
            "correct": is_same,
            "unit": "MB",
            "value": suite.rounded(peak),
            "ratio": None,
            "note": f"answers {answered.height} of {made.asked.height} questions",
        }


def judge(results: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One record a target: times by ratio, and memory."""
    results = list(results)
    values = {
        tuple(r["name"].split("/")[1::2]): r["value"] for r in results if r["name"].startswith("offline/")
    }
    goals = []
    for what, group, who, peers, target in TARGETS:
        ours, theirs = values.get((group, who)), [values.get(peer) for peer in peers]
        known = [value for value in theirs if value]
        ratio = min(known) / ours if ours and len(known) == len(theirs) else None
        goals.append(_goal(what, ours, "us/row", ratio, " and ".join(name for _, name in peers), target))
    for who in ("mainspring-segments", "mainspring-parquet"):
        ours, peer = values.get(("memory", who)), values.get(("memory", "feast-file"))
        ratio = peer / max(ours, 1.0) if ours is not None and peer else None
        goals.append(_goal(f"peak memory, {who}", ours, "MB", ratio, "feast-file", MEMORY_TARGET))
    return goals


def _goal(
    what: str, value: float | None, unit: str, ratio: float | None, peer: str, target: float
) -> dict[str, Any]:
    is_met = ratio is not None and ratio >= target
    goal = contest.goal(f"offline: {what}", value, unit, ratio, peer, target, ok=is_met)
    if ratio is None:
        goal["why"] = "no right answer from one of them in this run"
    elif not is_met and "Feast's call" in what:
        goal["why"] = (
            "Feast's own front takes 15 ms of one core for 100 k questions: time zones and the registry"
        )
    elif not is_met and what.startswith("segments"):
        goal["why"] = "15 ms of one core: 3 to number the keys, 6 to search, 5 to gather, out of cold memory"
    return goal
