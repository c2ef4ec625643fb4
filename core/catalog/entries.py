"""A project's catalog, put together from what exists: Feast's registry, reports of steps, quality reports, the plan.

Nothing is typed twice: owner, description and tags are Feast's; versions are digests; statistics are of the evaluation
that let the batch in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from mainspring.core import projects
from mainspring.core.contracts import catalog
from mainspring.core.features import plan as plans
from mainspring.core.features import schema
from mainspring.core.features.windows import EVENT
from mainspring.core.quality.report import ColumnStatistics, QualityReport

__all__ = ["Sources", "build"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Sources:
    """What a training has at hand. `defined` are the views and services of the registry, by kind and name;

    `lake` and `views` are the quality reports that the folders were accepted with, by table and by view.
    """

    ingest: projects.IngestReport
    features: projects.FeatureReport
    training_set: projects.TrainingSetReport
    plan: plans.FittedPlan
    defined: tuple[catalog.CatalogEntry, ...]
    lake: Mapping[str, QualityReport]
    views: Mapping[str, QualityReport]


def build(sources: Sources) -> tuple[catalog.CatalogEntry, ...]:
    """Every entry of the project: datasets, views, services, the plan, each kind by name."""
    views = {e.name: _view(e, sources) for e in sources.defined if e.kind == "view"}
    services = [e for e in sources.defined if e.kind == "service"]
    owner = services[0].owner if services else ""
    return (
        *(_table(table, owner, sources) for table in sorted(sources.ingest.tables, key=lambda t: t.name)),
        *(views[name] for name in sorted(views)),
        *sorted(services, key=lambda e: e.name),
        _plan(sources, owner, views),
    )


def _table(table: projects.TableReport, owner: str, sources: Sources) -> catalog.CatalogEntry:
    report, ingest = sources.lake.get(table.name), sources.ingest
    private = set(table.pii)
    return catalog.CatalogEntry(
        kind="dataset",
        name=f"lake.{table.name}",
        version=table.digest,
        owner=table.owner or owner,
        description=table.description or f"Table `{table.name}` of {ingest.source}",
        tags={"source": ingest.source, "licence": ingest.licence},
        classification=table.classification,
        columns=tuple(
            _measured(
                catalog.CatalogColumn(
                    name=c.name,
                    dtype=c.dtype,
                    is_pii=c.name in private,
                    classification=table.classification,
                ),
                c,
            )
            for c in (report.columns if report else ())
        ),
        reads=(f"source.{ingest.source.partition(' ')[0]}",),
        rows=table.rows,
        warnings=_warnings(report),
    )


def _view(defined: catalog.CatalogEntry, sources: Sources) -> catalog.CatalogEntry:
    """The registry's entry with what its rows are like. A view that no step made has none."""
    name = defined.name.removeprefix("view.")
    made = next((v for v in sources.features.views if v.view.name == name), None)
    report = sources.views.get(name)
    by_name = {c.name: c for c in report.columns} if report else {}
    tables = {
        t.partition(".")[0]
        for f, of in sources.features.sources.items()
        if f.startswith(f"{name}.")
        for t in of
    }
    return defined.model_copy(
        update={
            "version": made.digest if made else "",
            "rows": made.rows if made else None,
            "columns": tuple(_measured(c, by_name.get(c.name)) for c in defined.columns),
            "reads": tuple(f"lake.{table}" for table in sorted(tables)),
            "newest_event_at": _time(by_name.get(EVENT)),
            "warnings": _warnings(report),
        }
    )


def _plan(sources: Sources, owner: str, views: Mapping[str, catalog.CatalogEntry]) -> catalog.CatalogEntry:
    """An output tells of a person if a column does that it is made of, directly or by derivation."""
    joined = {
        schema.joined_name(name.removeprefix("view."), c.name): c
        for name, v in views.items()
        for c in v.columns
    }
    derived = sources.training_set.derived_from

    def made_of(name: str) -> list[catalog.CatalogColumn]:
        return [joined[c] for c in (name, *derived.get(name, ())) if c in joined]

    fitted = sources.plan
    outputs = [*((o.name, o.source, "float32") for o in fitted.dense)]
    outputs += [(o.name, o.source, "int32") for o in fitted.ids]
    columns = []
    for name, source, dtype in outputs:
        private = [c for c in made_of(source) if c.is_pii]
        columns.append(
            catalog.CatalogColumn(
                name=name,
                dtype=dtype,
                is_pii=bool(private),
                classification=_strictest(c.classification for c in private),
            )
        )
    return catalog.CatalogEntry(
        kind="plan",
        name="plan",
        version=fitted.digest,
        owner=owner,
        description=f"Transform plan `{fitted.declared.name}`, fitted on {fitted.fit_rows} rows: a model's input",
        columns=tuple(columns),
        reads=("training_set",),
    )


def _measured(column: catalog.CatalogColumn, found: ColumnStatistics | None) -> catalog.CatalogColumn:
    if found is None:
        return column
    told: dict[str, object] = {"missing": found.missing, "distinct": found.distinct}
    if not column.is_pii:  # an extreme value is somebody's
        told |= {"low": found.low, "high": found.high, "mean": found.mean}
    return column.model_copy(update=told)


def _strictest(classes: Iterable[catalog.Classification]) -> catalog.Classification:
    order = ("", *catalog.CLASSIFICATIONS)
    return max(classes, key=order.index, default="")


def _time(found: ColumnStatistics | None) -> datetime | None:
    return None if found is None or found.high is None else _EPOCH + timedelta(microseconds=found.high)


def _warnings(report: QualityReport | None) -> tuple[str, ...]:
    # A released batch failed fatal checks, too.
    return () if report is None else tuple(c.name for c in report.checks if not c.ok)
