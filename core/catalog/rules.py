"""What a project must tell of its data before it is applied. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from mainspring.core import errors
from mainspring.core.contracts import catalog

__all__ = ["CLASSIFICATION", "PII", "check", "classification", "is_pii"]

#: Tags of Feast's objects that the catalog reads.
CLASSIFICATION: Final = "classification"
PII: Final = "pii"

_LISTED: Final = 5


def check(entries: Iterable[catalog.CatalogEntry], *, project: str) -> None:
    """InvalidRequest that names everything which lacks an owner or a description, and PII that nobody classified."""
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
