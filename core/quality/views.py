"""What every feature view's rows must be, whatever they hold: it follows from the view's schema."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from mainspring.core.features import frames, schema
from mainspring.core.features.windows import CREATED, EVENT
from mainspring.core.quality import expectations, measures
from mainspring.core.quality.report import QualityReport

__all__ = ["reports", "suite"]


def suite(view: schema.FeatureView, *more: expectations.Expectation) -> expectations.Suite:
    """The declared types; keys and times there; one row for each key and instant. `more` are the project's own claims."""
    keys = tuple(key.name for key in view.keys)
    types = {c.name: str(frames.POLARS_TYPES[c.dtype]) for c in (*view.keys, *view.fields)}
    return expectations.Suite(
        dataset=view.name,
        expectations=(
            expectations.Columns(types={**types, EVENT: str(frames.TIME), CREATED: str(frames.TIME)}),
            expectations.Rows(),
            expectations.NotNull(columns=(*keys, EVENT, CREATED)),
            expectations.Unique(columns=(*keys, EVENT, CREATED)),
            *more,
        ),
    )


def reports(
    service: schema.FeatureService, paths: Mapping[str, Path], accepted: Mapping[str, QualityReport]
) -> tuple[QualityReport, ...]:
    """The rows of every view of `service` against its suite; `paths` are their Parquet files."""
    return tuple(
        measures.evaluate(suite(view), pl.scan_parquet(paths[view.name]), accepted=accepted.get(view.name))
        for view in service.views
    )
