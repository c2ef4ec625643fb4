"""Public keys whose signatures are believed no more: a mark beside the key, which counts whatever else lies there.

A mark is one file, `<hex>.withdrawn.json` in the trust directory, whole or not there at all. Removing the public key alone
would not do: a producer that still has the private half publishes it again with its next bundle.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from mainspring.core import durable
from mainspring.core.contracts import keys

SUFFIX: Final = ".withdrawn.json"

_MARK: Final = re.compile(r"([0-9a-f]{64})" + re.escape(SUFFIX))


def mark(directory: Path, withdrawal: keys.KeyWithdrawal) -> keys.KeyWithdrawal:
    """Put the mark there, on disk when this returns. One that is there stays and is the answer, unless this one says
    for the first time that the key is compromised. Callers are one at a time. Errors: OSError.
    """
    known = find(directory, withdrawal.key_id)
    if known is not None and (known.is_compromised or not withdrawal.is_compromised):
        return known
    directory.mkdir(parents=True, exist_ok=True)
    durable.replace_file(_path(directory, withdrawal.key_id), withdrawal.model_dump_json(indent=1))
    return withdrawal


def find(directory: Path, key_id: str) -> keys.KeyWithdrawal | None:
    """The mark of a key. One that cannot be read is a mark all the same, without its reason."""
    path = _path(directory, key_id)
    try:
        return keys.KeyWithdrawal.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError):
        return keys.KeyWithdrawal(
            key_id=key_id,
            reason=f"its mark `{path.name}` cannot be read",
            by="",
            at=None,
            is_compromised=True,
        )


def marked(directory: Path) -> frozenset[str]:
    """The ids of keys that have a mark."""
    try:
        names = [path.name for path in directory.iterdir()]
    except FileNotFoundError:
        return frozenset()
    return frozenset("sha256:" + found[1] for found in map(_MARK.fullmatch, names) if found)


def _path(directory: Path, key_id: str) -> Path:
    return directory / f"{key_id.removeprefix('sha256:')}{SUFFIX}"
