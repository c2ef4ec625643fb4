"""Tables that people name on a command line."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from mainspring.core import errors

if TYPE_CHECKING:
    import polars as pl

__all__ = ["files", "scan"]


def scan(file: str, *, types: bool = False, content: bytes | None = None) -> pl.LazyFrame:
    """Parquet, a folder of it, or CSV, whose values are text unless `types` are to be found out by all of them; `content`: what
    was read of the file, which counts in its place.

    Errors: InvalidRequest for a file that is neither.
    """
    import polars as pl

    source = file if content is None else io.BytesIO(content)
    try:
        if content is None and Path(file).is_dir():
            frame = pl.scan_parquet(Path(file) / "**" / "*.parquet")
        elif file.endswith((".csv", ".tsv")):
            frame = pl.scan_csv(
                source,
                separator="\t" if file.endswith(".tsv") else ",",
                infer_schema=types,
                infer_schema_length=None,
                try_parse_dates=types,
            )
        else:
            frame = pl.scan_parquet(source)
        frame.collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise errors.InvalidRequest(
            f"`{file}` cannot be read: {error}; give a Parquet or CSV file, or a folder of Parquet",
            field="file",
        ) from error
    return frame


def files(file: str) -> list[Path]:
    """What :func:`scan` reads of it."""
    path = Path(file)
    return sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
