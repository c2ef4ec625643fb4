"""Turns the prediction log of one bundle into hourly sums, each logged file once, and keeps them long after the log has gone.

    <folder>/baseline.json                    what everything is held against
    <folder>/segments/<name>.parquet          cells (see `sketches`) of some files of the log, and the names of these files
    <folder>/outcomes/<day>.parquet           cells of the outcomes known of that day

A segment is there whole or not at all and says itself which files it is of, so a process that dies in the middle leaves nothing
half counted: the next one takes the files that no segment has. Many segments become one (`compact`); the new one names those in
whose place it is, which are not read from then on. One writer at a time (a lock on the folder); readers need none.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mainspring.core import canonical, durable, errors
from mainspring.core.contracts.monitoring import SCORE, Baseline
from mainspring.core.monitoring import prediction_log, sketches

__all__ = ["Ingested", "WindowStore"]

#: Rows in memory at a time.
BATCH_ROWS: Final = 1 << 18
#: Files of the log in one segment: so much is done again after a crash.
FILES_A_SEGMENT: Final = 256
COMPACT_AT: Final = 64
#: An answer that is about a moment further ahead of its writing than this was given by a clock that had jumped.
AHEAD_US: Final = 3_600_000_000
#: An answer about what was so long ago is a question asked again, as a deployment's probes are, or a replay.
LATE_US: Final = 3_600_000_000
#: Questions of that kind that are remembered: 64 MiB. Beyond it a repetition may be counted twice.
MAX_REMEMBERED: Final = 8 << 20
#: A canary and a shadow are judged by their deployment; whoever chose his answerer did not ask what is served.
JUDGED_ROLE: Final = "stable"
_GROUP_CELLS: Final = 20_000
_META: Final = b"mainspring"
_QUESTION: Final = "\0question"


@dataclass(frozen=True)
class Ingested:
    """What one look at the log brought."""

    files: int = 0
    rows: int = 0
    repeated: int = 0
    """The same question about the same moment, asked again within this look."""
    ill_timed: int = 0
    """About a moment after their writing: left out."""
    damaged: tuple[str, ...] = ()
    """Files that cannot be read: they are tried again each time, and nothing waits for them."""


@dataclass
class _Batch:
    """Sums of some files before they are a segment."""

    files: list[str] = field(default_factory=list)
    frames: list[pl.DataFrame] = field(default_factory=list)
    ill_timed: int = 0


class WindowStore:
    """The folder of one endpoint and bundle."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._segments, self._outcomes = folder / "segments", folder / "outcomes"

    @classmethod
    def of(cls, root: Path, endpoint: str, bundle_digest: str) -> WindowStore:
        """As the prediction log does, it goes by endpoint and the first 16 hex digits of the bundle."""
        return cls(root / endpoint / bundle_digest.removeprefix("sha256:")[:16])

    def put_baseline(self, baseline: Baseline) -> None:
        """Put it in force. Errors: Conflict where another one is: what was counted is of its bins."""
        path = self._folder / "baseline.json"
        if path.exists():
            if self.baseline() != baseline:
                raise errors.Conflict(
                    f"`{path}` is another baseline, of whose bins all sums there are; remove the folder to count anew",
                    resource="baseline",
                    name=baseline.bundle_digest,
                )
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        durable.replace_file(path, canonical.dumps(baseline.model_dump(mode="json")))

    def baseline(self) -> Baseline:
        """Errors: NotFound; CorruptArtifact."""
        path = self._folder / "baseline.json"
        try:
            return Baseline.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise errors.NotFound(
                f"there is no baseline at `{path}`; run a drift check of the endpoint, which makes it",
                resource="baseline",
                name=self._folder.name,
            ) from None
        except ValueError as error:
            raise errors.CorruptArtifact(
                f"`{path}` is no baseline: {error}; remove the folder to count anew",
                artifact=path.name,
                expected="a baseline",
                got=str(error)[:80],
            ) from error

    def ingest(self, log: Path) -> Ingested:
        """Count what the log's folder of this endpoint and bundle has and no segment is of. Errors: NotFound without baseline."""
        baseline = self.baseline()
        self._segments.mkdir(parents=True, exist_ok=True)
        try:
            held = durable.hold_folder(self._segments)
        except BlockingIOError as error:
            raise errors.Overloaded(
                f"another process counts into `{self._folder}`; try again when it is done",
                retry_after_seconds=30.0,
            ) from error
        try:
            for torn in self._segments.glob("*.new"):
                torn.unlink(missing_ok=True)
            return self._ingest(baseline, log)
        finally:
            os.close(held)

    def _ingest(self, baseline: Baseline, log: Path) -> Ingested:
        known = {name for segment in self._live() for name in segment.files}
        new = sorted(path for path in log.glob("*.parquet") if path.name not in known)
        sketcher, repeats = sketches.Sketcher(baseline), _Repeats()
        batch, rows, ill_timed, damaged = _Batch(), 0, 0, []
        for path in new:
            try:
                # All of it, before any of it is counted: a log file is of half a minute.
                frames = list(_read(path, baseline))
            except FileNotFoundError:
                continue  # the log has let go of it meanwhile
            except (OSError, ValueError, pl.exceptions.PolarsError):
                damaged.append(path.name)
                continue
            for frame in frames:
                right = _rightly_timed(frame, path)
                batch.ill_timed += frame.height - right.height
                right = repeats.first(right)
                sketcher.add(right["as_of"].dt.epoch("us").to_numpy(), right)
                rows += right.height
                if sketcher.is_full:
                    batch.frames.append(sketcher.take())
            batch.files.append(path.name)
            if (
                len(batch.files) >= FILES_A_SEGMENT
                or sum(f.height for f in batch.frames) > sketches.MAX_HELD // 64
            ):
                ill_timed += self._close(batch, sketcher)
                batch = _Batch()
        ill_timed += self._close(batch, sketcher)
        if len(self._live()) >= COMPACT_AT:
            self._compact({path.name for path in log.glob("*.parquet")})
        return Ingested(len(new) - len(damaged), rows, repeats.found, ill_timed, tuple(damaged))

    def _close(self, batch: _Batch, sketcher: sketches.Sketcher) -> int:
        batch.frames.append(sketcher.take())
        if batch.files:
            self._write(pl.concat(batch.frames), batch.files, ill_timed=batch.ill_timed)
        return batch.ill_timed

    def _write(
        self, cells: pl.DataFrame, files: Sequence[str], *, ill_timed: int, replaces: Sequence[str] = ()
    ) -> None:
        name = hashlib.sha256("\n".join([*sorted(files), *sorted(replaces)]).encode()).hexdigest()[:32]
        meta = {"files": sorted(files), "replaces": sorted(replaces), "ill_timed": ill_timed}
        table = cells.sort("hour", "slice", "value", "column").to_arrow()
        table = table.replace_schema_metadata({_META: json.dumps(meta).encode()})
        durable.place_file(
            self._segments / f"{name}.parquet",
            # By hour, so that a window reads its own part alone.
            lambda path: pq.write_table(table, path, compression="zstd", row_group_size=_GROUP_CELLS),
        )

    def _compact(self, there: set[str]) -> None:
        """One segment in the place of all. Names of files that the log has no more need not be kept."""
        live = self._live()
        cells = [pl.read_parquet(s.path) for s in live]
        total = sketches.added_up(pl.concat(cells), by=("hour", "slice", "value", "column"))
        files = sorted({name for s in live for name in s.files} & there)
        self._write(
            total, files, ill_timed=sum(s.ill_timed for s in live), replaces=[s.path.stem for s in live]
        )
        for segment in live:
            segment.path.unlink(missing_ok=True)

    def _live(self) -> list[_Segment]:
        found = [_Segment.read(path) for path in sorted(self._segments.glob("*.parquet"))]
        gone = {name for segment in found for name in segment.replaces}
        return [segment for segment in found if segment.path.stem not in gone]

    @property
    def ill_timed(self) -> int:
        """Of all that was counted."""
        return sum(segment.ill_timed for segment in self._live())

    def cells(self, since: datetime, until: datetime) -> pl.DataFrame:
        """Of the hours that begin in `[since, until)`."""
        return _between([segment.path for segment in self._live()], since, until)

    def score_cells(self, since: datetime, until: datetime) -> pl.DataFrame:
        """Of these, the scores of all answers, and no other column or slice."""
        inside = pl.col("hour").is_between(since, until, closed="left")
        frames = [
            pl.scan_parquet(segment.path).filter(inside, pl.col("slice") == "", pl.col("column") == SCORE)
            for segment in self._live()
        ]
        return pl.concat(frames).collect() if frames else sketches.empty()

    def score_counts(self, since: datetime, until: datetime) -> pl.DataFrame:
        """`hour` and `n`, how many answers it has."""
        n = pl.col("counts").list.sum().alias("n")
        return self.score_cells(since, until).group_by("hour").agg(n.sum()).sort("hour")

    def newest(self) -> datetime | None:
        """When the newest hour that was counted ends; None: nothing was."""
        ends = [
            pl.scan_parquet(segment.path).select(pl.col("hour").max()).collect().item()
            for segment in self._live()
        ]
        present = [end for end in ends if end is not None]
        return max(present) + timedelta(hours=1) if present else None

    def put_outcomes(self, day: date, cells: pl.DataFrame, *, is_settled: bool) -> None:
        """Put what is known of a day in the place of what was known of it before."""
        self._outcomes.mkdir(parents=True, exist_ok=True)
        table = cells.to_arrow().replace_schema_metadata(
            {_META: json.dumps({"settled": is_settled}).encode()}
        )
        path = self._outcomes / f"{day.isoformat()}.parquet"
        path.with_suffix(".new").unlink(missing_ok=True)
        durable.place_file(path, lambda new: pq.write_table(table, new, compression="zstd"))

    def is_settled(self, day: date) -> bool:
        """No outcome of that day is still to come."""
        path = self._outcomes / f"{day.isoformat()}.parquet"
        return path.exists() and bool(_meta(path)["settled"])

    def outcome_cells(self, since: datetime, until: datetime) -> pl.DataFrame:
        """Of the hours that begin in `[since, until)`."""
        first, last = (t.astimezone(UTC).date().isoformat() for t in (since, until))
        paths = [p for p in sorted(self._outcomes.glob("*.parquet")) if first <= p.stem <= last]
        return _between(paths, since, until)


