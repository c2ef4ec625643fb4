"""Small sums of many answers: for each hour, slice and column how many fell into each bin of the baseline.

Sums of two parts of the rows are the sums of all of them, so hours add up to weeks, processes to an endpoint, and nobody has
to see a row twice. What is kept depends on hours, slices and bins, never on rows.

A frame of cells has one row a cell:

    hour      UTC microseconds, its beginning
    slice, value, column    `slice` empty: all rows; `column` as in the baseline, or `OUTCOMES`
    counts    by bin of the column, then how many were missing, then how many were odd: infinite numbers, strings never seen before
    sums      numbers: of x - m and of its square, m being the baseline's mean. Outcomes: of label - score, of its square, of
              score (1 - score), of score
    fresh     JSON, the most frequent strings never seen before, with at least how often

Outcomes have their counts by the score's bin, those of label 0 first, then those of label 1.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mainspring.core.contracts.monitoring import SCORE, Baseline, ColumnBaseline

__all__ = ["OUTCOMES", "SCHEMA", "Sketcher", "added_up", "empty"]

OUTCOMES: Final = "\0outcomes"
#: Of a slice, the values that the baseline does not list.
OTHER: Final = "\0other"
HOUR_US: Final = 3_600_000_000
SCHEMA: Final = pl.Schema(
    {
        "hour": pl.Datetime("us", "UTC"),
        "slice": pl.String(),
        "value": pl.String(),
        "column": pl.String(),
        "counts": pl.List(pl.Int64()),
        "sums": pl.List(pl.Float64()),
        "fresh": pl.String(),
    }
)
#: Strings that are new are remembered so many at a time; a rarer one makes room for a more frequent one (Misra and Gries, 1982).
MAX_FRESH: Final = 32
#: Numbers that may be held before they are given out: 64 MiB.
MAX_HELD: Final = 8 << 20

_Codes = NDArray[np.int64]


@dataclass
class _Column:
    """Bins of one column, and what has been counted: `counts` (cells, width), `sums` (cells, 4)."""

    baseline: ColumnBaseline
    width: int
    known: dict[str, int] = field(default_factory=dict)
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    sums: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 4)))
    fresh: dict[str, int] = field(default_factory=dict)


class Sketcher:
    """Adds answers up, held against one baseline. One thread."""

    def __init__(self, baseline: Baseline, *, max_held: int = MAX_HELD) -> None:
        self._baseline, self._max_held = baseline, max_held
        self._columns: dict[str, _Column] = {}
        for column in baseline.columns:
            known = {value: i for i, value in enumerate(column.categories)}
            known |= dict.fromkeys(column.vocabulary, len(column.categories))
            self._columns[column.name] = _Column(column, len(column.counts) + 2, known)
        self._cells: dict[tuple[int, str, str], int] = {}
        self._held = sum(c.width + 4 for c in self._columns.values())

    @property
    def is_full(self) -> bool:
        """Whether :meth:`take` is due, so that memory stays bounded."""
        return len(self._cells) * self._held >= self._max_held

    def add(self, at_us: _Codes, rows: pl.DataFrame) -> None:
        """Count `rows`, which were asked about `at_us` (n,), UTC microseconds.

        Columns: the baseline's, by name, the scores as `SCORE`, and those of its slices. One that is not there is missing in
        every row.
        """
        if not rows.height:
            return
        hours, hour_of = np.unique(at_us // HOUR_US * HOUR_US, return_inverse=True)
        groupings = list(self._groupings(hours, hour_of, rows))
        for column in self._columns.values():
            self._add_column(column, rows, groupings)

    def take(self) -> pl.DataFrame:
        """What was counted since the last call, as cells."""
        frames = [frame for column in self._columns.values() for frame in self._cells_of(column)]
        self._cells = {}
        for column in self._columns.values():
            column.counts, column.sums, column.fresh = np.zeros((0, 0), np.int64), np.zeros((0, 4)), {}
        return pl.concat(frames) if frames else empty()

    def _groupings(
        self, hours: _Codes, hour_of: _Codes, rows: pl.DataFrame
    ) -> Iterator[tuple[_Codes, _Codes]]:
        """For all rows and by each slice: each row's group (n,), and each group's cell."""
        yield hour_of, np.array([self._cell(int(hour), "", "") for hour in hours], np.int64)
        for name, values in self._baseline.slices.items():
            told = (*values, OTHER)
            places = {value: i for i, value in enumerate(values)}
            code = np.full(rows.height, len(values), np.int64)
            if name in rows.columns:
                code = _coded(rows[name], places, missing=len(values), new=len(values))
            group = hour_of * len(told) + code
            present, group = np.unique(group, return_inverse=True)
            cells = [self._cell(int(hours[p // len(told)]), name, told[p % len(told)]) for p in present]
            yield group, np.array(cells, np.int64)

    def _cell(self, hour: int, name: str, value: str) -> int:
        return self._cells.setdefault((hour, name, value), len(self._cells))

    def _add_column(
        self, column: _Column, rows: pl.DataFrame, groupings: Sequence[tuple[_Codes, _Codes]]
    ) -> None:
        more = len(self._cells) - len(column.counts)
        if more or not column.counts.size:
            counts = np.zeros((len(self._cells), column.width), np.int64)
            sums = np.zeros((len(self._cells), 4))
            if column.counts.size:
                counts[: len(column.counts)], sums[: len(column.sums)] = column.counts, column.sums
            column.counts, column.sums = counts, sums
        name = column.baseline.name
        series = rows[name] if name in rows.columns else pl.Series(name, [None] * rows.height, pl.String)
        if column.baseline.kind == "categorical":
            bins, x = self._strings(column, series), None
        else:
            bins, x = _numbers(column, series)
        for group, cells in groupings:
            found = np.bincount(group * column.width + bins, minlength=len(cells) * column.width)
            # A cell is there once in a grouping: plain indexing adds all of it.
            column.counts[cells] += found.reshape(len(cells), column.width)
            if x is not None:
                column.sums[cells, 0] += np.bincount(group, x, len(cells))
                column.sums[cells, 1] += np.bincount(group, x * x, len(cells))

    def _strings(self, column: _Column, series: pl.Series) -> _Codes:
        missing, new = column.width - 2, column.width - 1
        text = series.cast(pl.String)
        code = _coded(text, column.known, missing=missing, new=new)
        if column.baseline.is_open:
            code[code == new] = len(column.baseline.categories)
        elif (is_new := code == new).any():
            _remember(column.fresh, text.filter(pl.Series(is_new)))
        return code

    def _cells_of(self, column: _Column) -> Iterator[pl.DataFrame]:
        if not len(column.counts):
            return
        keys = list(self._cells)
        newest = max((hour for hour, name, _ in keys if not name), default=0)
        fresh = json.dumps(column.fresh) if column.fresh else ""
        yield _frame(
            {
                "hour": pl.Series([hour for hour, _, _ in keys], dtype=pl.Int64),
                "slice": [name for _, name, _ in keys],
                "value": [value for _, _, value in keys],
                "column": [column.baseline.name] * len(keys),
            },
            column.counts,
            column.sums,
            [fresh if (hour, name) == (newest, "") else "" for hour, name, _ in keys],
        )


def outcomes(
    baseline: Baseline, at_us: _Codes, scores: NDArray[Any], labels: NDArray[Any], rows: pl.DataFrame
) -> pl.DataFrame:
    """Cells of rows whose outcome is known.

    Shapes: `scores` and `labels` (n,), labels 0 or 1; `rows` (n,) has the columns of slices that there are.
    """
    if not len(scores):
        return empty()
    edges = np.array(baseline.columns[0].edges, np.float32)
    p, y = scores.astype(np.float64), labels.astype(np.float64)
    bins = len(edges) + 1
    code = np.searchsorted(edges, scores.astype(np.float32), side="left") + bins * (y > 0.5)
    terms = (y - p, (y - p) ** 2, p * (1 - p), p)
    hours = pl.DataFrame({"hour": at_us // HOUR_US * HOUR_US})
    parts = [hours.with_columns(slice=pl.lit(""), value=pl.lit(""))]
    for name, values in baseline.slices.items():
        value = pl.Series("value", [OTHER] * rows.height, pl.String)
        if name in rows.columns:
            text = rows[name].cast(pl.String)
            is_listed = text.is_in(list(values)).fill_null(False)
            value = text.zip_with(is_listed, value)
        parts.append(hours.with_columns(value.alias("value"), slice=pl.lit(name)))
    found = []
    for part in parts:
        group = part.select(pl.struct("hour", "slice", "value").rank("dense")).to_series().to_numpy()
        group = group.astype(np.int64) - 1
        _, first = np.unique(group, return_index=True)
        counts = np.bincount(group * 2 * bins + code, minlength=len(first) * 2 * bins)
        found.append(
            _frame(
                {n: part[n][first] for n in ("hour", "slice", "value")} | {"column": [OUTCOMES] * len(first)},
                counts.reshape(len(first), 2 * bins),
                np.stack([np.bincount(group, t) for t in terms], axis=1),
                [""] * len(first),
            )
        )
    return pl.concat(found)


def empty() -> pl.DataFrame:
    return pl.DataFrame(schema=SCHEMA)


def added_up(cells: pl.DataFrame, *, by: Sequence[str]) -> pl.DataFrame:
    """The cells summed over everything but `by`, which has `column`."""
    rest = [name for name in by if name != "column"]
    found = []
    # Of one column: all have the same width.
    for (name,), part in cells.group_by("column", maintain_order=True):
        group = part.select(pl.struct(*rest).rank("dense")).to_series().to_numpy().astype(np.int64) - 1
        order = np.argsort(group, kind="stable")
        starts = np.flatnonzero(np.diff(group[order], prepend=-1))
        keys = part.select(rest)[order[starts]]
        fresh = [""] * len(starts)
        texts = part["fresh"].to_list()
        for place in set(group[np.flatnonzero((part["fresh"] != "").to_numpy())]):
            these = (texts[i] for i in np.flatnonzero(group == place))
            fresh[place] = json.dumps(_added_fresh(text for text in these if text))
        found.append(
            _frame(
                {n: keys[n] for n in rest} | {"column": [name] * len(starts)},
                np.add.reduceat(matrix(part["counts"])[order], starts),
                np.add.reduceat(matrix(part["sums"])[order], starts),
                fresh,
            )
        )
    kept = pl.Schema({n: kind for n, kind in SCHEMA.items() if n in {*by, "counts", "sums", "fresh"}})
    return pl.concat(found) if found else pl.DataFrame(schema=kept)


def matrix(lists: pl.Series) -> NDArray[Any]:
    """Lists of one length as rows."""
    return lists.explode().to_numpy().reshape(len(lists), -1)


def _frame(
    keys: Mapping[str, Any], counts: NDArray[np.int64], sums: NDArray[np.float64], fresh: Sequence[str]
) -> pl.DataFrame:
    """Cells, without an object for each number."""
    given = pl.DataFrame(keys).with_columns(
        pl.Series("counts", np.ascontiguousarray(counts)).arr.to_list(),
        pl.Series("sums", np.ascontiguousarray(sums)).arr.to_list(),
        pl.Series("fresh", fresh, pl.String),
    )
    return given.cast({name: kind for name, kind in SCHEMA.items() if name in given.columns})


def _numbers(column: _Column, series: pl.Series) -> tuple[_Codes, NDArray[np.float64]]:
    """Bins of the values, and how far each is from the baseline's mean; 0 where there is no number."""
    x = series.cast(pl.Float32, strict=False).to_numpy().astype(np.float32)
    edges = np.array(column.baseline.edges, np.float32)
    bins = np.searchsorted(edges, x, side="left").astype(np.int64)
    is_number = np.isfinite(x)
    if not is_number.all():
        bins[np.isnan(x)] = column.width - 2
        bins[np.isinf(x)] = column.width - 1
    centred = np.where(is_number, x.astype(np.float64) - (column.baseline.mean or 0.0), 0.0)
    return bins, centred


