"""A dataset of Parquet files cut into parts: what is scored at once, written at once, and never done twice."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from mainspring.core import canonical, errors
from mainspring.core.protection import tables
from mainspring.core.scoring import places
from mainspring.core.synthetic import marks

__all__ = ["Declared", "Part", "Survey", "declared", "read", "survey"]


@dataclass(frozen=True)
class Part:
    """Rows `start` to `start + rows` of one file; `index` counts through the whole dataset, in its order."""

    index: int
    file: places.File
    start: int
    rows: int

    @property
    def name(self) -> str:
        """Of the output's file; the names sort as the parts do."""
        return f"part-{self.index:06d}.parquet"


@dataclass(frozen=True)
class Survey:
    """What a dataset is made of."""

    parts: tuple[Part, ...]
    columns: dict[str, str]
    """Name to Arrow type, the same in every file."""
    version: str
    """Names the files as they were found: paths, sizes, times."""

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)


def survey(place: places.Place, part_rows: int) -> Survey:
    """Read the footer of every file and cut: whole row groups up to `part_rows`, a larger one in pieces.

    No part crosses two files.
    Errors: NotFound without a file; CorruptArtifact for a file that is no Parquet; SchemaMismatch where files disagree
    about columns; DataInvalid for a dataset without a row.
    """
    parts: list[Part] = []
    files = place.parquet()
    columns: dict[str, str] = {}

    def read_footer(file: places.File) -> Any:
        with place.open(file.path) as opened:
            return _footer(place, file, opened)

    for file, footer in zip(files, place.each(read_footer, files), strict=True):
        found = {f.name: str(f.type) for f in footer.schema.to_arrow_schema()}
        columns = columns or found
        if found != columns:
            difference = dict(sorted(set(found.items()) ^ set(columns.items())))
            raise errors.SchemaMismatch(
                f"file `{file.path}` of `{place.uri}` has other columns than `{files[0].path}`: {difference}; write the"
                " dataset with one schema",
                feature=next(iter(difference), ""),
                expected=str(columns),
                got=str(found),
            )
        for start, rows in _ranges(
            [footer.row_group(i).num_rows for i in range(footer.num_row_groups)], part_rows
        ):
            parts.append(Part(len(parts), file, start, rows))
    if not parts:
        raise errors.DataInvalid(
            f"`{place.uri}` has {len(files)} files and no row; there is nothing to score",
            dataset=place.uri,
            failed=("rows",),
        )
    return Survey(tuple(parts), columns, canonical.digest([asdict(file) for file in files]))


@dataclass(frozen=True)
class Declared:
    """What every file of a dataset says of itself in its footer."""

    sealed: frozenset[str]
    is_synthetic: bool


def declared(place: places.Place, found: Survey) -> Declared:
    """Of the files that have rows. Errors: as :func:`survey`."""
    files = sorted({part.file for part in found.parts}, key=lambda file: file.path)

    def look(file: places.File) -> Declared:
        with place.open(file.path) as opened:
            metadata = _footer(place, file, opened).metadata
        sealed = (name for name in found.columns if tables.sealed_field(metadata, name) is not None)
        return Declared(frozenset(sealed), marks.is_marked(metadata))

    each = list(place.each(look, files))
    return Declared(
        frozenset.intersection(*(one.sealed for one in each)), all(one.is_synthetic for one in each)
    )


def read(place: places.Place, part: Part) -> pl.DataFrame:
    """The part's rows, in their order, all columns.

    Errors: Conflict if the file is not as it was surveyed; CorruptArtifact if it does not read; those of the place.
    """
    _check_same(place, part)
    with place.open(part.file.path) as opened:
        footer = _footer(place, part.file, opened)
        groups, skip = _covering([footer.row_group(i).num_rows for i in range(footer.num_row_groups)], part)
        try:
            table = pq.ParquetFile(opened, metadata=footer).read_row_groups(groups, use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise _corrupt(place, part.file, error) from error
    # A file that was replaced while it was read: what was read may be of both.
    _check_same(place, part)
    frame = pl.from_arrow(table.slice(skip, part.rows))
    if not isinstance(frame, pl.DataFrame) or frame.height != part.rows:
        raise errors.InvariantViolated("a part has other rows than were surveyed", where="scoring.parts.read")
    return frame


def _ranges(groups: list[int], part_rows: int) -> list[tuple[int, int]]:
    """(start, rows) of the parts of one file with row groups of these sizes."""
    ranges: list[tuple[int, int]] = []
    start = held = 0
    for rows in groups:
        if held and held + rows > part_rows:
            ranges.append((start, held))
            start, held = start + held, 0
        held += rows
        while held > part_rows:
            ranges.append((start, part_rows))
            start, held = start + part_rows, held - part_rows
    return [*ranges, (start, held)] if held else ranges


def _covering(groups: list[int], part: Part) -> tuple[list[int], int]:
    """The row groups that hold the part, and how many of their rows lie before it."""
    wanted: list[int] = []
    first = 0
    skip = 0
    for index, rows in enumerate(groups):
        if first < part.start + part.rows and first + rows > part.start:
            if not wanted:
                skip = part.start - first
            wanted.append(index)
        first += rows
    return wanted, skip


def _footer(place: places.Place, file: places.File, opened: Any) -> Any:
    try:
        return pq.read_metadata(opened)
    except (pa.ArrowException, OSError) as error:
        raise _corrupt(place, file, error) from error


def _check_same(place: places.Place, part: Part) -> None:
    if (now := place.look(part.file.path)) != part.file:
        raise errors.Conflict(
            f"file `{part.file.path}` of `{place.uri}` changed since the scoring was planned: it had"
            f" {part.file.bytes} bytes, and {'is gone' if now is None else f'has {now.bytes}'} now; score a dataset that"
            " stays as it is",
            resource="dataset",
            name=place.uri,
        )


def _corrupt(place: places.Place, file: places.File, error: Exception) -> errors.CorruptArtifact:
    where = f"{place.uri}/{file.path}" if file.path else place.uri
    return errors.CorruptArtifact(
        f"`{where}` is no complete Parquet file: {error}; write it again from its source",
        artifact=where,
        expected="Parquet",
        got=str(error),
    )
