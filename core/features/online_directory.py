"""The directory of an online store: who has it, and which views it holds."""

from __future__ import annotations

import hashlib
import json
import os
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from mainspring.core import durable, errors, ports

__all__ = ["OnlineDirectory"]

_LAYOUT: Final = 2
_READABLE: Final = 80


class OnlineDirectory:
    """Not thread-safe by itself: the store's lock guards it.

    Errors: Conflict if another process has it; CorruptArtifact for what is no store of ours; DependencyDown if the disk
    refuses.
    """

    def __init__(self, path: Path, *, reads_only: bool = False) -> None:
        """`reads_only`: another process has it, or will; nothing is held, made or written."""
        self._path = path
        self._lock = -1
        if reads_only:
            return
        if path.exists() and not path.is_dir():
            raise self._corrupt(path, "a file")
        try:
            self._lock = durable.hold_folder(path)
        except BlockingIOError as error:
            raise errors.Conflict(
                f"online store `{path}` is open already; push to the process that has it, or stop that one",
                resource="online store",
                name=str(path),
            ) from error
        except OSError as error:
            raise self._down(error) from error

    def views(self) -> Iterator[tuple[ports.ViewSchema, Path]]:
        """Each view and the folder of its rows, which may not be there yet."""
        for folder in sorted(self._path.iterdir()) if self._path.is_dir() else ():
            if folder.name == "lock":
                continue
            definition = folder / "view.json"
            try:
                view = _from_json(json.loads(definition.read_text()))
            except (OSError, ValueError, KeyError, TypeError) as error:
                # Made, and then the process died before the definition was whole: nobody was told that it is there.
                if folder.is_dir() and not definition.exists() and not (folder / "rows").exists():
                    continue
                raise self._corrupt(definition, str(error)) from error
            if folder.name != _folder(view.name):
                raise self._corrupt(definition, f"the definition of view `{view.name}`")
            yield view, folder / "rows"

    def add(self, view: ports.ViewSchema) -> Path:
        """Keep a view's definition, whole or not at all; the folder for its rows."""
        folder = self._path / _folder(view.name)
        try:
            folder.mkdir(exist_ok=True)
            durable.replace_file(folder / "view.json", json.dumps(_to_json(view), indent=1))
            durable.sync_folder(self._path)
        except OSError as error:
            raise self._down(error) from error
        return folder / "rows"

    def close(self) -> None:
        """Let go of the directory; twice is once."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _down(self, error: OSError) -> errors.DependencyDown:
        return errors.DependencyDown(
            f"online store `{self._path}` cannot be written: {error}; check the disk", name="online store"
        )

    def _corrupt(self, path: Path, got: str) -> errors.CorruptArtifact:
        return errors.CorruptArtifact(
            f"`{path}` is not of an online store that this release reads: {got};"
            " move it away, and the features are pushed again",
            artifact=str(path),
            expected=f"online store layout {_LAYOUT}",
            got=got,
        )


def _folder(name: str) -> str:
    """Readable, and another one for every name."""
    return f"{urllib.parse.quote(name, safe='')[:_READABLE]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _to_json(view: ports.ViewSchema) -> dict[str, Any]:
    return {
        "layout": _LAYOUT,
        "name": view.name,
        "join_keys": list(view.join_keys),
        "fields": [list(field) for field in view.fields],
        "ttl_seconds": view.ttl_seconds,
    }


def _from_json(value: dict[str, Any]) -> ports.ViewSchema:
    if value["layout"] != _LAYOUT:
        raise ValueError(f"layout {value['layout']}")
    return ports.ViewSchema(
        name=value["name"],
        join_keys=tuple(value["join_keys"]),
        fields=tuple((name, kind) for name, kind in value["fields"]),
        ttl_seconds=value["ttl_seconds"],
    )
