"""What a file says of itself that nobody's rows are in: a key in its Parquet metadata, written with the rows it is about.

It is a label and no proof: whoever can write the file can write it. It says which report the rows were judged by, and what is
changed afterwards by a tool that keeps no metadata has lost it, and counts as real.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["KEY", "is_marked", "is_synthetic", "mark"]

KEY: Final = b"mainspring.synthetic"


def mark(schema: pa.Schema, report_digest: str) -> pa.Schema:
    """The schema of a file whose rows were judged by that report."""
    return schema.with_metadata({**(schema.metadata or {}), KEY: report_digest.encode()})


def is_marked(metadata: Mapping[bytes, bytes] | None) -> bool:
    return bool((metadata or {}).get(KEY))


def is_synthetic(files: Iterable[Path | BinaryIO]) -> bool:
    """Are all of them marked, and is there one; of an open file its whole content counts. What is no Parquet has no mark.

    Errors: OSError.
    """
    found = [_metadata(path) for path in files]
    return bool(found) and all(map(is_marked, found))


def _metadata(path: Path | BinaryIO) -> Mapping[bytes, bytes] | None:
    try:
        metadata: Mapping[bytes, bytes] | None = pq.read_metadata(path).metadata
    except pa.ArrowInvalid:
        return None
    return metadata
