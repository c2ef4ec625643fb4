"""Certificates of erasures and holds on subjects outside of the control database, a file each: a database that is put back from before
them is told again.

`<erased_dir>/certificates/<erasure_id>.json`, sealed as it was made: only its signature makes one count. `<erased_dir>/holds/<hold_id>.json`
as the control API says it: a hold that nobody placed keeps rows for longer, and somebody can lift it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from mainspring.core import durable

__all__ = ["CERTIFICATES", "HOLDS", "keep", "names", "read"]

CERTIFICATES: Final = "certificates"
HOLDS: Final = "holds"
_NAME: Final = re.compile(r"(era|hold)_[0-9a-z]{1,64}")


def keep(erased_dir: Path, name: str, content: bytes, kind: str = CERTIFICATES) -> None:
    """On disk when it returns; again replaces it. Errors: OSError."""
    folder = erased_dir / kind
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    durable.replace_file(folder / f"{name}.json", content, is_secret=True)


def names(erased_dir: Path, kind: str = CERTIFICATES) -> list[str]:
    """Ids of the erasures, or holds, that have one here, oldest first. Errors: OSError."""
    return sorted(p.stem for p in (erased_dir / kind).glob("*.json") if _NAME.fullmatch(p.stem))


def read(erased_dir: Path, name: str, kind: str = CERTIFICATES) -> bytes:
    """Errors: OSError."""
    return (erased_dir / kind / f"{name}.json").read_bytes()
