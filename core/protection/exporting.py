"""Is a place the platform's own: told by its name, after the links of this machine were followed. Whoever writes there is held to the same name.

A project's own places are its folder of the state directory and those of `control.export_places`, in which `{project}` is its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import parse_qsl, unquote

from mainspring.core import errors

__all__ = ["check", "followed", "is_inside", "own", "shown"]

_S3: Final = "s3://"
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
#: How a store is reached. Whatever else stands there may be a key, and a place is on record as it was named.
_WAYS: Final = frozenset(
    {
        "allow_bucket_creation",
        "allow_delayed_open",
        "endpoint_override",
        "region",
        "scheme",
        "tls_ca_dir_path",
        "tls_ca_file_path",
        "tls_verify_certificates",
    }
)


def check(place: str, *, field: str = "output") -> str:
    """It, if it is a place that is one wherever it is read, and holds no secret: an absolute path, or `s3://bucket/key`.

    Errors: InvalidRequest, which does not repeat what may be a secret.
    """
    if not place.startswith(_S3):
        if not place.startswith("/") or ".." in PurePosixPath(place).parts or "\0" in place:
            raise errors.InvalidRequest(
                f"`{shown(place)}` is no place; give an absolute path without `..`, or `s3://bucket/key`",
                field=field,
            )
        return place
    name, _, way = place.removeprefix(_S3).partition("?")
    bucket, _, key = name.partition("/")
    if not _BUCKET.fullmatch(bucket) or ".." in PurePosixPath(unquote(key)).parts:
        raise errors.InvalidRequest(
            f"`{shown(place)}` names no bucket and key; write `s3://bucket/key`, and leave keys to the environment (`AWS_*`)",
            field=field,
        )
    said = parse_qsl(way, keep_blank_values=True)
    if strange := sorted(k for k, v in said if k not in _WAYS or "@" in v):
        raise errors.InvalidRequest(
            f"`{shown(place)}` says `{strange[0][:40]}`, which is not how a store is reached; leave secrets to the environment"
            f" (`AWS_*`), and say any of {sorted(_WAYS)}",
            field=field,
        )
    return place


def shown(place: str) -> str:
    """A place as a message or a record may have it: without who reaches it, and by which keys.

    >>> shown("s3://key:secret@lake/scores?secret_key=x")
    's3://lake/scores'
    """
    scheme, has_scheme, rest = place.partition("://")
    if not has_scheme:
        return place
    name = re.split(r"[?#]", rest, maxsplit=1)[0]
    host, slash, key = name.partition("/")
    return f"{scheme}://{re.split('@|%40', host)[-1]}{slash}{key}"


def own(places: str, state_dir: Path | None, project: str) -> tuple[str, ...]:
    """A project's own places: `places` as the setting has them; None: its folder is on another machine.

    >>> own("s3://lake/{project}/out", None, "flights")
    ('s3://lake/flights/out',)
    """
    said = tuple(one.replace("{project}", project) for one in places.split(",") if one)
    return said if state_dir is None else (str(state_dir.absolute() / "projects" / project), *said)


def followed(place: str) -> str:
    """A folder by the name that it has once every link on the way there is followed; what is in a store has one name."""
    return place if place.startswith(_S3) else str(Path(place).resolve())


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
    if not place.startswith(_S3):
        return "", PurePosixPath(place).parts
    name, _, store = place.removeprefix(_S3).partition("?")
    return f"s3?{store}", PurePosixPath(unquote(name)).parts
