"""Files that are there whole, or not at all, and stay so when the machine stops."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["replace_file", "sync_folder"]


def replace_file(path: Path, text: str) -> None:
    """Put `text` in the place of `path`; readers see the old file or the new one, and on return the new one is on disk.

    One writer at a time: what it writes first lies beside, as `<name>.new`. Errors: OSError, and then the old file stands.
    """
    fresh = path.with_name(path.name + ".new")
    with fresh.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Bring a folder's entries to disk: what was made or renamed in it is there after a crash. Errors: OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
