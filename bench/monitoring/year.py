"""A check a day over the frozen model's year: which alerts are opened, when, and how many of them in months that were no drift.

September's late rate halves and December's surges; April to August, October and November come and go with the weather. Alerts are
those of the control API: a check each midnight over the seven days before, the default limits and rules.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import polars as pl

from mainspring.bench.monitoring import frozen
from mainspring.core import identity, settings
from mainspring.core.contracts import alerts, control
from mainspring.core.contracts.monitoring import Baseline, Limits, MonitorReport
from mainspring.core.monitoring import judging, outcomes, predictions, sketches, windows
from mainspring.platform import database
from mainspring.platform import plane as control_plane
from mainspring.platform.monitoring import service
from mainspring.platform.projects import service as project_service
from mainspring.platform.runs import launcher

__all__ = ["DRIFTED", "Kept", "checks", "judge", "keep", "months", "opened"]

DRIFTED: Final = ("2013-09", "2013-12")
WINDOW: Final = timedelta(days=7)
#: For the spread of days.
BACK: Final = timedelta(days=56)
_FIRST, _LAST = datetime(2013, 4, 8, tzinfo=UTC), datetime(2014, 1, 1, tzinfo=UTC)
_HORIZON: Final = timedelta(hours=2, minutes=1)
_ROOT: Final = identity.Actor("root@local", ("admin", "service"))


@dataclass(frozen=True)
class Kept:
    """All that a year of checks needs: daily sums of all rows, and the baseline without its slices."""

    baseline: Baseline
    cells: pl.DataFrame
    outcomes: pl.DataFrame

    def write(self, into: Path) -> None:
        self.cells.write_parquet(into / "year-cells.parquet", compression="zstd", compression_level=19)
        self.outcomes.write_parquet(into / "year-outcomes.parquet", compression="zstd", compression_level=19)
        (into / "year-baseline.json").write_text(self.baseline.model_dump_json() + "\n")

    @classmethod
    def read(cls, folder: Path) -> Kept:
        return cls(
            Baseline.model_validate_json((folder / "year-baseline.json").read_bytes()),
            pl.read_parquet(folder / "year-cells.parquet"),
            pl.read_parquet(folder / "year-outcomes.parquet"),
        )


def keep(folder: Path) -> Kept:
    """Fit, answer, log, count and join, by the code that production runs."""
    made = frozen.answer()
    frozen.write_log(folder / "log", made.answered)
    store = windows.WindowStore.of(folder / "windows", frozen.ENDPOINT, frozen.BUNDLE)
    store.put_baseline(made.baseline)
    store.ingest(folder / "log" / frozen.ENDPOINT / frozen.BUNDLE.removeprefix("sha256:")[:16])
    happened = made.answered.select("carrier", pl.col("flight").cast(pl.Int64), "origin", "due", "late")
    labels = outcomes.Labels(
        happened.drop_nulls("late").lazy(),
        keys=("carrier", "flight", "origin"),
        at="due",
        label="late",
        horizon=_HORIZON,
    )
    logged = predictions.scan(folder / "log", endpoint=frozen.ENDPOINT)
    since = _FIRST - WINDOW
    outcomes.update(store, logged, labels, since=since, until=_LAST, now=datetime.now(UTC))
    return Kept(
        made.baseline.model_copy(update={"slices": {}}),
        _daily(store.cells(since, _LAST)),
        _daily(store.outcome_cells(since, _LAST)),
    )


def _daily(cells: pl.DataFrame) -> pl.DataFrame:
    whole = cells.filter(pl.col("slice") == "").with_columns(pl.col("hour").dt.truncate("1d"))
    return sketches.added_up(whole, by=("hour", "slice", "value", "column")).sort("hour", "column")


def checks(kept: Kept) -> Iterator[MonitorReport]:
    """One at each midnight."""
    ends = _FIRST
    while ends <= _LAST:
        begins = ends - WINDOW
        recent = pl.col("hour").is_between(ends - BACK, ends, closed="left")
        yield judging.report(
            kept.baseline,
            kept.cells.filter(recent),
            kept.outcomes.filter(recent),
            project="flights",
            endpoint=frozen.ENDPOINT,
            begins=begins,
            ends=ends,
        )
        ends += timedelta(days=1)


def opened(reports: list[MonitorReport], rules: alerts.AlertRules | None = None) -> list[dict[str, Any]]:
    """Put the reports on record, in order, in a control database of their own: the alerts that were opened."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_recorded(Path(folder), reports, rules))


