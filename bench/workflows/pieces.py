"""Rows that take longer than one sitting: each sitting is a line of a file, and the row is over all lines.

A piece holds what was seen, not what was made of it, so that a p99 over ten pieces is a p99 over all their values. Each says when
it was measured, of which commit and beside what load; none is left out, and one that failed is no piece.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from mainspring.bench.native import machine
from mainspring.core import errors

__all__ = ["add", "read", "stamped", "told"]

_STAMP: Final = ("at", "cpu", "cores", "commit", "load_average_1m")


def stamped(piece: Mapping[str, Any]) -> dict[str, Any]:
    """With where and when it was measured."""
    found = {**machine.describe(), "at": datetime.now(UTC).isoformat(timespec="seconds")}
    return {**{name: found[name] for name in _STAMP}, **piece}


def add(path: Path, piece: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Append it, durably; all pieces that the file has now. Errors: CorruptArtifact; Conflict for another row's file."""
    before = read(path) if path.exists() else []
    if before and before[0]["row"] != piece["row"]:
        raise errors.Conflict(
            f"`{path}` has pieces of `{before[0]['row']}`, not of `{piece['row']}`; give each row a file of its own",
            resource="pieces",
            name=path.name,
        )
    with path.open("a") as file:
        file.write(json.dumps(piece) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return [*before, dict(piece)]


def read(path: Path) -> list[dict[str, Any]]:
    """Errors: CorruptArtifact naming the first line that is no piece."""
    found = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            piece = json.loads(line)
            if not {"row", *_STAMP} <= piece.keys():
                raise ValueError(f"has no {sorted({'row', *_STAMP} - piece.keys())}")
        except (ValueError, AttributeError) as error:
            raise errors.CorruptArtifact(
                f"`{path}` line {number} is no piece: {error}; remove the line, or measure anew",
                artifact=str(path),
                expected="a piece a line, as JSON",
                got=line[:80],
            ) from error
        found.append(piece)
    return found


def told(pieces: Sequence[Mapping[str, Any]], count: str) -> list[dict[str, Any]]:
    """What a row says of its pieces: when, of which commit, beside what load, and how many values of `count` each has."""
    return [
        {"at": p["at"], "commit": p["commit"], "load": p["load_average_1m"], count: len(p[count])}
        for p in pieces
    ]