def _coded(series: pl.Series, known: Mapping[str, int], *, missing: int, new: int) -> _Codes:
    """Each value's code. One look into `known` for each different value, and none for each row."""
    text = series.cast(pl.String).fill_null("\0")
    names = text.unique()
    codes = [missing if v == "\0" else known.get(v, new) for v in names.to_list()]
    table = pl.DataFrame({"v": names, "c": pl.Series(codes, dtype=pl.Int64)})
    joined = text.alias("v").to_frame().join(table, on="v", how="left", maintain_order="left")
    return joined["c"].to_numpy().astype(np.int64)


def _remember(fresh: dict[str, int], values: pl.Series) -> None:
    for value, count in values.value_counts(sort=True).iter_rows():
        fresh[value] = fresh.get(value, 0) + count
    _shorten(fresh)


def _shorten(fresh: dict[str, int]) -> None:
    """Keep the heaviest; what the next one has is taken off all, so that a count is never too high."""
    if len(fresh) <= MAX_FRESH:
        return
    less = sorted(fresh.values(), reverse=True)[MAX_FRESH]
    for value in list(fresh):
        fresh[value] -= less
        if fresh[value] <= 0:
            del fresh[value]


def _added_fresh(texts: Iterable[str]) -> dict[str, int]:
    total: dict[str, int] = {}
    for text in texts:
        for value, count in json.loads(text).items():
            total[value] = total.get(value, 0) + int(count)
        _shorten(total)
    return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))


def score_bins(baseline: Baseline) -> int:
    """How many bins the scores have."""
    first = baseline.columns[0]
    assert first.name == SCORE
    return len(first.counts)
