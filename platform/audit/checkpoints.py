"""Signed checkpoints of the audit log, kept outside of its database.

The embedded signer and file live in the state directory: they show what was done to the database, not what was done
by somebody who has the key and the file as well. A signer or a file elsewhere takes the place of :class:`FileSigner`
or :class:`CheckpointFile`. What is lost between two checkpoints is not shown: the interval is the window.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import sqlalchemy as sa
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from mainspring.core import canonical, durable, errors
from mainspring.core.contracts import base
from mainspring.platform import database
from mainspring.platform.audit import rows, store, verification

_LOG: Final = logging.getLogger(__name__)
INTERVAL_SECONDS: Final = 5.0
_PAGE_ROWS: Final = 1000


class Signer(Protocol):
    """Signs by Ed25519; whose key it is, `public` tells."""

    @property
    def public(self) -> ed25519.Ed25519PublicKey: ...

    def sign(self, data: bytes) -> bytes: ...


class FileSigner:
    """A private key in a PEM file of mode 0600, made on first use. Thread-safe."""

    def __init__(self, path: Path) -> None:
        """Errors: Misconfigured if the file is readable by others or holds no Ed25519 key."""
        durable.ensure_secret(path, _new_key)
        if path.stat().st_mode & 0o077:
            raise errors.Misconfigured(
                f"audit key `{path.name}` may be read by others; run `chmod 600` on it"
            )
        try:
            private = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except ValueError as error:
            raise errors.Misconfigured(
                f"audit key `{path.name}` is no PEM private key; replace it"
            ) from error
        if not isinstance(private, ed25519.Ed25519PrivateKey):
            raise errors.Misconfigured(f"audit key `{path.name}` is not Ed25519; replace it")
        self._private = private
        self.public = private.public_key()

    def sign(self, data: bytes) -> bytes:
        return self._private.sign(data)


def _new_key() -> bytes:
    return ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


class CheckpointFile:
    """Lines in a file that only grows. A last line without its end, torn by a crash, does not count."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def size(self) -> int:
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0

    def lines(self) -> list[bytes]:
        try:
            lines = self._path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        return [line + b"\n" for line in lines[:-1]]

    def append(self, line: bytes, *, size: int) -> bool:
        """Durable when it returns; False, and nothing is written, if the file has not `size` bytes any more."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file.fileno()).st_size != size:
                return False
            file.truncate(sum(map(len, self.lines())) if size else 0)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        return True


@dataclass(frozen=True)
class _Last:
    """The last checkpoint, all before it verified, and the size of the file then."""

    size: int
    sequence: int
    head: str
    digest: str


class Checkpointer:
    """Signs the head of one log. Tasks of one event loop, and other processes, may share the file."""

    def __init__(self, db: database.Database, signer: Signer, file: CheckpointFile) -> None:
        self._database, self._signer, self._file = db, signer, file
        self._lock = asyncio.Lock()
        self._last: _Last | None = None

    @property
    def public(self) -> ed25519.Ed25519PublicKey:
        return self._signer.public

    @property
    def signer(self) -> Signer:
        """For what is proved by the log: evidence packs. Each kind of thing is signed behind words of its own."""
        return self._signer

    def lines(self) -> list[bytes]:
        """The checkpoints as they are kept."""
        return self._file.lines()

    async def heads(self) -> dict[int, str]:
        """Length of the log -> the hash it had then. Errors: CorruptArtifact."""
        try:
            return await asyncio.to_thread(
                verification.read_checkpoints, self._file.lines(), self._signer.public
            )
        except verification.BadCheckpoints as bad:
            raise _corrupt(str(bad)) from bad

    async def take(self) -> int:
        """Sign the present head and return its sequence; the last checkpoint's if nothing was added.

        Errors: CorruptArtifact if the log is not the one that was signed last: what contradicts a checkpoint is
        never signed over.
        """
        async with self._lock:
            last = await self._known()
            head, sequence = await self._follow(last.head, last.sequence)
            if sequence == last.sequence:
                return sequence
            body: dict[str, Any] = {
                "schema": verification.SCHEMA,
                "sequence": sequence,
                "head": head,
                "at": base.utc_now().isoformat(),
                "previous": last.digest,
                "key_id": verification.key_id(self._signer.public),
            }
            signature = self._signer.sign(verification.signed_bytes(body))
            line = canonical.dumps({**body, "signature": signature.hex()})
            if not self._file.append(line + b"\n", size=last.size):
                return (await self._known()).sequence  # another process was quicker
            self._last = _Last(self._file.size(), sequence, head, canonical.digest_bytes(line))
            return sequence

    async def _known(self) -> _Last:
        """The last checkpoint. The whole file is verified again only when somebody else wrote to it."""
        size = self._file.size()
        if self._last is None or self._last.size != size:
            lines, heads = self._file.lines(), await self.heads()
            sequence = max(heads, default=0)
            digest = canonical.digest_bytes(lines[-1].rstrip(b"\n")) if lines else rows.GENESIS
            self._last = _Last(size, sequence, heads.get(sequence, rows.GENESIS), digest)
        return self._last

    async def _follow(self, head: str, sequence: int) -> tuple[str, int]:
        """The head of the rows after a checkpoint, each of them recomputed."""
        async with self._database.read() as connection:
            if sequence:
                query = sa.select(database.audit.c.hash).where(database.audit.c.sequence == sequence)
                if await connection.scalar(query) != head:
                    raise _corrupt(f"row {sequence} is not the one that was signed")
            while found := await store.page(connection, after=sequence, limit=_PAGE_ROWS):
                for row in found:
                    if problem := store.problem(row, sequence + 1, head):
                        raise _corrupt(problem)
                    head, sequence = row.hash, row.sequence
        return head, sequence

    async def run(self) -> None:
        """A checkpoint every few seconds, until cancelled."""
        while True:
            try:
                await self.take()
            # The edge of a task that nobody awaits: whatever went wrong is told, and tried again.
            except Exception:  # noqa: BLE001
                _LOG.exception("no audit checkpoint was taken; see `mainspring audit verify`")
            await asyncio.sleep(INTERVAL_SECONDS)


def _corrupt(problem: str) -> errors.CorruptArtifact:
    return errors.CorruptArtifact(
        f"the audit log is not intact: {problem}; keep a copy of the database and of its checkpoints",
        artifact="audit",
    )


def embedded(db: database.Database, state_dir: Path) -> Checkpointer:
    """Key and checkpoints under the state directory, with the public half beside them for whoever verifies."""
    signer = FileSigner(state_dir / "keys" / "audit.key")
    folder = state_dir / "audit"
    folder.mkdir(parents=True, exist_ok=True)
    pem = signer.public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    new = folder / f".{secrets.token_hex(8)}"
    new.write_bytes(pem)
    new.replace(folder / "public.pem")
    return Checkpointer(db, signer, CheckpointFile(folder / "checkpoints.jsonl"))
