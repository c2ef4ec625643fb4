"""One sorted segment: rows in order of (keys, event time, created time) in one Arrow file, and where each key's run begins.

The files are never changed once written, and read through memory maps: a search touches the pages it needs and no more.
A question is answered by a binary search within its key's run (`mainspring.native.asof`).
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from mainspring.core import canonical, durable, errors
from mainspring.core.features import frames
from mainspring.native import asof

__all__ = ["EARLIEST", "Entry", "Order", "Segment", "write"]

#: Created times that are null count as this.
EARLIEST: Final = np.iinfo(np.int64).min
_RUN: Final = "__run_rows"
_CODE: Final = "__code"


@dataclass(frozen=True)
class Order:
    """By which columns segments are sorted; times are UTC microseconds, null created times come first."""

    keys: tuple[str, ...]
    event: str
    created: str | None = None

    @property
    def columns(self) -> list[str]:
        return [*self.keys, self.event, *([self.created] if self.created else [])]


@dataclass(frozen=True)
class Entry:
    """What the manifest says of a segment. Its rows are `source_rows` of the source from `first_row` on, less those
    without a key or an event time, which answer nobody."""

    name: str
    first_row: int
    source_rows: int
    rows: int
    keys: int
    min_event_us: int | None
    max_event_us: int | None
    rows_digest: str
    keys_digest: str

    @property
    def files(self) -> dict[str, str]:
        """Its files and their digests."""
        return {f"{self.name}.rows.arrow": self.rows_digest, f"{self.name}.keys.arrow": self.keys_digest}

    def holds(self, first_us: int | None, last_us: int) -> bool:
        """Whether it has a row with event time within [first_us, last_us]; None: from ever."""
        if self.min_event_us is None or self.max_event_us is None:
            return False
        return self.min_event_us <= last_us and (first_us is None or self.max_event_us >= first_us)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        return cls(**value)


def write(folder: Path, rows: pl.LazyFrame, order: Order, *, first_row: int, source_rows: int) -> Entry:
    """Sort `rows` into a new segment in `folder`, on disk when this returns; it counts once a manifest names it.

    Ties:   rows of equal order stay in the order given.
    Memory: all of `rows`, twice.
    Errors: OSError if the disk refuses, what collecting `rows` raises.
    """
    made = rows.drop_nulls([*order.keys, order.event]).sort(order.columns, maintain_order=True).collect()
    made = made.rechunk()
    if order.keys:
        runs = made.select(pl.struct(order.keys).rle().alias(_RUN)).unnest(_RUN)
        index = runs.select(pl.col("value"), pl.col("len").cast(pl.Int64).alias(_RUN)).unnest("value")
    else:
        index = pl.DataFrame({_RUN: [made.height]}, schema={_RUN: pl.Int64})
    times = made[order.event].to_physical()
    name = f"segment-{secrets.token_hex(8)}"
    durable.place_file(folder / f"{name}.rows.arrow", lambda aside: _write_arrow(aside, made))
    durable.place_file(folder / f"{name}.keys.arrow", lambda aside: _write_arrow(aside, index))
    return Entry(
        name=name,
        first_row=first_row,
        source_rows=source_rows,
        rows=made.height,
        keys=index.height,
        min_event_us=times.min(),  # type: ignore[arg-type]
        max_event_us=times.max(),  # type: ignore[arg-type]
        rows_digest=canonical.digest_file(folder / f"{name}.rows.arrow"),
        keys_digest=canonical.digest_file(folder / f"{name}.keys.arrow"),
    )


class Segment:
    """An open segment. Threads: safe, nothing in it changes."""

    def __init__(self, folder: Path, entry: Entry, order: Order) -> None:
        """Map the segment's files, each checked against its digest to the last byte.

        Errors: FileNotFoundError if one is gone; CorruptArtifact, naming it, if it is not what was written.
        """
        self.order = order
        self.entry = entry
        for name, digest in entry.files.items():
            if (got := canonical.digest_file(folder / name)) != digest:
                raise _corrupt(folder / name, digest, got)
        rows, keys = (_map(folder / name) for name in entry.files)
        self.rows = rows
        self._keys = keys.drop(_RUN).with_row_index(_CODE)
        self._starts = np.zeros(keys.height + 1, np.int64)
        np.cumsum(keys[_RUN].to_numpy(), out=self._starts[1:])
        self._event = self.rows[order.event].to_physical().to_numpy()
        if self._starts[-1] != rows.height:
            raise _corrupt(folder / entry.name, f"{rows.height} rows", f"runs of {self._starts[-1]}")

    def codes(self, asked: pl.DataFrame, keys: Sequence[str]) -> NDArray[np.int64]:
        """The number of each question's key here, -1 for one that is null or not here.

        Errors: SchemaMismatch for a key of another type.
        """
        if not keys:
            return np.zeros(asked.height, np.int64)
        renamed = dict(zip(self.order.keys, keys, strict=True))
        frames.check(
            asked.schema,
            {mine: self._keys.schema[name] for name, mine in renamed.items()},
            what="entity rows",
        )
        found = asked.select(keys).join(
            self._keys.rename(renamed), on=list(keys), how="left", maintain_order="left"
        )
        return found[_CODE].cast(pl.Int64).fill_null(-1).to_numpy()

    def search(
        self, codes: NDArray[np.int64], as_of: NDArray[np.int64], *, max_age_us: int | None, known_only: bool
    ) -> NDArray[np.int64]:
        """For each question the position of the newest row of its key with event time at or before `as_of`, or -1.

        With `known_only` rows created after `as_of` are passed over. A newest row older than `max_age_us` is -1.
        """
        if not known_only or not self.order.created:
            return asof.search(self._event, self._starts, codes, as_of, max_age=max_age_us)
        found = asof.search(self._event, self._starts, codes, as_of)
        first = np.where(codes < 0, 0, self._starts[codes])
        late = np.nonzero(found >= 0)[0]
        while len(late := late[self.created(found[late]) > as_of[late]]):
            found[late] -= 1
            is_out = found[late] < first[late]
            found[late[is_out]] = -1
            late = late[~is_out]
        if max_age_us is not None:
            found[(found >= 0) & (as_of - self._event[found] > max_age_us)] = -1
        return found

    def event(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """The event times of rows."""
        found: NDArray[np.int64] = self._event[positions]
        return found

    def created(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """The created times of rows, EARLIEST where they have none."""
        if not self.order.created:
            return np.full(len(positions), EARLIEST)
        times = self.rows[self.order.created].gather(positions).to_physical()
        return times.fill_null(EARLIEST).to_numpy()


def _write_arrow(path: Path, frame: pl.DataFrame) -> None:
    # One batch, so that each column is one stretch of memory once it is mapped.
    frame.write_ipc(path, compression="uncompressed", record_batch_size=max(frame.height, 1))


def _map(path: Path) -> pl.DataFrame:
    with pa.memory_map(str(path)) as source:
        frame = pl.from_arrow(pa.ipc.open_file(source).read_all(), rechunk=False)
    assert isinstance(frame, pl.DataFrame)
    return frame


def _corrupt(path: Path, expected: str, got: str) -> errors.CorruptArtifact:
    return errors.CorruptArtifact(
        f"segment file `{path}` is damaged: expected {expected}, got {got}; refresh the segments",
        artifact=str(path),
        expected=expected,
        got=got,
    )
