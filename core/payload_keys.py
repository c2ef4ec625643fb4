"""The file of payload keys as lines, for those who change it: ids only, and no word of Temporal.

`<id> <64 hex digits>` a line; the first encrypts, all decrypt (`core/client/payloads.py`). Whoever has read the file follows
a change within a second.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

from mainspring.core import errors, watched

__all__ = ["add", "drop", "ids", "promote"]

_KEY_BYTES: Final = 32
_LINE: Final = re.compile(r"([a-z0-9-]{1,40}) [0-9a-f]{64}")


def ids(path: Path) -> tuple[str, ...]:
    """The keys of the file, the one that encrypts first; none where there is no file. Errors: InvalidSettings."""
    try:
        return tuple(_id(line) for line in _lines(path.read_bytes()) if _id(line))
    except FileNotFoundError:
        return ()


def add(path: Path, mark: str) -> str:
    """A new key at the end, which decrypts only; its id. With the same `mark` again it is the same key.

    Errors: Misconfigured without a file of keys; Overloaded while another process changes it.
    """

    def edit(lines: list[str]) -> list[str]:
        if any(_mark(line) == mark for line in lines):
            return lines
        new = f"{secrets.token_hex(4)} {secrets.token_hex(_KEY_BYTES)} # {mark}"
        return [*lines, new]

    return next(_id(line) for line in _change(path, edit) if _mark(line) == mark)


def promote(path: Path, key_id: str) -> bool:
    """That key encrypts from now on; False where it did before. Errors: NotFound; those of :func:`add`."""
    changed = False

    def edit(lines: list[str]) -> list[str]:
        nonlocal changed
        keys = [line for line in lines if _id(line)]
        chosen = next((line for line in keys if _id(line) == key_id), None)
        if chosen is None:
            raise errors.NotFound(
                f"no key `{key_id}` in `{path.name}`; add it first", resource="payload key", name=key_id
            )
        changed = keys[0] != chosen
        return [chosen, *(line for line in lines if line != chosen)] if changed else lines

    _change(path, edit)
    return changed


def drop(path: Path, key_ids: Collection[str]) -> None:
    """Those keys are gone. Errors: InvalidRequest for the one that encrypts; those of :func:`add`."""

    def edit(lines: list[str]) -> list[str]:
        first = next(_id(line) for line in lines if _id(line))
        if first in key_ids:
            raise errors.InvalidRequest(f"key `{first}` encrypts; rotate first", field="key_id")
        return [line for line in lines if _id(line) not in key_ids]

    _change(path, edit)


def _change(path: Path, edit: Callable[[list[str]], list[str]]) -> list[str]:
    def change(lines: list[str]) -> tuple[list[str], bytes]:
        if not lines:
            raise errors.Misconfigured(f"no keys in `{path.name}`; the first worker makes the file")
        new = edit(lines)
        return new, "".join(f"{line}\n" for line in new).encode()

    none: list[str] = []
    return watched.Watched(path, _lines, none).change(change)


def _lines(content: bytes) -> list[str]:
    lines = content.decode(errors="replace").splitlines()
    for number, line in enumerate(lines, 1):
        said = line.partition("#")[0].strip()
        if said and not _LINE.fullmatch(said):
            # The line itself is a secret.
            raise errors.InvalidSettings(
                f"file of payload keys: line {number} is no key; write `<id> <64 hex digits>`",
                problems=("workflow.payload_keys",),
            )
    return lines


def _id(line: str) -> str:
    return line.partition("#")[0].strip().partition(" ")[0]


def _mark(line: str) -> str:
    return line.partition("#")[2].strip()
