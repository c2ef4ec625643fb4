"""Large payloads, kept beside Temporal: its history has a reference to each, by the digest of what it is.

Temporal refuses payloads of more than 2 MB, and writes a history anew for whoever reads it. So what is larger than
`CLAIM_BYTES` is in a store that clients, control API and workers share, as it would have been in the history: encrypted.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload

from mainspring.core import durable, errors

__all__ = ["CLAIM_BYTES", "ClaimStore", "is_reference"]

#: What a payload may have and stay in the history, all of it together: metadata, nonce and ciphertext.
CLAIM_BYTES: Final = 512 << 10

_ENCODING: Final = b"binary/claim"
_VERSION: Final = 1
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_S3: Final = "s3://"
#: An endpoint without TLS is the operator's choice (`AWS_ENDPOINT_URL`): requests are signed, and claims are ciphertext. The client
#: looks for it here only.
_OPTIONS: Final = {"aws_allow_http": "true"}
#: A claim that is read counts as used then, told this often: not a write for every read.
_USE_SECONDS: Final = 24 * 3600.0


class ClaimStore:
    """The folder or `s3://bucket/prefix/` of one namespace's claims. Thread-safe; any number of processes.

    A claim is there, whole and on disk, before its reference is given, and is never changed: its name is its digest. The
    same bytes have the same reference; encrypted payloads never are the same bytes, so each of those has its own claim.
    """

    def __init__(self, place: str) -> None:
        self.place = place

    @property
    def folder(self) -> Path | None:
        """None of an object store."""
        return None if self.place.startswith(_S3) else Path(self.place)

    async def keep(self, payload: Payload) -> Payload:
        """Its reference, if it is larger than `CLAIM_BYTES`; else it as it is. Errors: DependencyDown, PermissionDenied."""
        if payload.ByteSize() <= CLAIM_BYTES:
            return payload
        data = payload.SerializeToString(deterministic=True)
        digest = hashlib.sha256(data).hexdigest()
        await asyncio.to_thread(self._put, digest, data)
        told = {"bytes": len(data), "sha256": digest, "version": _VERSION}
        return Payload(metadata={"encoding": _ENCODING}, data=json.dumps(told, sort_keys=True).encode())

    async def fetch(self, payload: Payload) -> Payload:
        """What the reference `payload` is of; what is none comes back as it is.

        Errors: NotFound for a claim that is gone; CorruptArtifact for one that is something else; DependencyDown.
        """
        if not is_reference(payload):
            return payload
        digest, size = _said(payload)
        data = await asyncio.to_thread(self._get, digest, size)
        found = hashlib.sha256(data).hexdigest()
        if found != digest:
            raise self._changed(digest, found)
        try:
            return Payload.FromString(data)
        except DecodeError as error:
            raise self._changed(digest, "no payload") from error

    def sweep(self, before: float) -> int:
        """Remove claims of a folder that were last used before then (seconds since 1970); how many. Errors: DependencyDown.

        A folder only: an object store has rules of its own for the age of objects.
        """
        folder = self.folder
        if folder is None or not folder.is_dir():
            return 0
        with self._reached("swept"):
            return sum(self._remove(path, before) for path in folder.glob("*/*") if _is_older(path, before))

    def _remove(self, path: Path, before: float) -> bool:
        # Held for each by itself: whoever keeps a claim waits for this.
        with self._held(path.parent.parent, fcntl.LOCK_EX):
            if not _is_older(path, before):
                return False  # kept again, or read, since it was listed
            path.unlink()
        return True

    def _put(self, digest: str, data: bytes) -> None:
        folder = self.folder
        if folder is None:
            from mainspring.core.features import objects

            objects.put(self._uri(digest), data, _OPTIONS)
            return
        with self._reached("written"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Written again where it is there: it counts as used, and what was damaged is whole.
            with self._held(folder, fcntl.LOCK_SH):
                durable.put_file(_path(folder, digest), data, is_secret=True)

    def _get(self, digest: str, size: int) -> bytes:
        folder = self.folder
        try:
            if folder is None:
                from mainspring.core.features import objects

                return objects.whole(self._uri(digest), _OPTIONS)
            with self._reached("read"):
                path = _path(folder, digest)
                found = path.stat()
                if not stat.S_ISREG(found.st_mode) or found.st_size != size:
                    raise self._changed(digest, f"{found.st_size} bytes")
                if found.st_mtime < time.time() - _USE_SECONDS:
                    with contextlib.suppress(PermissionError):
                        os.utime(path)
                return path.read_bytes()
        except (FileNotFoundError, errors.NotFound) as error:
            raise errors.NotFound(
                f"claim `{digest}` of a payload is not in `{self.place}`; name the place that wrote it in"
                " `workflow.claims`, or put the claim back from its backup",
                resource="claim",
                name=digest,
            ) from error

    def _uri(self, digest: str) -> str:
        return f"{self.place.rstrip('/')}/{digest[:2]}/{digest}"

    @contextlib.contextmanager
    def _held(self, folder: Path, how: int) -> Iterator[None]:
        """Many who keep at once, or one who removes: a claim that is kept again is not removed as an old one."""
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, how)
            yield
        finally:
            os.close(lock)

    @contextlib.contextmanager
    def _reached(self, how: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise errors.DependencyDown(
                f"claims of payloads cannot be {how} in `{self.place}`: {error}; free space, mount it, or correct"
                " `workflow.claims`",
                name="claims",
            ) from error

    def _changed(self, digest: str, got: str) -> errors.CorruptArtifact:
        return errors.CorruptArtifact(
            f"claim `{digest}` of a payload was changed in `{self.place}` ({got}); put it back from its backup",
            artifact=digest,
            expected=digest,
            got=got,
        )


def is_reference(payload: Payload) -> bool:
    return payload.metadata.get("encoding") == _ENCODING


def _said(reference: Payload) -> tuple[str, int]:
    """Digest and bytes. Errors: CorruptArtifact: what names no digest is never a part of a path."""
    try:
        told = json.loads(reference.data)
        digest, size, version = told["sha256"], told["bytes"], told["version"]
    except (ValueError, KeyError, TypeError):
        digest, size, version = None, None, None
    if (
        version != _VERSION
        or not isinstance(size, int)
        or not isinstance(digest, str)
        or not _DIGEST.fullmatch(digest)
    ):
        raise errors.CorruptArtifact(
            f"a payload is no reference to a claim of version {_VERSION}; read it with the version of ours that wrote it",
            artifact="payload",
            expected=f"a reference of version {_VERSION}",
            got=repr(version),
        )
    return digest, size


def _is_older(path: Path, before: float) -> bool:
    """False for what another sweep has removed."""
    try:
        return path.stat().st_mtime < before
    except FileNotFoundError:
        return False


def _path(folder: Path, digest: str) -> Path:
    return folder / digest[:2] / digest
