"""What must hold in the lake before anybody learns from it.

Fatal checks refuse the batch; warnings are what people should see: this source has aircraft that no register lists and
hours without weather, and would not be this source without them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import polars as pl

from mainspring.core import canonical, errors, projects
from mainspring.core.features import folders
from mainspring.core.quality import measures
from mainspring.core.quality.expectations import (
    PSI_WARNING,
    Columns,
    Distribution,
    Expectation,
    NotNull,
    Range,
    References,
    Rows,
    Share,
    Suite,
    Unique,
)
from mainspring.core.quality.report import QualityReport

__all__ = ["DIGEST", "SUITES", "reports", "run"]

_TIME: Final = "Datetime(time_unit='us', time_zone='UTC')"

#: Type of each column that something later relies on.
_TYPES: Final = {
    "flights": {
        "carrier": "String", "flight": "Int64", "tailnum": "String", "origin": "String", "dest": "String", "month": "Int32",
        "time_hour": _TIME, "scheduled_departure": _TIME, "scheduled_arrival": _TIME, "distance": "Int32",
        "dep_delay": "Int32", "arr_delay": "Int32", "air_time": "Int32",
    },
    "weather": {
        "origin": "String", "time_hour": _TIME, "temp": "Float32", "dewp": "Float32", "wind_dir": "Float32",
        "wind_speed": "Float32", "wind_gust": "Float32", "precip": "Float32", "pressure": "Float32", "visib": "Float32",
        "humid": "Float32",
    },
    "planes": {"tailnum": "String", "year": "Float32", "seats": "Float32", "engines": "Float32"},
    "airports": {"faa": "String", "tzone": "String"},
    "airlines": {"carrier": "String"},
}  # fmt: skip

_MINUTES: Final = "(EXTRACT(EPOCH FROM scheduled_arrival) - EXTRACT(EPOCH FROM scheduled_departure)) / 60"
_INTO_HOUR: Final = "EXTRACT(EPOCH FROM scheduled_departure) - EXTRACT(EPOCH FROM time_hour)"


def _holds(says: str, where: str) -> Share:
    return Share(says=says, where=where)


def _usually(says: str, where: str, *, at_most: float, at_least: float = 0.0) -> Share:
    return Share(says=says, where=where, at_least=at_least, at_most=at_most, fatal=False)


def _mostly_in(of: str, *columns: str, to: str = "", at_most: float) -> References:
    return References(
        columns=columns, of=of, to=(to,) if to else (), at_most=at_most, null_passes=False, fatal=False
    )


_FLIGHTS: Final[tuple[Expectation, ...]] = (
    Rows(),
    Unique(columns=("time_hour", "carrier", "flight")),
    NotNull(
        columns=(
            "carrier", "flight", "origin", "dest", "time_hour", "scheduled_departure", "scheduled_arrival", "distance",
        )
    ),
    _holds("origin is EWR, JFK or LGA", "origin IN ('EWR', 'JFK', 'LGA')"),
    _holds("departure lies in its time_hour", f"{_INTO_HOUR} BETWEEN 0 AND 3599"),
    # 2013 on New York's clock, in UTC seconds.
    _holds("departure lies in 2013", "EXTRACT(EPOCH FROM scheduled_departure) BETWEEN 1357016400 AND 1388552399"),
    _holds("times run forward, 20 to 900 minutes from departure to arrival", f"{_MINUTES} BETWEEN 20 AND 900"),
    Range(column="distance", low=10, high=6000),
    Range(column="dep_delay", low=-120, high=2880),
    Range(column="arr_delay", low=-180, high=2880),
    _holds("what arrived had departed", "arr_delay IS NULL OR dep_delay IS NOT NULL"),
    References(columns=("carrier",), of="airlines", null_passes=False),
    _usually("took less time than it flew", f"{_MINUTES} + arr_delay - dep_delay < air_time", at_most=0.001),
    _usually("cancelled", "dep_delay IS NULL", at_most=0.10),
    _usually("arrived late", "arr_delay > 15", at_least=0.10, at_most=0.40),
    _mostly_in("airports", "dest", to="faa", at_most=0.03),
    _mostly_in("planes", "tailnum", at_most=0.20),
    _mostly_in("weather", "origin", "time_hour", at_most=0.02),
    Distribution(column="carrier", at_most=PSI_WARNING, fatal=False),
    Distribution(column="dep_delay", at_most=PSI_WARNING, fatal=False),
)  # fmt: skip

_WEATHER: Final[tuple[Expectation, ...]] = (
    Rows(),
    Unique(columns=("origin", "time_hour")),
    NotNull(columns=("origin", "time_hour")),
    Range(column="temp", low=-40, high=130),
    Range(column="pressure", low=900, high=1100),
    Range(column="visib", low=0, high=10),
)

_PLANES: Final[tuple[Expectation, ...]] = (
    Unique(columns=("tailnum",)),
    Range(column="year", low=1900, high=2013),
    Range(column="seats", low=1, high=900),
)


def _suite(table: str, *expectations: Expectation) -> Suite:
    return Suite(dataset=table, expectations=(Columns(types=_TYPES[table]), *expectations))


SUITES: Final = (
    _suite("flights", *_FLIGHTS),
    _suite("weather", *_WEATHER),
    _suite("planes", *_PLANES),
    _suite("airports", Unique(columns=("faa",))),
    _suite("airlines"),
)
#: Of all that is expected of a lake.
DIGEST: Final = canonical.digest([suite.digest for suite in SUITES])


def reports(lake: Path, accepted: Mapping[str, QualityReport]) -> tuple[QualityReport, ...]:
    """Every table of the folder `lake` against its suite, and against its last accepted report."""
    tables = {
        suite.dataset: pl.scan_parquet(
            sorted((lake / suite.dataset).rglob("*.parquet")), hive_partitioning=False
        )
        for suite in SUITES
    }
    # An hour whose temperature is not known has no weather to speak of.
    others = tables | {"weather": tables["weather"].filter(pl.col("temp").is_not_null())}
    return tuple(
        measures.evaluate(suite, tables[suite.dataset], others=others, accepted=accepted.get(suite.dataset))
        for suite in SUITES
    )


def run(lake: folders.Folder) -> projects.ValidationReport:
    """Run every check over an intact lake.

    Errors: DataInvalid, naming the fatal checks that failed; a wrong schema stops before the checks that need it.
    """
    found = reports(lake.path, {})
    checks = [check for report in found for check in report.checks]
    if not any(report.failed for report in found):
        checks.append(_longest_gap(lake.path))
    report = projects.ValidationReport(dataset_digest=lake.digest, checks=tuple(checks))
    if report.failed:
        first = report.failed[0]
        raise errors.DataInvalid(
            f"{len(report.failed)} of {len(checks)} checks failed, first `{first.name}`: expected {first.expected}, got"
            f" {first.observed}; look at the source, and ingest it again",
            dataset=str(lake.path),
            failed=tuple(c.name for c in report.failed),
        )
    return report


def _longest_gap(lake: Path) -> projects.CheckResult:
    """Of rows beside one another no expectation tells."""
    weather = pl.scan_parquet(sorted((lake / "weather").rglob("*.parquet")), hive_partitioning=False)
    gap = pl.col("time_hour").diff().over("origin", order_by="time_hour").max()
    hours = weather.select(gap.dt.total_seconds() / 3600).collect().item() or 0.0
    return projects.CheckResult(
        name="weather: longest gap of an airport, hours",
        expected="at most 6",
        observed=f"{hours:g}",
        ok=hours <= 6,
        fatal=False,
    )
