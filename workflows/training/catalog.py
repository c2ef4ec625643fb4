"""The catalog of a project as one training leaves it: what its steps defined, made and measured."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from mainspring.core import errors, projects
from mainspring.core.contracts import catalog
from mainspring.core.features import plan
from mainspring.core.quality import gate
from mainspring.workflows.training import run_folder

__all__ = ["Publish", "gather", "publish"]

_LOG: Final = logging.getLogger(__name__)

#: Puts a project's whole catalog in force.
Publish: TypeAlias = Callable[[str, Sequence[catalog.CatalogEntry]], object]


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


def publish(to: Publish | None, project: str, folder: run_folder.RunFolder, fitted: plan.FittedPlan) -> None:
    """Gather and publish. A catalog that cannot be had or put fails no training: the log says why."""
    if to is None:
        return
    try:
        if found := gather(project, folder, fitted):
            to(project, found)
    except errors.MainspringError as error:
        _LOG.warning("the catalog of `%s` stays as it was: %s", project, error)
    # What is told beside a training must not fail it, whatever a registry of somebody else's making answers.
    except Exception:  # noqa: BLE001
        _LOG.exception("the catalog of `%s` stays as it was", project)
