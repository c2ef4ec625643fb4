"""What a run is about to make something of is asked about first: the control API says whether its environment may read it as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

import polars as pl

from mainspring.core import projects
from mainspring.core.contracts import data_reads
from mainspring.core.protection import sealing

__all__ = ["Ask", "lake", "views"]

#: Of a project: PolicyDenied if it may not be read. It blocks.
Ask: TypeAlias = Callable[[str, data_reads.DataRead], object]


def lake(report: projects.IngestReport, folder: Path) -> list[data_reads.ReadDataset]:
    """The tables of a lake, by what their definitions and their files say. Errors: OSError, polars' own."""
    return [
        _dataset(
            f"lake.{table.name}",
            _files(folder, table.name),
            version=table.digest,
            is_synthetic=report.is_synthetic,
            classification=table.classification,
            personal=table.pii,
        )
        for table in report.tables
    ]


def views(report: projects.FeatureReport, names: Iterable[str]) -> list[data_reads.ReadDataset]:
    """Those of a project's views; what they tell of persons the catalog knows."""
    wanted = set(names)
    return [
        _dataset(
            f"view.{found.view.name}", [found.path], version=found.digest, is_synthetic=report.is_synthetic
        )
        for found in report.views
        if found.view.name in wanted
    ]


def _dataset(
    name: str,
    files: Sequence[Path],
    *,
    version: str,
    is_synthetic: bool,
    classification: str = "",
    personal: Sequence[str] = (),
) -> data_reads.ReadDataset:
    rows = pl.scan_parquet(list(files), hive_partitioning=False) if files else pl.LazyFrame()
    columns = list(rows.collect_schema())
    return data_reads.ReadDataset.model_validate(
        {
            "name": name,
            "version": version,
            # A table of no file that can be read here is what its definition says.
            "columns": columns or list(personal),
            "classification": classification,
            "personal": list(personal),
            "sealed": [] if is_synthetic else sorted(sealing.sealed_columns(rows)),
            "is_synthetic": is_synthetic,
        }
    )


def _files(folder: Path, table: str) -> list[Path]:
    """A table is a folder of parts, or one file."""
    one = folder / f"{table}.parquet"
    return [one] if one.is_file() else sorted((folder / table).rglob("*.parquet"))
