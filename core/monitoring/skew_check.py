"""Asks recorded reads again offline: what was served against what the point-in-time join says, feature by feature."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

import polars as pl

from mainspring.core.contracts import base
from mainspring.core.features import frames, point_in_time, schema
from mainspring.core.features.windows import EVENT
from mainspring.core.monitoring import read_log, skew

__all__ = ["SkewCheck", "check"]

_UNKNOWN: Final = "is not known offline"


class SkewCheck(base.Message):
    """What was compared. `report.rows` counts the reads of all views together."""

    report: skew.SkewReport
    later_rows: int
    """Reads after the newest offline row: nobody can tell yet what they should have been."""
    unread_files: tuple[str, ...] = ()
    """Files that do not read, such as one that a full disk cut off."""

    @property
    def is_skewed(self) -> bool:
        return bool(self.report.skewed)


def check(
    folder: Path,
    service: schema.FeatureService,
    views: Mapping[str, pl.LazyFrame],
    *,
    max_rows: int,
    since: datetime | None = None,
) -> SkewCheck:
    """The newest recorded reads of each view, up to `max_rows` of them, joined offline at the very times they were served.

    `views[name]` has the offline rows of each view of `service`. Reads that were served before `since` are passed over,
    and so are those later than the newest row of any view. Bits decide, as in `skew.compare`.
    Errors: those of the join.
    """
    horizon = _horizon(service, views)
    found: dict[str, skew.FeatureSkew] = {}
    rows = later = 0
    unread: list[str] = []
    for view_folder in sorted(p for p in folder.glob("*") if p.is_dir()):
        left = max_rows
        # Newest first: names begin with the time of writing.
        for path in sorted(view_folder.glob("*.parquet"), reverse=True):
            if left <= 0 or (since is not None and read_log.written_at(path) < since):
                break
            try:
                served = pl.read_parquet(path).with_columns(pl.col(read_log.SERVED_AT))
            except (OSError, pl.exceptions.PolarsError):
                unread.append(path.name)
                continue
            if since is not None:
                served = served.filter(pl.col(read_log.SERVED_AT) >= since)
            served = served.drop(read_log.SERVED_AT)
            known = served.filter(pl.col(read_log.AS_OF) <= horizon) if horizon else served.clear()
            later += served.height - known.height
            known = known.head(left)
            left -= known.height
            rows += known.height
            if known.height:
                _merge(found, _compare(view_folder.name, known, service, views))
    report = skew.SkewReport(rows=rows, features=tuple(found[name] for name in sorted(found)))
    return SkewCheck(report=report, later_rows=later, unread_files=tuple(unread))


def _horizon(service: schema.FeatureService, views: Mapping[str, pl.LazyFrame]) -> datetime | None:
    newest = [views[view.name].select(pl.col(EVENT).max()).collect().item() for view in service.views]
    return max((time for time in newest if time is not None), default=None)


def _compare(
    name: str, served: pl.DataFrame, service: schema.FeatureService, views: Mapping[str, pl.LazyFrame]
) -> Iterable[skew.FeatureSkew]:
    view = next((v for v in service.views if v.name == name), None)
    if view is None:
        fields = [c for c in served.columns if c != read_log.AS_OF]
        return [skew.FeatureSkew(name=schema.joined_name(name, f), error=_UNKNOWN) for f in fields]
    keys = [key.name for key in view.keys]
    asked = tuple(f for f in view.fields if f.name in served.columns)
    unknown = [c for c in served.columns if c not in (read_log.AS_OF, *keys, *(f.name for f in asked))]
    told = [skew.FeatureSkew(name=schema.joined_name(name, c), error=_UNKNOWN) for c in unknown]
    if not asked:
        return told
    wrong = [k.name for k in view.keys if served.schema.get(k.name) != frames.POLARS_TYPES[k.dtype]]
    if wrong:
        error = f"key `{wrong[0]}` was served as {served.schema.get(wrong[0])}"
        return [*told, *(skew.FeatureSkew(name=schema.joined_name(name, f.name), error=error) for f in asked)]
    part = view.model_copy(update={"fields": asked})
    joined = point_in_time.join_view(served.select(*keys, read_log.AS_OF), part, views[name])
    columns = tuple(schema.Column(name=schema.joined_name(name, f.name), dtype=f.dtype) for f in asked)
    renamed = served.select(pl.col(f.name).alias(c.name) for f, c in zip(asked, columns, strict=True))
    if wrong_types := [c for c in columns if renamed.schema[c.name] != frames.POLARS_TYPES[c.dtype]]:
        for c in wrong_types:
            error = f"is {renamed.schema[c.name]} as served and {c.dtype} offline"
            told.append(skew.FeatureSkew(name=c.name, error=error))
        columns = tuple(c for c in columns if c not in wrong_types)
    if columns:
        compared = skew.compare(frames.to_numpy(renamed, columns), frames.to_numpy(joined, columns))
        told += compared.features
    return told


def _merge(found: dict[str, skew.FeatureSkew], more: Iterable[skew.FeatureSkew]) -> None:
    for one in more:
        before = found.get(one.name)
        if before is None:
            # Places are within one file, which nobody looks into by number.
            found[one.name] = one.model_copy(update={"examples": ()})
            continue
        found[one.name] = before.model_copy(
            update={
                "equal": before.equal + one.equal,
                "mismatched": before.mismatched + one.mismatched,
                "missing": before.missing + one.missing,
                "extra": before.extra + one.extra,
                "error": before.error or one.error,
            }
        )
