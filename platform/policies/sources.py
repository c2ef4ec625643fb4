"""Policies as they are written: texts of `*.cedar` files, from our own folder and from an organisation's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mainspring.core import errors

#: Ours: the schema, and the policies that are always in force.
FOLDER: Final = Path(__file__).parent
SCHEMA: Final = "mainspring.cedarschema"
#: Of one folder; a policy is some 300 bytes.
MAX_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class Sources:
    """Ours, and an organisation's own beside them: texts by file name."""

    schema: str
    ours: Mapping[str, str]
    own: Mapping[str, str]


def load(own: Path | None) -> Sources:
    """Errors: InvalidSettings that names the folder or the file."""
    schema = (FOLDER / SCHEMA).read_text(encoding="utf-8")
    return Sources(schema, read(FOLDER), {} if own is None else read(own))


def read(folder: Path) -> dict[str, str]:
    """Every `*.cedar` of a folder by name. Errors: InvalidSettings for none at all, for what is no text, or too much."""
    texts = {}
    try:
        for path in sorted(folder.glob("*.cedar")):
            texts[path.name] = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _bad(f"`{path}` cannot be read: {error}; mend the file") from error
    if not texts:
        raise _bad(f"`{folder}` has no `*.cedar` file; name a folder that has, or none")
    if sum(map(len, texts.values())) > MAX_BYTES:
        raise _bad(
            f"the policies of `{folder}` are longer than {MAX_BYTES} characters; split or shorten them"
        )
    return texts


def _bad(problem: str) -> errors.InvalidSettings:
    return errors.InvalidSettings(problem, problems=(problem,))
