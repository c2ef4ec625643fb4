"""The skew check's side effects: it reads the recorded reads and the features, and leaves a report."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import polars as pl
from temporalio import activity

from mainspring.core import canonical, durable, projects, workspace
from mainspring.core.contracts import base, skew
from mainspring.core.monitoring import skew_check
from mainspring.workflows.skew import messages
from mainspring.workflows.training.data_activities import in_thread

_LOG: Final = logging.getLogger(__name__)


class SkewActivities:
    """`reads_dir` is where serving records, on the same machine or a mounted one."""

    def __init__(self, state_dir: Path, reads_dir: Path) -> None:
        self._state_dir, self._reads_dir = state_dir, reads_dir

    def all(self) -> list[Callable[..., Any]]:
        """What a worker registers."""
        return [self.check]

    @activity.defn(name=messages.CHECK)
    async def check(self, request: skew.SkewRequest) -> skew.SkewOutcome:
        return await in_thread(lambda: self._check(request))

    def _check(self, request: skew.SkewRequest) -> skew.SkewOutcome:
        space = workspace.Workspace(self._state_dir, request.project, request.sample_fraction)
        # Made anew only if they are not there as they were: then this is what training would see today.
        features = projects.load_project(request.project).build_features(space.lake, space.features)
        found = skew_check.check(
            self._reads_dir,
            features.service,
            {v.view.name: pl.scan_parquet(v.path) for v in features.views},
            max_rows=request.max_rows,
            since=request.since,
        )
        report = space.root / "skew" / f"{base.utc_now():%Y%m%dT%H%M%S%f}.json"
        report.parent.mkdir(parents=True, exist_ok=True)
        durable.replace_file(report, canonical.dumps(found.model_dump(mode="json")).decode())
        for feature in found.report.skewed:
            _LOG.warning(
                "feature `%s` of `%s` is skewed: %d mismatched, %d missing, %d extra of %d; %s",
                feature.name,
                request.project,
                feature.mismatched,
                feature.missing,
                feature.extra,
                feature.equal + feature.mismatched + feature.missing + feature.extra,
                feature.error or f"see {report}",
            )
        return skew.SkewOutcome(
            project=request.project,
            rows=found.report.rows,
            later_rows=found.later_rows,
            features=len(found.report.features),
            skewed=tuple(skew.SkewedFeature.model_validate(f.model_dump()) for f in found.report.skewed),
            report_path=str(report),
        )
