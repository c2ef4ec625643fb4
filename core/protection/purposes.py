"""What data may be used for: pure, from what definitions and people said of entries and from what each is made of.

An entry is bound by its definition (the tag `purposes`, words with commas between) and by a person's decision. It may be used for
what both say, and for what everything that it is made of may be used for. What nobody said anything of is bound by nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from mainspring.core import errors
from mainspring.core.contracts import catalog, masking
from mainspring.core.contracts.data_reads import ReadDataset

__all__ = ["TAG", "Bound", "Bounds", "bounds", "check", "of_run", "of_tables", "of_tags", "together", "word"]

#: The tag of a definition that the catalog reads.
TAG: Final = "purposes"
_WORD: Final = re.compile(r"[a-z][a-z0-9-]{0,39}")


@dataclass(frozen=True)
class Bound:
    """`purposes`: for what alone; `by`: the entries that say so."""

    purposes: frozenset[str]
    by: tuple[str, ...]


#: By entry; one that may be used for anything is not there.
Bounds: TypeAlias = Mapping[str, Bound]


def of_tags(tags: Mapping[str, str]) -> tuple[str, ...] | None:
    """What a definition says; None: nothing."""
    return tuple(dict.fromkeys(part.strip() for part in tags[TAG].split(","))) if TAG in tags else None


def check(tags: Mapping[str, str], *, where: str) -> None:
    """Errors: InvalidRequest for what is no word, or none: a typing mistake must not forbid everything."""
    if wrong := [one for one in of_tags(tags) or () if not _WORD.fullmatch(one)]:
        raise errors.InvalidRequest(
            f"tag `{TAG}` of `{where}` has `{wrong[0][:80]}`, which is no purpose; write words of lowercase letters, digits and"
            " hyphens, with commas between",
            field=TAG,
        )


def word(said: str) -> str:
    """The purpose in what somebody wrote: the word before a colon, or all of it."""
    return said.partition(":")[0].strip()


def bounds(entries: Iterable[catalog.CatalogEntry], decided: Mapping[str, Sequence[str]]) -> dict[str, Bound]:
    """What each entry is bound to, by what it is made of, too, however many steps away."""
    known = {entry.name: entry for entry in entries}
    found = {}
    for name in known.keys() | decided.keys():
        said = {one: own for one in _made_of(name, known) if (own := _own(one, known, decided)) is not None}
        if said:
            found[name] = Bound(frozenset.intersection(*said.values()), tuple(sorted(said)))
    return found


def together(names: Iterable[str], known: Bounds) -> Bound | None:
    """What several entries are bound to when they are used at once; None: none of them is."""
    each = [known[name] for name in names if name in known]
    if not each:
        return None
    by = {name for bound in each for name in bound.by}
    return Bound(frozenset.intersection(*(bound.purposes for bound in each)), tuple(sorted(by)))


def of_tables(
    tables: Iterable[ReadDataset], known: Bounds, classes: Mapping[str, Mapping[str, str]]
) -> Bound | None:
    """What tables are bound to that are read at once. Rows of nobody are bound to nothing.

    A table that no entry is of is bound as those entries which have one of its columns as a classified one: a new name frees nothing.
    """
    names: set[str] = set()
    for table in tables:
        if table.is_synthetic:
            continue
        names.add(table.name)
        if table.is_uncatalogued:
            names |= {
                entry
                for entry, columns in classes.items()
                if any(columns.get(column) in masking.CLASSES for column in table.columns)
            }
    return together(names, known)


def of_run(entries: Iterable[catalog.CatalogEntry], known: Bounds) -> Bound | None:
    """What a run is bound to that learns from, or answers by, what the project's catalog is of: its plans, else its services, else
    every view and dataset."""
    kinds: dict[str, list[str]] = {}
    for entry in entries:
        kinds.setdefault(entry.kind, []).append(entry.name)
    names = kinds.get("plan") or kinds.get("service") or [*kinds.get("view", ()), *kinds.get("dataset", ())]
    return together(names, known)


def _made_of(name: str, known: Mapping[str, catalog.CatalogEntry]) -> set[str]:
    """The entry and all that it is made of. Names may go in circles: anybody may put a catalog."""
    found, waiting = {name}, [name]
    while waiting:
        entry = known.get(waiting.pop())
        fresh = set(entry.reads) - found if entry is not None else set[str]()
        found |= fresh
        waiting += fresh
    return found


def _own(
    name: str, known: Mapping[str, catalog.CatalogEntry], decided: Mapping[str, Sequence[str]]
) -> frozenset[str] | None:
    said = [frozenset(decided[name])] if name in decided else []
    if name in known and (declared := of_tags(known[name].tags)) is not None:
        said.append(frozenset(declared))
    return frozenset.intersection(*said) if said else None