@dataclass(frozen=True)
class _Segment:
    path: Path
    files: tuple[str, ...]
    replaces: tuple[str, ...]
    ill_timed: int

    @classmethod
    def read(cls, path: Path) -> _Segment:
        meta = _meta(path)
        return cls(path, tuple(meta["files"]), tuple(meta["replaces"]), int(meta["ill_timed"]))


def _meta(path: Path) -> dict[str, Any]:
    """Errors: CorruptArtifact."""
    try:
        found: dict[str, Any] = json.loads((pq.read_schema(path).metadata or {})[_META])
    except (OSError, ValueError, KeyError) as error:
        raise errors.CorruptArtifact(
            f"`{path}` holds no sums of ours: {error!r}; remove it, and what the log still has is counted anew",
            artifact=path.name,
            expected="a segment with its list of files",
            got=str(error)[:80],
        ) from error
    return found


def _between(paths: Sequence[Path], since: datetime, until: datetime) -> pl.DataFrame:
    inside = pl.col("hour").is_between(since, until, closed="left")
    frames = [pl.scan_parquet(path).filter(inside) for path in paths]
    return pl.concat(frames).collect() if frames else sketches.empty()


def _read(path: Path, baseline: Baseline) -> Iterator[pl.DataFrame]:
    """The file's judged rows, some at a time: `as_of`, the hash of a question about what was long ago, the baseline's columns."""
    file = pq.ParquetFile(path)
    there = set(file.schema_arrow.names)
    chosen: dict[str, str] = {}
    for name in sorted({c.name for c in baseline.columns if c.name != SCORE} | set(baseline.slices)):
        for prefix in (prediction_log.FEATURE, prediction_log.KEY):
            if prefix + name in there:
                chosen[name] = prefix + name
                break
    keys = sorted(name for name in there if name.startswith(prediction_log.KEY))
    always = {"time", "as_of", "role", "model_version", "by_entity", "score"}
    for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=sorted({*always, *keys, *chosen.values()})):
        frame = pl.DataFrame(batch).filter(
            pl.col("role") == JUDGED_ROLE, pl.col("model_version") == baseline.bundle_digest
        )
        late = (pl.col("time") - pl.col("as_of")).dt.total_microseconds() > LATE_US
        is_late = frame.select(late & pl.col("by_entity")).to_series()
        # Only where there may be a repetition: a hash of the keys costs more than all the rest of a row.
        question = pl.lit(None, pl.UInt64)
        if keys and is_late.any():
            question = pl.when(is_late).then(pl.struct(*keys, "as_of").hash())
        yield frame.select(
            "as_of",
            question.alias(_QUESTION),
            pl.col("score").alias(SCORE),
            *(pl.col(logged).alias(name) for name, logged in chosen.items()),
        )


def _rightly_timed(frame: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Without what is about a moment after the file was written, by the file's own name."""
    written_us = int(path.name.partition("-")[0])
    return frame.filter(pl.col("as_of").dt.epoch("us") <= written_us + AHEAD_US)


class _Repeats:
    """Remembers questions about what was long ago, by hash, so that each counts once."""

    def __init__(self) -> None:
        self._seen: NDArray[np.uint64] = np.empty(0, np.uint64)
        self.found = 0

    def first(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Without what was asked before."""
        is_late = frame[_QUESTION].is_not_null().to_numpy()
        if not is_late.any():
            return frame
        asked = frame[_QUESTION].drop_nulls().to_numpy()
        unique, first = np.unique(asked, return_index=True)
        place = np.minimum(np.searchsorted(self._seen, unique), max(len(self._seen) - 1, 0))
        is_known = self._seen[place] == unique if len(self._seen) else np.zeros(len(unique), bool)
        keep = ~is_late
        keep[np.flatnonzero(is_late)[first[~is_known]]] = True
        if len(self._seen) < MAX_REMEMBERED:
            self._seen = np.union1d(self._seen, unique)
        self.found += frame.height - int(keep.sum())
        return frame.filter(pl.Series(keep))
