"""How a table that is to be read protects those it tells of: pure, from what its files, its definition and people said.

A column is classified if it is confidential or restricted: by its definition, by the catalog, or by a finding that nobody has
rejected. Where nobody said which columns of a classified table tell of persons, all of them do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from mainspring.core.contracts import catalog, masking
from mainspring.core.contracts.data_reads import DataRead, ReadDataset, ReadForm

__all__ = ["FORMS", "Found", "Known", "classified", "found", "of_entry", "strictest"]

#: What is known of a project's columns: by entry of the catalog and column, their classes.
Known: TypeAlias = Mapping[str, Mapping[str, catalog.Classification]]

#: The least protected last.
FORMS: Final[tuple[ReadForm, ...]] = ("open", "synthetic", "sealed", "clear")


@dataclass(frozen=True)
class Found:
    """Of a whole read: its least protected form, the strictest class of that form, and the columns, `dataset.column`."""

    form: ReadForm
    classification: catalog.Classification
    columns: tuple[str, ...]


def found(read: DataRead, known: Known) -> Found:
    each = [
        (_form(dataset, column), cls, f"{dataset.name}.{column}")
        for dataset in read.datasets
        for column, cls in sorted(classified(dataset, known).items())
    ]
    form: ReadForm = max((form for form, _, _ in each), key=FORMS.index, default=FORMS[0])
    of_form = [(cls, name) for one, cls, name in each if one == form]
    return Found(form, strictest(*(cls for cls, _ in of_form)), tuple(name for _, name in of_form))


def classified(dataset: ReadDataset, known: Known) -> dict[str, catalog.Classification]:
    """Its columns that are not for everybody, by name."""
    personal = dataset.personal or dataset.columns
    least: catalog.Classification = "confidential" if dataset.personal else ""
    said = dict.fromkeys(personal, strictest(dataset.classification, least))
    for entry, columns in known.items():
        if entry == dataset.name or dataset.is_uncatalogued:
            for name in set(columns) & set(dataset.columns):
                said[name] = strictest(said.get(name, ""), columns[name])
    return {name: cls for name, cls in said.items() if cls in masking.CLASSES}


def of_entry(entry: catalog.CatalogEntry) -> dict[str, catalog.Classification]:
    """What the catalog says of an entry's columns: of those that tell of persons, where it says which."""
    personal = {c.name: strictest(c.classification, "confidential") for c in entry.columns if c.is_pii}
    return personal or {c.name: c.classification for c in entry.columns}


def strictest(*classes: catalog.Classification) -> catalog.Classification:
    order = ("", *catalog.CLASSIFICATIONS)
    return max(classes, key=order.index, default="")


def _form(dataset: ReadDataset, column: str) -> ReadForm:
    if dataset.is_synthetic:
        return "synthetic"
    return "sealed" if column in dataset.sealed else "clear"
