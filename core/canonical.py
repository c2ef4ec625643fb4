"""One way to write JSON as bytes, and the digests that name things by it.

Canonical form: UTF-8, keys sorted by code point, no white space, shortest round-trip floats (Python's repr,
which is IEEE 754's shortest), NaN and infinities refused. Plans, bundle manifests and audit events are named and
chained by the SHA-256 of these bytes, so the form never changes without a new schema version.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from mainspring.core import errors

_CHUNK_BYTES = 1 << 20


def dumps(value: Any) -> bytes:
    """`value` as canonical JSON bytes.

    Errors: InvalidRequest if it holds NaN, an infinity, a non-string key or a type JSON lacks.
    """
    _check_keys(value, "$")
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode()
    except (TypeError, ValueError) as error:
        raise errors.InvalidRequest(
            f"value has no canonical JSON form: {error}; use finite numbers, strings, lists and objects"
        ) from error


def _check_keys(value: Any, path: str) -> None:
    # json.dumps turns 1 and True into "1" and "true": two different values would share a digest.
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise errors.InvalidRequest(
                    f"key `{key!r}` at `{path}` is not a string; canonical JSON has string keys only",
                    field=path,
                )
            _check_keys(item, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            _check_keys(item, f"{path}[{i}]")


def digest(value: Any) -> str:
    """`sha256:` and the hex digest of the canonical JSON of `value`."""
    return digest_bytes(dumps(value))


def digest_bytes(data: bytes) -> str:
    """`sha256:` and the hex digest of `data`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_file(path: Path) -> str:
    """`sha256:` and the hex digest of a file's bytes, read in 1 MiB pieces."""
    h = hashlib.sha256()
    with path.open("rb") as f:
        while chunk := f.read(_CHUNK_BYTES):
            h.update(chunk)
    return "sha256:" + h.hexdigest()


def digest_tree(root: Path) -> str:
    """The digest of every regular file under `root`, by relative path and content; empty folders do not count."""
    files = sorted(p for p in root.rglob("*") if p.is_file())
    return digest([[p.relative_to(root).as_posix(), digest_file(p)] for p in files])
