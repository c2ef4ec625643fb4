"""Certificates of erasures outside of the control database, a file each: a database that is put back from before them is told again.

`<erased_dir>/certificates/<erasure_id>.json`, sealed as it was made. Only its signature makes one count.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from mainspring.core import durable

__all__ = ["keep", "names", "read"]

_FOLDER: Final = "certificates"
_NAME: Final = re.compile(r"era_[0-9a-z]{1,64}")


def keep(erased_dir: Path, erasure_id: str, sealed: bytes) -> None:
    """On disk when it returns; again replaces it. Errors: OSError."""
    folder = erased_dir / _FOLDER
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    durable.replace_file(folder / f"{erasure_id}.json", sealed, is_secret=True)


def names(erased_dir: Path) -> list[str]:
    """Ids of the erasures that have one here, oldest first. Errors: OSError."""
    return sorted(p.stem for p in (erased_dir / _FOLDER).glob("*.json") if _NAME.fullmatch(p.stem))


def read(erased_dir: Path, erasure_id: str) -> bytes:
    """Errors: OSError."""
    return (erased_dir / _FOLDER / f"{erasure_id}.json").read_bytes()
