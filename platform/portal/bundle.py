"""The built pages: files of `dist/` beside this file, made by `tools/portal.sh` and shipped in the wheel."""

from __future__ import annotations

import gzip
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final, Self

__all__ = ["NONCE", "Bundle", "File"]

#: Stands in `index.html` where each answer has a nonce of its own.
NONCE: Final = "__CSP_NONCE__"
#: Of `dist/`, what is asked by name: its files carry a hash of their content in theirs.
_FOLDERS: Final = ("", "assets")
_TYPES: Final[Mapping[str, str]] = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class File:
    """One file as it is answered."""

    content: bytes
    media_type: str

    @cached_property
    def packed(self) -> bytes:
        """gzip, made once: it is a third of the bytes."""
        return gzip.compress(self.content, compresslevel=9, mtime=0)


@dataclass(frozen=True)
class Bundle:
    """Every file by its path below `dist/`, such as `assets/index-B4x.js`. Some 2 MB, read once."""

    files: Mapping[str, File]

    @classmethod
    def load(cls, root: Traversable | None = None) -> Self:
        """What was built; nothing where nothing was."""
        dist = root or resources.files("mainspring.platform.portal").joinpath("dist")
        found: dict[str, File] = {}
        for folder in _FOLDERS:
            place = dist.joinpath(folder) if folder else dist
            for entry in place.iterdir() if place.is_dir() else ():
                if entry.is_file():
                    name = f"{folder}/{entry.name}" if folder else entry.name
                    found[name] = File(entry.read_bytes(), _media_type(name))
        return cls(found)

    @property
    def is_built(self) -> bool:
        return "index.html" in self.files


def _media_type(name: str) -> str:
    ending = name[name.rfind(".") :]
    return _TYPES.get(ending) or mimetypes.guess_type(name)[0] or "application/octet-stream"
