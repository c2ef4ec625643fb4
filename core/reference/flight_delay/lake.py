"""The lake: the source's tables as Parquet, flights and weather by month, in one folder that is complete or absent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import polars as pl

from mainspring.core import canonical, errors
from mainspring.core.features import folders
from mainspring.core.quality import gate
from mainspring.core.quality.report import QualityReport
from mainspring.core.reference.flight_delay import checks, source

__all__ = ["KIND", "open_lake", "read", "write"]

KIND: Final = "flight-delay lake"

#: Tables cut by month, and the UTC column that says which.
_BY_MONTH: Final = {"flights": "scheduled_departure", "weather": "time_hour"}


def write(lake_dir: Path, csv_folder: Path, version: str, sample_fraction: float) -> folders.Folder:
    """The lake of one source and fraction, made or reused. `detail["rows"]` counts rows by table.

    One that fails its fatal checks is held beside `lake_dir`, which stands as it was.
    Errors: those of `source.read` and `source.sample`; DataInvalid; Conflict.
    """
    inputs = {
        "code": folders.code(__file__, source.__file__),
        "source": f"{source.PACKAGE} {version}",
        "files": {p.name: canonical.digest_file(p) for p in sorted(csv_folder.glob("*.csv*"))},
        "sample_fraction": float(sample_fraction),
        "expectations": checks.DIGEST,
    }

    def fill(new: Path) -> Mapping[str, Any]:
        tables = source.sample(source.read(csv_folder), sample_fraction)
        return {
            "rows": {name: _write_table(new / name, name, getattr(tables, name)) for name in source.TABLES}
        }

    def judge(
        new: Path, _: Mapping[str, Any], accepted: Mapping[str, QualityReport]
    ) -> tuple[QualityReport, ...]:
        return checks.reports(new, accepted)

    return gate.publish(lake_dir, kind=KIND, inputs=inputs, write=fill, checks=judge)


def open_lake(lake_dir: Path) -> folders.Folder:
    """The lake, checked to the last byte. Errors: NotFound, CorruptArtifact."""
    return folders.read(lake_dir, kind=KIND)


def read(lake: folders.Folder) -> source.Tables:
    """The lake's tables, in the order in which they were written."""
    return source.Tables(**{name: _read_table(lake.path / name) for name in source.TABLES})


def _write_table(folder: Path, name: str, table: pl.DataFrame) -> int:
    time = _BY_MONTH.get(name)
    if time is None or table.is_empty():  # no rows have no month, and still a schema
        _write_part(folder / "part-0.parquet", table)
        return table.height
    by_month = table.with_columns(pl.col(time).dt.strftime("%Y-%m").alias("__month")).partition_by(
        "__month", as_dict=True, include_key=False, maintain_order=True
    )
    for (month,), part in by_month.items():
        _write_part(folder / f"month={month}" / "part-0.parquet", part)
    return table.height


def _write_part(path: Path, part: pl.DataFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part.write_parquet(path, compression="zstd", compression_level=3, statistics=True)


def _read_table(folder: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(sorted(folder.rglob("*.parquet")), hive_partitioning=False)
    except pl.exceptions.PolarsError as error:  # the digests held, so it was written so
        raise errors.CorruptArtifact(
            f"table `{folder.name}` of the lake does not read: {error}; remove the lake and ingest again",
            artifact=str(folder),
            expected="Parquet",
            got=str(error),
        ) from error