async def _recorded(
    folder: Path, reports: list[MonitorReport], rules: alerts.AlertRules | None
) -> list[dict[str, Any]]:
    s = settings.load({}, directory=folder)
    issuer = identity.TokenIssuer({"root": _ROOT})
    plane = control_plane.ControlPlane(
        database=database.Database(s.control.database_url),
        issuer=issuer,
        launcher=launcher.MemoryLauncher(),
        book=s.cost,
        train_workers=1,
    )
    await plane.database.open()
    token = "Bearer root"
    try:
        await project_service.create(plane, token, control.ProjectCreate(name="flights", owner="bench"))
        if rules is not None:
            await service.put_rules(plane, token, "flights", rules)
        found, known = [], set()
        for report in reports:
            view = await service.record(plane, token, alerts.ReportRecord(report=report))
            for alert_id in view.alerts:
                if alert_id not in known:
                    known.add(alert_id)
                    alert = await service.show_alert(plane, token, alert_id)
                    found.append(
                        {
                            "at": report.ends.date().isoformat(),
                            "kind": alert.kind,
                            "subject": alert.subject,
                            "message": alert.message,
                        }
                    )
        return found
    finally:
        await plane.database.close()


def months(found: list[dict[str, Any]]) -> dict[str, int]:
    """Alerts opened in each month, of the last day of the window that opened one."""
    by_month = {f"2013-{m:02d}": 0 for m in range(4, 13)}
    for one in found:
        day = datetime.fromisoformat(one["at"]) - timedelta(days=1)
        by_month[f"{day:%Y-%m}"] += 1
    return by_month


def judge(found: list[dict[str, Any]], kept: Kept) -> dict[str, Any]:
    """Whether both drifts were found, after how many days of the month's data, and the false alarms of each stable month."""
    by_month = months(found)
    after = {
        month: min(
            (
                (datetime.fromisoformat(f["at"]) - datetime.fromisoformat(f"{month}-01")).days
                for f in found
                if (datetime.fromisoformat(f["at"]) - timedelta(days=1)).strftime("%Y-%m") == month
            ),
            default=None,
        )
        for month in DRIFTED
    }
    daily = kept.outcomes.select(
        day=pl.col("hour").dt.date(), gap=pl.col("sums").list.get(0), n=pl.col("counts").list.sum()
    ).filter(pl.col("day") >= date(2013, 12, 1))
    week = daily.filter(pl.col("day") < date(2013, 12, 8)).sum()
    # The first of seven days of which five or more were far worse than predicted.
    is_bad = (daily["gap"] / daily["n"] > Limits().max_calibration_gap).to_list()
    surge = next(d for i, d in enumerate(daily["day"]) if is_bad[i] and sum(is_bad[i : i + 7]) >= 5)
    return {
        "days_of_data_until_found": after,
        "december_gap_of_the_first_seven_days": float(week["gap"][0] / week["n"][0]),
        "december_surge_began": str(surge),
        "days_of_the_december_surge_until_found": None
        if after["2013-12"] is None
        else after["2013-12"] - (surge - date(2013, 12, 1)).days,
        "alerts_by_month": by_month,
        "most_false_alarms_in_a_stable_month": max(n for m, n in by_month.items() if m not in DRIFTED),
    }


def sensitivity(kept: Kept, reports: list[MonitorReport]) -> list[dict[str, Any]]:
    """The same year under other limits: how far the default stands from an edge."""
    rows = []
    for gap in (0.08, 0.1, 0.11):
        for errors in (2.5, 2.8, 3.0):
            limits = Limits(max_calibration_gap=gap, standard_errors=errors)
            found = opened([judging.judged_by(kept.baseline, report, limits) for report in reports])
            told = judge(found, kept)
            rows.append(
                {
                    "max_calibration_gap": gap,
                    "standard_errors": errors,
                    "days_of_data_until_found": told["days_of_data_until_found"],
                    "most_false_alarms_in_a_stable_month": told["most_false_alarms_in_a_stable_month"],
                }
            )
    return rows
