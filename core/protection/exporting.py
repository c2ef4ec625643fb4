"""Is a place inside: pure, by its name alone. Whoever writes there is held to the same name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath
from urllib.parse import unquote

__all__ = ["is_inside"]


def is_inside(place: str, places: Iterable[str]) -> bool:
    """Is a folder or `s3://bucket/key` one of `places`, or below one. With another store's address (`?...`) it is another place.

    >>> is_inside("s3://lake/scores/may", ["s3://lake/scores"]), is_inside("s3://lake/scores-2", ["s3://lake/scores"])
    (True, False)
    """
    store, path = _parts(place)
    if ".." in path:
        return False
    return any(store == its and path[: len(below)] == below for its, below in map(_parts, places))


def _parts(place: str) -> tuple[str, tuple[str, ...]]:
    """What holds it, and its path: the libraries that open an address decode it, so it is told by what they see."""
    if not place.startswith("s3://"):
        return "", PurePosixPath(place).parts
    name, _, store = place.removeprefix("s3://").partition("?")
    return f"s3?{store}", PurePosixPath(unquote(name)).parts
