"""A check of what was served, on a real project."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import tiny_project
from temporalio.exceptions import ApplicationError

from mainspring.core import projects, workspace
from mainspring.core.contracts import skew
from mainspring.core.features import online
from mainspring.core.features.windows import CREATED, EVENT
from mainspring.core.monitoring import read_log
from mainspring.workflows.skew import activities

REQUEST = skew.SkewRequest(project="tiny")


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projects, "BUILT_IN", {"tiny": "tiny_project:PROJECT"})
    monkeypatch.setattr(tiny_project, "PROJECT", tiny_project.Tiny())


def features(state: Path) -> projects.FeatureReport:
    space = workspace.Workspace(state, "tiny", 1.0)
    tiny_project.PROJECT.ingest(space.lake)
    return tiny_project.PROJECT.build_features(space.lake, space.features)


def serve(folder: Path, report: projects.FeatureReport, change: Mapping[str, pl.Expr]) -> None:
    """Push the view's rows as they are, or changed, and read every key at the time of the rows, on record."""
    (made,) = report.views
    rows = pl.read_parquet(made.path).with_columns(**change)
    log = read_log.ReadLog(folder, max_bytes=1 << 20)
    store = read_log.RecordedFeatures(online.OnlineStore(), log, 1.0)
    store.register(made.view.online)
    keys = {k.name: rows[k.name].to_list() for k in made.view.keys}
    times = [rows[name].to_physical().to_numpy() for name in (EVENT, CREATED)]
    columns: dict[str, Any] = {f.name: rows[f.name].to_list() for f in made.view.fields}
    store.upsert(made.view.name, keys, event_us=times[0], created_us=times[1], columns=columns)
    now = int(np.max(times[0]))
    store.read(made.view.name, keys, now_us=now)
    store.read(made.view.name, keys, now_us=now + 1)  # offline cannot know that moment yet
    log.close()


def check(state: Path, reads: Path) -> skew.SkewOutcome:
    async def main() -> skew.SkewOutcome:
        return await activities.SkewActivities(state, reads).check(REQUEST)

    return asyncio.run(main())


def test_what_was_served_rightly_has_no_skew(tmp_path: Path) -> None:
    serve(tmp_path / "reads", features(tmp_path), {})
    found = check(tmp_path, tmp_path / "reads")
    assert (found.rows, found.later_rows, found.features, found.skewed) == (4, 4, 1, ())
    report = json.loads(Path(found.report_path).read_text())
    assert report["report"]["features"][0]["equal"] == 4


def test_a_feature_that_was_served_otherwise_is_named_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    serve(tmp_path / "reads", features(tmp_path), {"late_share": pl.col("late_share") + 0.5})
    (feature,) = check(tmp_path, tmp_path / "reads").skewed
    assert (feature.name, feature.mismatched, feature.equal) == ("carrier_stats__late_share", 4, 0)
    assert "`carrier_stats__late_share` of `tiny` is skewed: 4 mismatched" in caplog.text


def test_nothing_recorded_is_nothing_found_and_no_lake_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ApplicationError) as caught:
        check(tmp_path, tmp_path / "reads")
    assert caught.value.type == "not_found"
    features(tmp_path)
    found = check(tmp_path, tmp_path / "reads")
    assert (found.rows, found.features, found.skewed) == (0, 0, ())
