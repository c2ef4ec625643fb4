"""Objects of an S3-compatible store: which there are, and bytes of exactly the object that was found.

The one file that speaks to the store's client: `obstore`, which is the library that Polars itself reads objects by, so
that both take the same options and the same variables of the environment.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from mainspring.core import errors

__all__ = ["Object", "at", "below", "create", "lock_of", "put", "read", "whole"]

_SCHEME: Final = "s3://"
#: A store that is away is told within seconds; whoever wants the rows asks again.
_RETRY: Final[Any] = {"max_retries": 3, "retry_timeout": timedelta(seconds=10)}
_CLIENT: Final[Any] = {"connect_timeout": timedelta(seconds=5), "read_timeout": timedelta(seconds=60)}
_SIGNED_FOR: Final = timedelta(minutes=1)
_US: Final = timedelta(microseconds=1)
#: What the store itself calls its refusal.
_CODE: Final = re.compile(r"<Code>(\w+)</Code>")
_ABSENT: Final = frozenset({"NoSuchBucket", "NoSuchKey"})


@dataclass(frozen=True)
class Object:
    """An object as it was found. Another tag (the store's digest of the content), size or time is another object."""

    bucket: str
    key: str
    bytes: int
    modified_us: int
    tag: str

    @property
    def uri(self) -> str:
        return f"{_SCHEME}{self.bucket}/{self.key}"


def below(uri: str, options: Mapping[str, str]) -> list[Object]:
    """The objects of the folder `uri` and its folders, in order of their keys; none is no error.

    Errors: NotFound for a bucket that is not there, PermissionDenied, DependencyDown, InvalidRequest for no `s3://`.
    """
    bucket, prefix = _split(uri)
    with _told(uri):
        chunks = _library().list(_store(bucket, _frozen(options)), prefix)
        found = [_object(bucket, meta) for chunk in chunks for meta in chunk]
    return sorted(found, key=lambda one: one.key)


def at(uri: str, options: Mapping[str, str]) -> Object:
    """The object `uri`. Errors: as :func:`below`; NotFound."""
    bucket, key = _split(uri)
    with _told(uri):
        return _object(bucket, _library().head(_store(bucket, _frozen(options)), key))


def read(found: Object, options: Mapping[str, str], first: int, length: int) -> bytes:
    """`length` bytes of `found` from `first` on.

    Errors: as :func:`at`; Conflict if another object has taken its place, and then not a byte of that is given.
    """
    asked: Any = {"range": (first, first + length)}
    if found.tag:
        asked["if_match"] = found.tag
    with _told(found.uri):
        got = _library().get(_store(found.bucket, _frozen(options)), found.key, options=asked)
        if not found.tag and _object(found.bucket, got.meta) != found:
            raise _replaced(found.uri)
        return bytes(got.bytes())


def whole(uri: str, options: Mapping[str, str]) -> bytes:
    """All bytes of the object `uri`, for small ones. Errors: as :func:`at`."""
    bucket, key = _split(uri)
    with _told(uri):
        return bytes(_library().get(_store(bucket, _frozen(options)), key).bytes())


def create(uri: str, data: bytes, options: Mapping[str, str]) -> None:
    """Put an object where none is: of two who try, one succeeds. Errors: as :func:`at`; Conflict where there is one."""
    bucket, key = _split(uri)
    with _told(uri):
        try:
            _library().put(_store(bucket, _frozen(options)), key, data, mode="create")
        except _library().exceptions.AlreadyExistsError as error:
            raise errors.Conflict(
                f"`{uri}` is there already; it is never written twice", resource="object", name=uri
            ) from error


def put(uri: str, data: bytes, options: Mapping[str, str]) -> None:
    """Put an object, whole, also in the place of one. Errors: as :func:`at`."""
    bucket, key = _split(uri)
    with _told(uri):
        _library().put(_store(bucket, _frozen(options)), key, data)


def lock_of(uri: str, options: Mapping[str, str]) -> str:
    """By which mode of object lock the store holds `uri`, in lower case; empty: by none. Errors: as :func:`at`."""
    import httpx

    bucket, key = _split(uri)
    with _told(uri):
        # The client keeps the headers of an answer to itself; a signed address shows them.
        url = _library().sign(_store(bucket, _frozen(options)), "HEAD", key, _SIGNED_FOR)
    try:
        answer = httpx.head(url, trust_env=False, timeout=10.0).raise_for_status()
    except httpx.HTTPError as error:
        raise errors.DependencyDown(
            f"the object store does not say how `{uri}` is held: {type(error).__name__}; check its endpoint and try again",
            name=uri,
        ) from error
    mode: str = answer.headers.get("x-amz-object-lock-mode", "")
    return mode.lower()


@functools.lru_cache(maxsize=32)
def _store(bucket: str, options: tuple[tuple[str, str], ...]) -> Any:
    """One client for all who ask with these options: it keeps its connections."""
    return _library().store.S3Store(bucket, config=dict(options), retry_config=_RETRY, client_options=_CLIENT)


def _library() -> Any:
    """Imported late: files on a disk need no client. Errors: MissingTool."""
    try:
        import obstore
        import obstore.exceptions
        import obstore.store
    except ModuleNotFoundError as error:
        raise errors.MissingTool(
            "package `obstore` is not installed; run `pip install 'mainspring[training]'`",
            tool="obstore",
            fix="pip install 'mainspring[training]'",
        ) from error
    return obstore


def _frozen(options: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(options.items()))


def _split(uri: str) -> tuple[str, str]:
    bucket, slash, key = uri.removeprefix(_SCHEME).partition("/")
    if not uri.startswith(_SCHEME) or not bucket or not slash:
        raise errors.InvalidRequest(
            f"`{uri}` is no object, expected s3://BUCKET/KEY, or s3://BUCKET/FOLDER/; correct the path",
            field="source",
        )
    return bucket, key


def _object(bucket: str, meta: Any) -> Object:
    modified = meta["last_modified"].timestamp()
    return Object(bucket, meta["path"], meta["size"], round(modified * 1e6), meta["e_tag"] or "")


@contextlib.contextmanager
def _told(uri: str) -> Iterator[None]:
    """What the client raises inside becomes a typed error that names `uri`."""
    refusals = _library().exceptions
    try:
        yield
    except FileNotFoundError as error:
        raise _absent(uri) from error
    except refusals.PreconditionError as error:
        raise _replaced(uri) from error
    except (refusals.PermissionDeniedError, refusals.UnauthenticatedError) as error:
        raise _denied(uri, error) from error
    except refusals.UnknownConfigurationKeyError as error:
        raise errors.InvalidRequest(
            f"options of `{uri}` are refused: {_line(error)}; give those of an S3 client",
            field="storage_options",
        ) from error
    except (refusals.BaseError, OSError) as error:
        # A refused listing has no class of its own.
        text = str(error)
        code = _CODE.search(text)
        if code and code[1] in _ABSENT:
            raise _absent(uri) from error
        if " 403 " in text or " 401 " in text:
            raise _denied(uri, error) from error
        raise errors.DependencyDown(
            f"the object store of `{uri}` does not answer: {_line(error)}; check its endpoint and try again",
            name=uri,
        ) from error


def _absent(uri: str) -> errors.NotFound:
    return errors.NotFound(
        f"no Parquet at `{uri}`; make the rows, or correct the source's path", resource="parquet", name=uri
    )


def _replaced(uri: str) -> errors.Conflict:
    return errors.Conflict(f"`{uri}` was replaced while it was read; ask again", resource="parquet", name=uri)


def _denied(uri: str, error: Exception) -> errors.PermissionDenied:
    code = _CODE.search(str(error))
    return errors.PermissionDenied(
        f"the object store refuses `{uri}`: {code[1] if code else _line(error)}; check the access key, its secret and"
        " what it may read",
        actor="",
        action=f"read {uri}",
    )


def _line(error: Exception) -> str:
    """What happened, without the client's own debugging."""
    return str(error).split("\n", 1)[0][:300].rstrip()
