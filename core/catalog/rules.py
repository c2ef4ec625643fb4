"""What a project must tell of its data before it is applied. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Final

from mainspring.core import errors
from mainspring.core.contracts import catalog, protection
from mainspring.core.protection import naming, purposes

__all__ = [
    "CLASSIFICATION",
    "PII",
    "check",
    "check_decided",
    "classification",
    "confirmed",
    "is_pii",
    "undecided",
]

#: Tags of Feast's objects that the catalog reads.
CLASSIFICATION: Final = "classification"
PII: Final = "pii"

_LISTED: Final = 5


def check(entries: Iterable[catalog.CatalogEntry], *, project: str) -> None:
    """InvalidRequest that names everything which lacks an owner or a description, and PII that nobody classified; or a purpose
    that is no word."""
    entries = list(entries)
    for entry in entries:
        purposes.check(entry.tags, where=entry.name)
    problems = [problem for entry in entries for problem in _problems(entry)]
    if not problems:
        return
    more = f" and {len(problems) - _LISTED} more" if len(problems) > _LISTED else ""
    raise errors.InvalidRequest(
        f"project `{project}` is not applied: {', '.join(problems[:_LISTED])}{more}; add what is missing to the definitions",
        field="definitions",
    )


def classification(tags: Mapping[str, str], *, where: str) -> catalog.Classification:
    """What the tags say, "" if nothing. Errors: InvalidRequest for another word, with the nearest one."""
    said = tags.get(CLASSIFICATION, "")
    for known in ("", *catalog.CLASSIFICATIONS):
        if said == known:
            return known
    close = difflib.get_close_matches(said.lower(), catalog.CLASSIFICATIONS, n=1)
    hint = f"did you mean `{close[0]}`" if close else f"classes are {list(catalog.CLASSIFICATIONS)}"
    raise errors.InvalidRequest(
        f"tag `{CLASSIFICATION}` of `{where}` is `{said}`; {hint}", field=CLASSIFICATION
    )


def is_pii(tags: Mapping[str, str], *, where: str) -> bool:
    """Errors: InvalidRequest unless the tag is `true` or `false`: a typing mistake must not hide a person."""
    said = tags.get(PII, "false")
    if said not in ("true", "false"):
        raise errors.InvalidRequest(
            f"tag `{PII}` of `{where}` is `{said}`; write `true` or `false`", field=PII
        )
    return said == "true"


def _problems(entry: catalog.CatalogEntry) -> Iterator[str]:
    what = f"{entry.kind} `{entry.name}`"
    if not entry.owner.strip():
        yield f"{what} has no owner"
    if not entry.description.strip():
        yield f"{what} has no description"
    for column in entry.columns:
        if not column.is_pii:
            continue
        if not column.classification:
            yield f"PII column `{column.name}` of {what} has no classification"
        elif column.classification == "public":
            yield f"PII column `{column.name}` of {what} is classified public"


def undecided(
    entries: Iterable[catalog.CatalogEntry], decided: Container[tuple[str, str]]
) -> dict[str, list[protection.ColumnFinding]]:
    """Columns of datasets and views whose names say surely enough that they tell of persons, by entry.

    Not those that the definitions call personal, nor those in `decided`, (entry, column): of them somebody has said it.
    """
    found: dict[str, list[protection.ColumnFinding]] = {}
    for entry in entries:
        if entry.kind not in ("dataset", "view"):
            continue
        unsaid = [c.name for c in entry.columns if not c.is_pii and (entry.name, c.name) not in decided]
        sure = [f for f in naming.findings(unsaid) if f.confidence >= protection.CERTAIN_ENOUGH]
        if sure:
            found[entry.name] = sure
    return found


def check_decided(
    entries: Iterable[catalog.CatalogEntry],
    waiting: Mapping[tuple[str, str], protection.PiiKind],
    *,
    project: str,
) -> None:
    """InvalidRequest that names columns which wait, by (entry, column), for a person to say whether they tell of persons.

    A column that the definitions call personal is said already, and published as that.
    """
    problems = [
        f"column `{c.name}` of {e.kind} `{e.name}` looks like `{waiting[e.name, c.name]}`"
        for e in entries
        for c in e.columns
        if (e.name, c.name) in waiting and not c.is_pii
    ]
    if not problems:
        return
    more = f" and {len(problems) - _LISTED} more" if len(problems) > _LISTED else ""
    raise errors.InvalidRequest(
        f"project `{project}` is not applied: {', '.join(problems[:_LISTED])}{more}, and nobody has said whether it tells"
        " of persons; an approver runs `mainspring data confirm` or `mainspring data reject`, or tag it in the definitions",
        field="classification",
    )


def confirmed(
    entry: catalog.CatalogEntry, classes: Mapping[str, catalog.Classification]
) -> catalog.CatalogEntry:
    """The entry with what persons confirmed, by column: personal, of that class or its own stricter one, without extremes."""
    order = ("", *catalog.CLASSIFICATIONS)
    columns = tuple(
        c.model_copy(
            update={
                "is_pii": True,
                "classification": max(c.classification, classes[c.name], key=order.index),
                "low": None,
                "high": None,
                "mean": None,
            }
        )
        if c.name in classes
        else c
        for c in entry.columns
    )
    return entry.model_copy(update={"columns": columns})
