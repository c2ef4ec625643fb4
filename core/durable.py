"""Files that are there whole, or not at all, and stay so when the machine stops."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Callable
from pathlib import Path

__all__ = ["ensure_secret", "hold_folder", "place_file", "put_file", "replace_file", "sync_folder"]


def ensure_secret(path: Path, make: Callable[[], bytes]) -> None:
    """What `make` gives in `path`, mode 0600 and on disk, where there is no file; of writers that race one makes it.

    Errors: OSError.
    """
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(make())
            file.flush()
            os.fsync(file.fileno())
        # link, not rename: it refuses to replace what another writer has just made.
        os.link(fresh, path)
    except FileExistsError:
        pass
    finally:
        fresh.unlink()
    sync_folder(path.parent)


def hold_folder(path: Path) -> int:
    """Make the folder and hold its file `lock` for this process: the descriptor, whose closing lets go of it.

    Errors: BlockingIOError if another process holds it; OSError.
    """
    path.mkdir(parents=True, exist_ok=True)
    lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(lock)
        raise
    return lock


def place_file(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a file beside `path`, and put it there once it is on disk; nothing is left of it when that fails.

    One writer at a time, as for :func:`replace_file`. Errors: OSError, what `write` raises.
    """
    fresh = path.with_name(path.name + ".new")
    try:
        write(fresh)
        with fresh.open("rb") as file:
            os.fsync(file.fileno())
        fresh.rename(path)
    finally:
        fresh.unlink(missing_ok=True)
    sync_folder(path.parent)


def put_file(path: Path, data: bytes, *, is_secret: bool = False) -> None:
    """Durable, and whole or not at all; folders are made. Several may write it at once; the last one counts.

    What `is_secret` is never readable by others, nor is its folder, if it is made here. Errors: OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700 if is_secret else 0o777)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        with open(
            os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if is_secret else 0o666), "wb"
        ) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    sync_folder(path.parent)


def replace_file(path: Path, content: str | bytes, *, is_secret: bool = False) -> None:
    """Put `content` in the place of `path`; readers see the old file or the new one, and on return the new one is on disk.

    One writer at a time: what it writes first lies beside, as `<name>.new`. What `is_secret` is never readable by others.
    Errors: OSError, and then the old file stands.
    """
    fresh = path.with_name(path.name + ".new")
    if is_secret:
        fresh.unlink(missing_ok=True)  # a crash may have left one, with the rights of others
    with open(
        os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600 if is_secret else 0o666), "wb"
    ) as file:
        file.write(content.encode() if isinstance(content, str) else content)
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
