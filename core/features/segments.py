"""A feature source as sorted segments: what a point-in-time join searches in the place of sorting Parquet each time.

    <folder>/manifest.json        which segments there are, of which files of the source; names every file by digest
    <folder>/segment-*.arrow      the segments (segment_file)
    <folder>/lock                 held by the one who refreshes

The source's files stay the truth. A changed, replaced or removed file makes the segments stale; files that sort after
all others are appended. The source may be in an object store; the segments are always here, as they are read through
memory maps. The design is in docs/adr/0011-sorted-segments.md.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from mainspring.core import errors
from mainspring.core.features import frames, lake, matching, segment_file, segment_manifest, segment_search

__all__ = ["Current", "Refreshed", "Segments"]

_LOG: Final = logging.getLogger("mainspring.features")
#: A segment is sorted in memory: at 64 bytes a row this takes half a gigabyte.
MAX_ROWS: Final = 4_000_000


@dataclass(frozen=True)
class Refreshed:
    """What a refresh found and did. `rebuilt` names segments that were damaged, `reason` why all were made anew."""

    rows: int
    segments: int
    rows_read: int = 0
    rebuilt: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Current:
    """Segments that were those of the source when they were opened: one question reads them, whatever comes meanwhile."""

    opened: tuple[segment_file.Segment, ...]

    @property
    def schema(self) -> pl.Schema:
        """The columns."""
        return self.opened[0].rows.schema

    def match(
        self, asked: pl.DataFrame, *, keys: Sequence[str], times: matching.Times, columns: Sequence[str]
    ) -> pl.DataFrame:
        """As :meth:`Segments.match`."""
        return segment_search.match(self.opened, asked, keys=keys, times=times, columns=columns)


class Segments:
    """The segments in the local `folder` of the Parquet `source`, local or remote, for joins by `order`.

    Threads: safe, other processes too: one refreshes at a time, readers wait for nobody.
    """

    def __init__(
        self, folder: Path, source: lake.Parquet, order: segment_file.Order, *, max_rows: int = MAX_ROWS
    ) -> None:
        self.folder = folder
        self.source = source
        self.order = order
        self._max_rows = max_rows

    def refresh(self) -> Refreshed:
        """Bring the segments up to the source's files: nothing if they are, new files only if no other changed.

        All or nothing: until the new manifest is in place the old segments stand.
        Memory: one segment at a time.
        Errors: NotFound, CorruptArtifact, SchemaMismatch for what is wrong with the source; Conflict if it changes
        meanwhile; DependencyDown if the disk refuses.
        """
        return self._refreshed()[0]

    def current(self, *, refresh: bool = False) -> Current:
        """The segments for one question, brought up to the source first if `refresh`; the source is listed once.

        Errors: as :meth:`match`, or as :meth:`refresh`.
        """
        if refresh:
            manifest = self._refreshed()[1]
            # Another process may have merged them away since.
            with contextlib.suppress(FileNotFoundError):
                return self._opened(manifest)
        for _ in range(3):
            manifest = segment_manifest.read(self.folder)
            if why := manifest.staleness(self.source, self.source.listed(), self.order):
                raise errors.Conflict(
                    f"segments in `{self.folder}` are stale: {why}; refresh them",
                    resource="segments",
                    name=str(self.folder),
                )
            # A file may be gone because another process has just merged it away: then there is a newer manifest.
            with contextlib.suppress(FileNotFoundError):
                return self._opened(manifest)
        missing = [
            name for entry in manifest.segments for name in entry.files if not (self.folder / name).exists()
        ]
        raise errors.CorruptArtifact(
            f"segment files {missing} of `{self.folder}` are gone; refresh the segments",
            artifact=str(self.folder),
            expected="every file of the manifest",
            got=str(missing),
        )

    def match(
        self, asked: pl.DataFrame, *, keys: Sequence[str], times: matching.Times, columns: Sequence[str]
    ) -> pl.DataFrame:
        """As :func:`matching.match` over the source's rows; `keys` are columns of `asked`, in the order of `order.keys`.

        Memory: the pages that the search touches, and the result.
        Errors: NotFound if there are no segments, Conflict if they are stale, CorruptArtifact if one is damaged (all
        mended by :meth:`refresh`); SchemaMismatch for a key of another type or an absent column.
        """
        return self.current().match(asked, keys=keys, times=times, columns=columns)

    @property
    def uri(self) -> str:
        """How errors call the rows: by their source."""
        return self.source.uri

    def named(self) -> contextlib.AbstractContextManager[None]:
        """As the source's."""
        return self.source.named()

    def scan(self) -> pl.LazyFrame:
        """All rows that have a key and an event time, segment by segment. Errors: as :meth:`match`."""
        return pl.concat([segment.rows.lazy() for segment in self.current().opened])

    def _opened(self, manifest: segment_manifest.Manifest) -> Current:
        """Errors: FileNotFoundError, CorruptArtifact."""
        found = [segment_search.opened(self.folder, entry, self.order) for entry in manifest.segments]
        segment_search.forget_others(self.folder, manifest.segments)
        return Current(tuple(found))

    def _refreshed(self) -> tuple[Refreshed, segment_manifest.Manifest]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._alone():
                return self._refresh()
        except OSError as error:
            raise errors.DependencyDown(
                f"segments in `{self.folder}` cannot be written: {error}; check the disk and refresh again",
                name=str(self.folder),
            ) from error

    def _refresh(self) -> tuple[Refreshed, segment_manifest.Manifest]:
        files = self.source.listed()
        kept, reason = self._kept(files)
        entries = list(kept.segments) if kept else []
        added: list[segment_file.Entry] = []
        try:
            entries, rebuilt = self._mended(entries, files)
            if new := files[len(kept.files) if kept else 0 :]:
                added = self._written(new, sum(entry.source_rows for entry in entries))
            if added or rebuilt:
                entries = self._merged(entries, added)
        except errors.Rejected as error:
            self._require_unchanged(files, kept, error)
            raise
        if kept is None or added or rebuilt:
            self._require_unchanged(files, kept)
            kept = segment_manifest.Manifest(self.source.uri, self.order, tuple(files), tuple(entries))
            segment_manifest.write(self.folder, kept)
            self._sweep(kept)
        done = Refreshed(
            rows=sum(entry.rows for entry in entries),
            segments=len(entries),
            rows_read=sum(entry.source_rows for entry in added),
            rebuilt=rebuilt,
            reason=reason,
        )
        return done, kept

    def _require_unchanged(
        self,
        files: Sequence[lake.File],
        kept: segment_manifest.Manifest | None,
        cause: errors.Rejected | None = None,
    ) -> None:
        """Errors: Conflict if the source has other files by now, whatever came of reading them."""
        if self.source.listed() != files:
            self._sweep(kept)
            raise errors.Conflict(
                f"`{self.source.uri}` changed while its segments were made; refresh them again",
                resource="segments",
                name=str(self.folder),
            ) from cause

    def _kept(self, files: Sequence[lake.File]) -> tuple[segment_manifest.Manifest | None, str]:
        """The manifest whose segments stay, or why none do."""
        try:
            manifest = segment_manifest.read(self.folder)
        except errors.NotFound:
            return None, "there were none"
        except errors.CorruptArtifact as error:
            _LOG.warning("segments in `%s` are made anew: %s", self.folder, error)
            return None, str(error)
        if (manifest.uri, manifest.order) != (self.source.uri, self.order):
            return None, f"they were of `{manifest.uri}` by {manifest.order}"
        if list(manifest.files) != list(files[: len(manifest.files)]):
            return None, manifest.staleness(self.source, files, self.order)
        if len(files) > len(manifest.files) and not self._has_schema_of(manifest, files):
            return None, "the source has other columns"
        return manifest, ""

    def _has_schema_of(self, manifest: segment_manifest.Manifest, files: Sequence[lake.File]) -> bool:
        new = self._rows(files[len(manifest.files) :]).collect_schema()
        try:
            segment = segment_search.opened(self.folder, manifest.segments[0], self.order)
        except (FileNotFoundError, errors.CorruptArtifact):
            return True  # it is mended next, out of files that have not changed
        return dict(new) == dict(segment.rows.schema)

    def _mended(
        self, entries: Sequence[segment_file.Entry], files: Sequence[lake.File]
    ) -> tuple[list[segment_file.Entry], tuple[str, ...]]:
        """Each segment, made anew where it is damaged, and the names of those that were."""
        mended, rebuilt = [], []
        for entry in entries:
            try:
                segment_search.opened(self.folder, entry, self.order)
            except (FileNotFoundError, errors.CorruptArtifact) as error:
                _LOG.warning("segment `%s` in `%s` is made anew: %s", entry.name, self.folder, error)
                rebuilt.append(entry.name)
                entry = self._segment(files, entry.first_row, entry.first_row, entry.source_rows)
            mended.append(entry)
        return mended, tuple(rebuilt)

    def _written(self, files: Sequence[lake.File], first_row: int) -> list[segment_file.Entry]:
        with self.source.named():
            total = int(self.source.scan_files(files).select(pl.len()).collect().item())
        # A source of no rows is one segment too: it knows the columns.
        starts = range(0, max(total, 1), self._max_rows)
        return [
            self._segment(files, first_row + start, start, min(self._max_rows, total - start))
            for start in starts
        ]

    def _segment(
        self, files: Sequence[lake.File], first_row: int, offset: int, length: int
    ) -> segment_file.Entry:
        with self.source.named():
            rows = self._rows(files).slice(offset, length)
            return segment_file.write(self.folder, rows, self.order, first_row=first_row, source_rows=length)

    def _rows(self, files: Sequence[lake.File]) -> pl.LazyFrame:
        with self.source.named():
            rows = self.source.scan_files(files)
            return normalised(rows, self.order, what=f"`{self.source.uri}`")

    def _merged(
        self, entries: Sequence[segment_file.Entry], added: Sequence[segment_file.Entry]
    ) -> list[segment_file.Entry]:
        """A new segment takes in its elder while that is not twice as large: there are few, and each row moves rarely."""
        merged = list(entries)
        for entry in added:
            while (
                merged and merged[-1].rows < 2 * entry.rows and merged[-1].rows + entry.rows <= self._max_rows
            ):
                elder = merged.pop()
                rows = [segment_search.opened(self.folder, e, self.order).rows for e in (elder, entry)]
                entry = segment_file.write(
                    self.folder,
                    pl.concat(rows).lazy(),
                    self.order,
                    first_row=elder.first_row,
                    source_rows=elder.source_rows + entry.source_rows,
                )
            merged.append(entry)
        return merged

    def _sweep(self, kept: segment_manifest.Manifest | None) -> None:
        """Remove what no manifest names: older segments, and what a refresh that died has left."""
        named = {name for entry in kept.segments for name in entry.files} if kept else set()
        for path in self.folder.glob("segment-*"):
            if path.name not in named:
                path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def normalised(rows: pl.LazyFrame, order: segment_file.Order, *, what: str) -> pl.LazyFrame:
    """Times as UTC microseconds, keys in the types in which both sides of a join meet. Errors: SchemaMismatch."""
    schema = rows.collect_schema()
    frames.require(schema, order.keys, what=what)
    rows = rows.with_columns(
        lake.as_time(rows, time, what=what) for time in (order.event, order.created) if time
    )
    return rows.with_columns(pl.col(key).cast(matching.key_type(schema[key])) for key in order.keys)
