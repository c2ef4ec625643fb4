"""What must hold in the lake before anybody learns from it, each as one DuckDB query over the Parquet files.

A query gives one number, held against a bound. Fatal checks stop the run; warnings are what people should see: this
source has aircraft that no register lists and hours without weather, and would not be this source without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import duckdb

from mainspring.core import errors, projects
from mainspring.core.features import folders

__all__ = ["run"]


@dataclass(frozen=True)
class _Check:
    name: str
    sql: str
    at_most: float = 0.0
    at_least: float = 0.0
    fatal: bool = True


#: Type of each column that something later relies on, in DuckDB's words.
_TYPES: Final = {
    "flights": {
        "carrier": "VARCHAR", "flight": "BIGINT", "tailnum": "VARCHAR", "origin": "VARCHAR", "dest": "VARCHAR",
        "month": "INTEGER", "time_hour": "TIMESTAMP WITH TIME ZONE", "scheduled_departure": "TIMESTAMP WITH TIME ZONE",
        "scheduled_arrival": "TIMESTAMP WITH TIME ZONE", "distance": "INTEGER", "dep_delay": "INTEGER",
        "arr_delay": "INTEGER", "air_time": "INTEGER",
    },
    "weather": {
        "origin": "VARCHAR", "time_hour": "TIMESTAMP WITH TIME ZONE", "temp": "FLOAT", "dewp": "FLOAT",
        "wind_dir": "FLOAT", "wind_speed": "FLOAT", "wind_gust": "FLOAT", "precip": "FLOAT", "pressure": "FLOAT",
        "visib": "FLOAT", "humid": "FLOAT",
    },
    "planes": {"tailnum": "VARCHAR", "year": "FLOAT", "seats": "FLOAT", "engines": "FLOAT"},
    "airports": {"faa": "VARCHAR", "tzone": "VARCHAR"},
    "airlines": {"carrier": "VARCHAR"},
}  # fmt: skip

#: 2013 on New York's clock, in UTC seconds.
_YEAR: Final = (1357016400, 1388552400)


def _share(of: str, where: str, table: str = "flights") -> str:
    return f"SELECT count(*) FILTER ({where}) / greatest(count(*), 1) FROM {table} {of}"


def _outside(table: str, column: str, low: float, high: float) -> _Check:
    sql = f"SELECT count(*) FROM {table} WHERE {column} NOT BETWEEN {low} AND {high}"
    return _Check(f"{table}: {column} within [{low:g}, {high:g}]", sql)


def _repeated(table: str, columns: str) -> _Check:
    sql = f"SELECT count(*) - count(DISTINCT ({columns})) FROM {table}"
    return _Check(f"{table}: ({columns}) is unique", sql)


_CHECKS: Final = (
    _Check("flights: there are rows", "SELECT count(*) FROM flights", at_least=1, at_most=1e9),
    _Check("weather: there are rows", "SELECT count(*) FROM weather", at_least=1, at_most=1e9),
    _repeated("flights", "time_hour, carrier, flight"),
    _repeated("weather", "origin, time_hour"),
    _repeated("planes", "tailnum"),
    _repeated("airports", "faa"),
    _Check(
        "flights: keys and schedule are not null",
        "SELECT count(*) FROM flights WHERE carrier IS NULL OR flight IS NULL OR origin IS NULL OR dest IS NULL OR"
        " time_hour IS NULL OR scheduled_departure IS NULL OR scheduled_arrival IS NULL OR distance IS NULL",
    ),
    _Check("weather: keys are not null", "SELECT count(*) FROM weather WHERE origin IS NULL OR time_hour IS NULL"),
    _Check("flights: origin is EWR, JFK or LGA", "SELECT count(*) FROM flights WHERE origin NOT IN ('EWR', 'JFK', 'LGA')"),
    _Check(
        "flights: departure lies in its time_hour",
        "SELECT count(*) FROM flights WHERE epoch(scheduled_departure) - epoch(time_hour) NOT BETWEEN 0 AND 3599",
    ),
    _Check(
        "flights: departure lies in 2013",
        f"SELECT count(*) FROM flights WHERE epoch(scheduled_departure) NOT BETWEEN {_YEAR[0]} AND {_YEAR[1] - 1}",
    ),
    _Check(
        "flights: times run forward, 20 to 900 minutes from departure to arrival",
        "SELECT count(*) FROM flights WHERE epoch(scheduled_arrival) - epoch(scheduled_departure) NOT BETWEEN 1200 AND 54000",
    ),
    _outside("flights", "distance", 10, 6000),
    _outside("flights", "dep_delay", -120, 2880),
    _outside("flights", "arr_delay", -180, 2880),
    _Check(
        "flights: what arrived had departed",
        "SELECT count(*) FROM flights WHERE arr_delay IS NOT NULL AND dep_delay IS NULL",
    ),
    _outside("weather", "temp", -40, 130),
    _outside("weather", "pressure", 900, 1100),
    _outside("weather", "visib", 0, 10),
    _outside("planes", "year", 1900, 2013),
    _outside("planes", "seats", 1, 900),
    _Check(
        "flights: every carrier is an airline",
        "SELECT count(*) FROM flights ANTI JOIN airlines USING (carrier)",
    ),
    _Check(
        "share of flights that took less time than they flew",
        _share("", "WHERE (epoch(scheduled_arrival) - epoch(scheduled_departure)) / 60 + arr_delay - dep_delay < air_time"),
        at_most=0.001,
        fatal=False,
    ),
    _Check("share of flights cancelled", _share("", "WHERE dep_delay IS NULL"), at_most=0.10, fatal=False),
    _Check(
        "share of arrivals late",
        "SELECT coalesce(avg(CAST(arr_delay > 15 AS INTEGER)), 0) FROM flights",
        at_least=0.10,
        at_most=0.40,
        fatal=False,
    ),
    _Check(
        "share of flights to airports not listed",
        _share("LEFT JOIN airports ON dest = faa", "WHERE faa IS NULL"),
        at_most=0.03,
        fatal=False,
    ),
    _Check(
        "share of flights without a registered aircraft",
        _share("LEFT JOIN planes USING (tailnum)", "WHERE planes.tailnum IS NULL"),
        at_most=0.20,
        fatal=False,
    ),
    _Check(
        "share of flights without weather in their hour",
        _share("LEFT JOIN weather USING (origin, time_hour)", "WHERE temp IS NULL"),
        at_most=0.02,
        fatal=False,
    ),
    _Check(
        "longest gap in an airport's weather, hours",
        "SELECT coalesce(max(gap), 0) FROM (SELECT (epoch(time_hour) - lag(epoch(time_hour)) OVER"
        " (PARTITION BY origin ORDER BY time_hour)) / 3600 AS gap FROM weather)",
        at_most=6,
        fatal=False,
    ),
)  # fmt: skip


def run(lake: folders.Folder) -> projects.ValidationReport:
    """Run every check over an intact lake.

    Errors: DataInvalid, naming the fatal checks that failed; a wrong schema stops before the queries that need it.
    """
    with duckdb.connect() as db:
        db.execute("SET threads TO 2")
        db.execute("SET TimeZone TO 'UTC'")
        try:
            for table in _TYPES:
                files = [str(p) for p in sorted((lake.path / table).rglob("*.parquet"))]
                db.read_parquet(files, hive_partitioning=False).create_view(table)
            results = [_schema_check(db, table) for table in _TYPES]
            if all(r.ok for r in results):
                results.extend(_run(db, check) for check in _CHECKS)
        except duckdb.Error as error:
            raise errors.DataInvalid(
                f"lake `{lake.path}` cannot be queried: {error}; remove it and ingest again",
                dataset=str(lake.path),
                failed=("readable",),
            ) from error
    report = projects.ValidationReport(dataset_digest=lake.digest, checks=tuple(results))
    if report.failed:
        first = report.failed[0]
        raise errors.DataInvalid(
            f"{len(report.failed)} of {len(results)} checks failed, first `{first.name}`: expected {first.expected}, got"
            f" {first.observed}; look at the source, or quarantine the batch",
            dataset=str(lake.path),
            failed=tuple(c.name for c in report.failed),
        )
    return report


def _schema_check(db: duckdb.DuckDBPyConnection, table: str) -> projects.CheckResult:
    found = {name: kind for name, kind, *_ in db.execute(f"DESCRIBE {table}").fetchall()}
    wrong = [f"{c} {found.get(c, 'absent')}" for c, kind in _TYPES[table].items() if found.get(c) != kind]
    expected = ", ".join(f"{c} {_TYPES[table][c]}" for c in _TYPES[table] if found.get(c) != _TYPES[table][c])
    return projects.CheckResult(
        name=f"{table}: columns and types",
        expected=expected or f"{len(_TYPES[table])} columns as declared",
        observed=", ".join(wrong) or f"{len(_TYPES[table])} columns as declared",
        ok=not wrong,
    )


def _run(db: duckdb.DuckDBPyConnection, check: _Check) -> projects.CheckResult:
    row: Sequence[float] | None = db.execute(check.sql).fetchone()
    value = float(row[0]) if row is not None and row[0] is not None else 0.0
    bounds = f"{check.at_least:g} to {check.at_most:g}" if check.at_least else f"at most {check.at_most:g}"
    return projects.CheckResult(
        name=check.name,
        expected=bounds,
        observed=f"{value:.6g}",
        ok=check.at_least <= value <= check.at_most,
        fatal=check.fatal,
    )
