"""No feature knows the future: proved on the project's own, and each known way to leak is caught by name."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from core_flights_world import build, days, tables, write_csv

from mainspring.core import errors, projects
from mainspring.core.features import windows
from mainspring.core.reference.flight_delay import dataset, events, leakage, project, source, views

CUTOFFS = [datetime(2013, 2, d, h, m, tzinfo=UTC) for d, h, m in ((7, 12, 0), (8, 19, 30), (10, 23, 59))]


def february() -> source.Tables:
    return days(4, 13)


def test_no_feature_moves_over_thousands_of_flights() -> None:
    """The eighth of February is a storm: a third of the day is cancelled or hours late."""
    report = leakage.check(february(), build, CUTOFFS, seed=1)
    assert report.moved == () and report.ok
    assert report.compared_rows > 5000 and report.perturbed_values > 50_000


def test_no_feature_moves_at_the_edges_of_daylight_saving() -> None:
    march = days(6, 13, month=3)
    report = leakage.check(
        march, build, [datetime(2013, 3, 10, h, 59, tzinfo=UTC) for h in (6, 7, 14)], seed=2
    )
    assert report.ok and report.compared_rows > 5000


def test_most_features_do_move_for_flights_asked_later() -> None:
    """The check can fail: what moves nothing would also prove nothing."""
    cutoff = CUTOFFS[0]
    after, _ = leakage.perturb(february(), cutoff, np.random.default_rng(0))
    asked = (pl.col("as_of") > cutoff) & (pl.col("as_of") < cutoff + timedelta(hours=12))
    same_rows = build(february()).filter(asked).join(build(after), on=dataset.IDENTITY, suffix="__after")
    moved = {
        c
        for c in build(february()).columns
        if f"{c}__after" in same_rows.columns and same_rows[c].ne_missing(same_rows[f"{c}__after"]).any()
    }
    expected = {f"{v.name}__{a.name}" for v in views.TRAILING for a in views.AGGREGATES[v.stream]}
    expected |= {f"weather_origin__{f}" for f in views.WEATHER_FIELDS} | {
        "hours_since_tail",
        "fog",
        "aircraft_age_years",
    }
    assert not expected - moved


@pytest.mark.parametrize("seed", range(3))
def test_perturbing_changes_nothing_that_was_known(seed: int) -> None:
    cutoff = CUTOFFS[1]
    before = february()
    after, changed = leakage.perturb(before, cutoff, np.random.default_rng(seed))
    assert changed > 10_000
    for stream in (events.departures, events.arrivals):
        known = [stream(t.flights).filter(pl.col("known_at") <= cutoff) for t in (before, after)]
        assert known[0].height > 2000
        assert known[0].sort(known[0].columns).equals(known[1].sort(known[1].columns))
        later = [stream(t.flights).filter(pl.col("known_at") > cutoff) for t in (before, after)]
        assert not later[0].sort(later[0].columns).equals(later[1].sort(later[1].columns))
    weather = [t.weather.filter(pl.col("time_hour") + timedelta(hours=1) <= cutoff) for t in (before, after)]
    assert weather[0].equals(weather[1])


Leak = Callable[[source.Tables], pl.DataFrame]


def _rows(some: source.Tables) -> pl.DataFrame:
    return dataset.requests(some.flights).sort(dataset.IDENTITY)


def _column(name: str) -> Leak:
    """A column of the flight itself that is known only afterwards."""
    return lambda some: _rows(some).join(some.flights.select(*dataset.IDENTITY, name), on=dataset.IDENTITY)


def _same_day(some: source.Tables) -> pl.DataFrame:
    """The mean delay of the carrier at the airport on that day, the whole day."""
    day = pl.col("scheduled_departure").dt.date()
    mean = some.flights.select(
        *dataset.IDENTITY, same_day=pl.col("arr_delay").mean().over("carrier", "origin", day)
    )
    return _rows(some).join(mean, on=dataset.IDENTITY)


def _whole_year(some: source.Tables) -> pl.DataFrame:
    """The share of late arrivals of the flight number over all rows: a target mean."""
    late = (pl.col("arr_delay") > 15).mean().over("carrier", "flight")
    return _rows(some).join(some.flights.select(*dataset.IDENTITY, whole_year=late), on=dataset.IDENTITY)


def _at_departure(some: source.Tables) -> pl.DataFrame:
    """Arrival delays placed at the departure, as if known when the aircraft left."""
    flights = some.flights.drop_nulls("arr_delay").with_columns(
        known_at=pl.col("scheduled_departure") + pl.duration(minutes="dep_delay")
    )
    rolled = windows.trailing(
        flights, keys=["origin"], known_at="known_at", window=timedelta(hours=3),
        aggregates=[windows.Aggregate("at_departure", "mean", "arr_delay")],
    )  # fmt: skip
    return _rows(some).sort("as_of").join_asof(
        rolled.select("origin", "event_timestamp", "at_departure").sort("event_timestamp"),
        left_on="as_of", right_on="event_timestamp", by="origin", check_sortedness=False,
    ).drop("event_timestamp")  # fmt: skip


def _weather_of_the_hour(some: source.Tables) -> pl.DataFrame:
    """The weather at departure, two hours after the prediction."""
    return _rows(some).join(
        some.weather.select("origin", "time_hour", weather_then="wind_speed"),
        on=["origin", "time_hour"],
        how="left",
    )


@pytest.mark.parametrize(
    ("name", "leak"),
    [
        *((c, _column(c)) for c in ("dep_delay", "dep_time", "arr_time", "air_time")),
        ("same_day", _same_day),
        ("whole_year", _whole_year),
        ("at_departure", _at_departure),
        ("weather_then", _weather_of_the_hour),
    ],
)
def test_each_known_leak_is_caught_by_name(name: str, leak: Leak) -> None:
    assert leakage.check(february(), leak, CUTOFFS[:2], seed=3).moved == (name,)


def test_a_whole_year_mean_is_far_too_small_for_the_alarm_and_still_caught() -> None:
    """On its own it looks like any honest feature: no threshold on quality sees it, the perturbation does."""
    from mainspring.core.models import evaluation

    known = _whole_year(tables()).drop_nulls("late").filter(pl.col("split") == "test")
    alone = evaluation.auc(known["late"].to_numpy(), known["whole_year"].to_numpy())
    assert 0.6 < alone < 0.7 < project.PROJECT.quality_gates().leak_alarm_auc
    june = [datetime(2013, 6, 1, tzinfo=UTC)]
    assert leakage.check(tables(), _whole_year, june, whole=True).moved == ("whole_year",)


def test_a_check_that_compares_or_changes_nothing_is_refused() -> None:
    with pytest.raises(errors.DataInvalid, match="proves nothing"):
        leakage.check(february(), build, [datetime(2012, 1, 1, tzinfo=UTC)])
    with pytest.raises(errors.DataInvalid, match="proves nothing"):
        leakage.check(days(4, 5), _column("dep_delay"), [datetime(2015, 1, 1, tzinfo=UTC)])
    with pytest.raises(errors.InvalidRequest):
        leakage.choose_cutoffs(february(), 0)


def test_cutoffs_are_instants_of_flights_in_order() -> None:
    chosen = leakage.choose_cutoffs(february(), 3)
    asked = set(dataset.requests(february().flights)["as_of"].to_list())
    assert chosen == sorted(chosen) and set(chosen) <= asked


@pytest.mark.parametrize("relaxed", [False, True])
def test_the_alarm_stops_a_model_that_saw_the_departure(relaxed: bool) -> None:
    """A score from `dep_delay` alone reaches 0.89 on the real test months, above what two hours ahead can know."""
    from mainspring.core.models import evaluation

    rows = _column("dep_delay")(tables()).filter(pl.col("split") == "test").drop_nulls("late")
    labels, delay = rows["late"].to_numpy(), rows["dep_delay"].to_numpy().astype(np.float64)
    leaky = evaluation.evaluate(labels, 1 / (1 + np.exp(-(delay - 15) / 15)))
    chance = evaluation.evaluate(labels, np.full(len(labels), labels.mean()))
    assert 0.85 < leaky.auc < 0.95
    known = np.stack([delay, np.zeros_like(delay)], axis=1).astype(np.float32)
    singles = evaluation.column_aucs(known, ("dep_delay", "nothing"), labels)
    with pytest.raises(errors.LeakDetected) as caught:
        evaluation.check_gates(
            leaky, chance, project.PROJECT.quality_gates(relaxed=relaxed), column_aucs=singles
        )
    assert caught.value.features[0] == "dep_delay"


def test_a_leak_inside_the_project_fails_its_own_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step of the pipeline, with one rule wrong: an arrival's delay is told at its departure."""
    mine = project.FlightDelay(write_csv(tmp_path, days=tuple((2, d) for d in range(6, 11))))
    mine.ingest(tmp_path / "lake")
    honest = mine.leak_check(tmp_path / "lake", cutoffs=1)
    assert honest.ok and honest.compared_rows > 1000
    assert projects.LeakReport.model_validate_json(honest.model_dump_json()) == honest

    told_early = pl.col("scheduled_departure") + pl.duration(minutes=pl.col("dep_delay").fill_null(0))

    def arrivals(flights: pl.DataFrame) -> pl.DataFrame:
        arrived = flights.drop_nulls("arr_delay")
        return real(flights).with_columns(arrived.select(known_at=told_early)["known_at"])

    real = events.arrivals
    monkeypatch.setattr(events, "arrivals", arrivals)
    with pytest.raises(errors.LeakDetected) as caught:
        mine.leak_check(tmp_path / "lake", cutoffs=1)
    moved = set(caught.value.features)
    assert {"tail_last__arr_delay", "carrier_arr_24h__mean_arr_delay", "dest_arr_6h__late_share"} <= moved
    assert not any(
        "_dep_" in name or name.startswith("weather") for name in moved
    )  # only what was made wrong
