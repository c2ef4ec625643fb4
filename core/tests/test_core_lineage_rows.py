"""The rows behind a prediction are those that the offline join answers with, on the reference project's own views."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from mainspring.core import errors
from mainspring.core.features import point_in_time
from mainspring.core.features.windows import EVENT
from mainspring.core.lineage import rows
from mainspring.core.reference.flight_delay import project


def test_every_view_of_every_tenth_flight_traces_to_the_row_that_was_joined(flights_root: Path) -> None:
    report = project.FlightDelay(flights_root / "csv").build_features(
        flights_root / "lake", flights_root / "features"
    )
    views = {v.view.name: pl.scan_parquet(v.path) for v in report.views}
    asked = (
        pl.read_parquet(flights_root / "features" / "requests.parquet")
        .drop_nulls("tailnum")
        .gather_every(400)
    )
    joined = {
        v.view.name: point_in_time.newest(asked, v.view, views[v.view.name], ignore_ttl=True)
        for v in report.views
    }
    seen = set()
    for i, flight in enumerate(asked.iter_rows(named=True)):
        found = rows.trace(report.service, views, {"tail_last": "sha256:x"}, flight, flight["as_of"])
        assert [origin.view for origin in found] == [v.name for v in report.service.views]
        for origin in found:
            assert origin.event_at == joined[origin.view][EVENT][i]
            assert origin.event_at is None or origin.event_at <= flight["as_of"]
            seen.add(origin.status)
        assert next(o.version for o in found if o.view == "tail_last") == "sha256:x"
    assert seen == {"present", "not_found", "outside_max_age"} and asked.height > 5


def test_a_row_as_old_as_its_ttl_is_alive_and_keys_are_checked(flights_root: Path) -> None:
    report = project.FlightDelay(flights_root / "csv").build_features(
        flights_root / "lake", flights_root / "features"
    )
    view = report.service.view("flight_number_arr_28d")
    service = report.service.model_copy(update={"views": (view,)})
    path = next(v.path for v in report.views if v.view.name == view.name)
    first = pl.read_parquet(path).row(0, named=True)
    entity, lives = {"carrier": first["carrier"], "flight": str(first["flight"])}, timedelta(days=28)
    only = {view.name: pl.scan_parquet(path).head(1)}
    for late, status in ((timedelta(), "present"), (timedelta(microseconds=1), "outside_max_age")):
        (origin,) = rows.trace(service, only, {}, entity, first[EVENT] + lives + late)
        assert origin.status == status and origin.keys["flight"] == first["flight"]
    at = datetime(2014, 1, 1, tzinfo=UTC)
    with pytest.raises(errors.InvalidRequest, match="`flight`, which was not sent"):
        rows.trace(service, only, {}, {"carrier": "UA"}, at)
    with pytest.raises(errors.InvalidRequest, match="expected a whole number"):
        rows.trace(service, only, {}, entity | {"flight": "x"}, at)
    with pytest.raises(errors.NotFound, match="has no rows here"):
        rows.trace(service, {}, {}, entity, at)
