"""A project's recorded requests: what a deployment asks its own endpoint, so that an idle one is judged, too.

One JSON-lines file per project (`Workspace.probes`), one `PredictRequest` body a line. A training run writes it.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from mainspring.core import errors
from mainspring.core.contracts import prediction


def write(path: Path, requests: Iterable[prediction.PredictRequest]) -> int:
    """Replace the file, whole or not at all; returns how many requests it holds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    count = 0
    try:
        with new.open("w") as file:
            for request in requests:
                file.write(request.model_dump_json(exclude_none=False, exclude_defaults=True) + "\n")
                count += 1
            file.flush()
            os.fsync(file.fileno())
        new.rename(path)
    finally:
        new.unlink(missing_ok=True)
    return count


def read(path: Path, *, limit: int, skip: int = 0) -> list[str]:
    """Up to `limit` different bodies, beginning after `skip` of them and going round; none where there is no file.

    Errors: CorruptArtifact naming the first line that is no request.
    """
    try:
        lines = [line for line in path.read_text().splitlines() if line.strip()]
    except FileNotFoundError:
        return []
    if not lines:
        return []
    start = skip % len(lines)
    chosen = (lines[start:] + lines[:start])[:limit]
    for line in chosen:
        try:
            prediction.PredictRequest.model_validate_json(line)
        except ValidationError as error:
            raise errors.CorruptArtifact(
                f"`{path.name}` line {lines.index(line) + 1} is no request: {error.errors()[0]['msg']}; remove the file,"
                " the next training writes it anew",
                artifact=path.name,
                expected="a PredictRequest a line",
                got=line[:80],
            ) from error
    return chosen
