"""The catalog of a project as one training leaves it: what its steps defined, made and measured."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import polars as pl

from mainspring.core import errors, projects
from mainspring.core.contracts import catalog, protection
from mainspring.core.features import plan
from mainspring.core.quality import gate
from mainspring.workflows.training import run_folder

__all__ = ["Publish", "find", "gather", "publish"]

_LOG: Final = logging.getLogger(__name__)

#: Puts a project's whole catalog in force; before that, what was found of persons in its rows.
Publish: TypeAlias = Callable[[str, Sequence[catalog.CatalogEntry], Sequence[protection.Findings]], object]


def gather(
    project: str, folder: run_folder.RunFolder, fitted: plan.FittedPlan
) -> tuple[catalog.CatalogEntry, ...]:
    """Every entry; none for a project without a registry, which nobody has described.

    Errors: InvalidRequest for a tag that the catalog does not know.
    """
    features = folder.kept(projects.FeatureReport)
    if not features.registry.exists():
        return ()
    # Feast takes seconds to import: only a worker that publishes pays for it.
    from mainspring.core.catalog import entries
    from mainspring.core.features import feast_adapter

    sources = entries.Sources(
        ingest=folder.kept(projects.IngestReport),
        features=features,
        training_set=folder.kept(projects.TrainingSetReport),
        plan=fitted,
        defined=feast_adapter.registered(features.registry.parent, project),
        lake=gate.accepted(folder.space.lake),
        views=gate.accepted(folder.space.features),
    )
    return entries.build(sources)


def find(
    entries: Sequence[catalog.CatalogEntry], folder: run_folder.RunFolder
) -> tuple[protection.Findings, ...]:
    """What samples of the rows of datasets and views say of persons, but for columns that the definitions call personal.

    Counts and kinds, never a value. A thing without files that can be read here has none.
    """
    from mainspring.core.protection import detecting

    views = {f"view.{v.view.name}": v.path for v in folder.kept(projects.FeatureReport).views}
    found = []
    for entry in entries:
        place = views.get(entry.name, folder.space.lake / entry.name.removeprefix("lake."))
        files = _files(place)
        if not files:
            continue
        said = {column.name for column in entry.columns if column.is_pii}
        seen = detecting.detect(
            detecting.sample(pl.scan_parquet(files, hive_partitioning=False).drop(said, strict=False))
        )
        if seen:
            found.append(protection.Findings(entry=entry.name, findings=seen))
    return tuple(found)


def _files(place: Path) -> list[Path]:
    """Of a table or a view: below its folder, or the one file that it is, which ends in `.parquet` in a lake."""
    if place.is_dir():
        return sorted(place.rglob("*.parquet"))
    return [file for file in (place, place.with_name(f"{place.name}.parquet")) if file.is_file()][:1]


def publish(to: Publish | None, project: str, folder: run_folder.RunFolder, fitted: plan.FittedPlan) -> None:
    """Gather, look for persons, and publish. A catalog that cannot be had or put fails no training: the log says why."""
    if to is None:
        return
    try:
        if found := gather(project, folder, fitted):
            to(project, found, find(found, folder))
    except errors.MainspringError as error:
        _LOG.warning("the catalog of `%s` stays as it was: %s", project, error)
    # What is told beside a training must not fail it, whatever a registry of somebody else's making answers.
    except Exception:  # noqa: BLE001
        _LOG.exception("the catalog of `%s` stays as it was", project)
