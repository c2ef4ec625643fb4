"""What a project of tables reads: a source that has a name before it is read, and tables that say what was known when."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mainspring.core import canonical, errors
from mainspring.core.contracts import catalog

if TYPE_CHECKING:
    import polars as pl

__all__ = ["AS_OF", "SPLIT", "SPLITS", "Source", "Table", "check", "restored", "sampled", "told"]

#: Columns of every project's examples: the time of the question, and which part of the data it is of.
AS_OF: Final = "as_of"
SPLIT: Final = "split"
SPLITS: Final = ("train", "valid", "test")

#: Of a row's hash: fractions are told apart down to one in a million.
_HASHES: Final = 1_000_000


@dataclass(frozen=True)
class Source:
    """Where the data is from. `files` are all that is read: their bytes name the lake, wherever they lie."""

    name: str
    version: str
    licence: str
    files: tuple[Path, ...]

    @property
    def digest(self) -> str:
        return canonical.digest([[file.name, canonical.digest_file(file)] for file in self.files])


@dataclass(frozen=True)
class Table:
    """Rows, and when each of them was known: what the leak check changes, and what it must leave."""

    rows: pl.DataFrame
    known_at: str = ""
    """The column (UTC microseconds) that says when a row was known; empty: before anything was asked."""
    later: Mapping[str, str] = field(default_factory=dict)
    """By column that is known later than its row, the column that says when; null there: never."""
    fixed: tuple[str, ...] = ()
    """Columns that name a row."""
    may_vanish: bool = True
    """Whether a later row may as well not have been, such as an event; False: of a list that was published as a whole."""
    description: str = ""
    classification: catalog.Classification = ""
    pii: tuple[str, ...] = ()
    """Columns that tell of a person."""


def check(name: str, table: Table) -> None:
    """Errors: DataInvalid for a table without rows; SchemaMismatch for a column that is not there, or no time."""
    from mainspring.core.features import frames

    if table.rows.is_empty():
        raise errors.DataInvalid(
            f"table `{name}` has no rows; look at the source, or raise the sample fraction",
            dataset=name,
            failed=("rows",),
        )
    frames.require(table.rows.schema, (*table.fixed, *table.later, *table.pii), what=f"table `{name}`")
    times = {at: frames.TIME for at in (table.known_at, *table.later.values()) if at}
    frames.check(table.rows.schema, times, what=f"table `{name}`")
    if table.known_at and (nulls := table.rows[table.known_at].null_count()):
        raise errors.SchemaMismatch(
            f"column `{table.known_at}` of table `{name}` has {nulls} nulls, expected a time in every row; drop or date"
            " them",
            feature=table.known_at,
            expected="no null",
            got=f"{nulls} nulls",
        )


def told(table: Table) -> dict[str, Any]:
    """All but the rows, as JSON."""
    return {
        "known_at": table.known_at,
        "later": dict(table.later),
        "fixed": list(table.fixed),
        "may_vanish": table.may_vanish,
        "description": table.description,
        "classification": table.classification,
        "pii": list(table.pii),
    }


def restored(rows: pl.DataFrame, found: Mapping[str, Any]) -> Table:
    """A table out of its rows and what :func:`told` said of it."""
    return Table(rows, **{**found, "fixed": tuple(found["fixed"]), "pii": tuple(found["pii"])})


def sampled(rows: pl.DataFrame, by: Sequence[str], fraction: float) -> pl.DataFrame:
    """The rows whose columns `by` hash below `fraction`, in their order; a small sample is part of a larger one.

    Errors: InvalidRequest unless 0 < fraction <= 1.
    """
    if not 0 < fraction <= 1:
        raise errors.InvalidRequest(
            f"`sample_fraction` is {fraction}, expected above 0 and at most 1; 0.1 is a quick run",
            field="sample_fraction",
        )
    if fraction == 1:
        return rows
    import polars as pl

    named = rows.select(
        pl.concat_str([pl.col(c).cast(pl.String) for c in by], separator="\x1f", ignore_nulls=True)
    )
    # CRC-32: the same on every machine and in every release, which a dataframe's own hash is not.
    hashes = [zlib.crc32((text or "").encode()) % _HASHES for text in named.to_series().to_list()]
    return rows.filter(pl.Series(hashes, dtype=pl.Int64) < round(fraction * _HASHES))
