"""Entries of the catalog as lineage has datasets: who answers for them, what they hold, and who may see it."""

from __future__ import annotations

from collections.abc import Iterable

from mainspring.core.contracts import catalog
from mainspring.core.lineage import jobs
from mainspring.platform.lineage import telling

__all__ = ["told"]


def told(
    project: str, changed: Iterable[catalog.CatalogEntry], gone: Iterable[tuple[str, str]]
) -> telling.Told:
    """What lineage is told of entries that are new or otherwise, and of those that are not there any more."""
    left = (jobs.Dataset(name, "", kind, is_gone=True) for kind, name in gone)
    return telling.Told(project, [*map(_dataset, changed), *left])


def _dataset(entry: catalog.CatalogEntry) -> jobs.Dataset:
    labels = {"": {**entry.tags, **_label(entry.classification)}}
    for column in entry.columns:
        personal = {"pii": "true"} if column.is_pii else {}
        labels[column.name] = {**_label(column.classification), **personal}
    return jobs.Dataset(
        entry.name,
        entry.version,
        entry.kind,
        columns={column.name: column.dtype for column in entry.columns},
        owner=entry.owner,
        description=entry.description,
        labels=labels,
    )


def _label(classification: catalog.Classification) -> dict[str, str]:
    return {"classification": classification} if classification else {}
