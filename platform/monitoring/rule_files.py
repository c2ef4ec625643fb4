"""Alert rules as files: TOML in a project's repository."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from mainspring.core import errors
from mainspring.core.contracts import alerts

__all__ = ["read"]

_DOCS: Final = "docs/monitoring.md"


def read(path: Path) -> alerts.AlertRules:
    """Errors: InvalidRequest that names the file and the first field that is wrong."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise errors.InvalidRequest(
            f"`{path}` cannot be read: {error}; mend the file", field="file"
        ) from error
    try:
        return alerts.AlertRules.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise errors.InvalidRequest(
            f"`{path.name}`: `{field}`: {first['msg'].lower()}; see {_DOCS}", field=field or "file"
        ) from error
