"""Signed checkpoints of the audit log, kept outside of its database.

A key file and a file of checkpoints in the state directory show what was done to the database, not what was done by
somebody who has the state directory as well. OpenBao's key (`signers.py`) and a bucket under object lock
(`checkpoint_files.py`) are out of reach for that. What is undone between two checkpoints is not shown: the interval is
the window.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import canonical, errors, settings
from mainspring.core.contracts import base
from mainspring.platform import database, loops
from mainspring.platform.audit import checkpoint_files, growing, rows, signers, store, verification

_LOG: Final = logging.getLogger(__name__)
_PAGE_ROWS: Final = 1000


@dataclass(frozen=True)
class _Last:
    """The last checkpoint, all before it verified, the size of the file then, and the tree over the rows that it signs."""

    size: int
    sequence: int
    head: str
    line: bytes
    tree: growing.Part

    @property
    def digest(self) -> str:
        """What the checkpoint after it names."""
        return _digest([self.line] if self.line else [])


class Checkpointer:
    """Signs the head of one log. Tasks of one event loop, and other processes, may share the file."""

    def __init__(
        self,
        db: database.Database,
        signer: signers.Signer,
        file: checkpoint_files.CheckpointFile,
        s: settings.AuditSettings | None = None,
    ) -> None:
        self._database, self._signer, self._file = db, signer, file
        self._settings = s or settings.AuditSettings()
        self._lock = asyncio.Lock()
        self._last: _Last | None = None
        self._good_at = time.monotonic()
        self._trouble = ""

    @property
    def signer(self) -> signers.Signer:
        """For what is proved by the log: evidence packs. Each kind of thing is signed behind words of its own."""
        return self._signer

    def late_seconds(self) -> float:
        """For how long rows have waited for a checkpoint that could not be taken; 0: they need not."""
        return time.monotonic() - self._good_at if self._trouble else 0.0

    def require_timely(self) -> None:
        """Errors: DependencyDown once checkpoints are later than `audit.late_seconds`."""
        late = self.late_seconds()
        if late > self._settings.late_seconds:
            raise errors.DependencyDown(
                f"no audit checkpoint was taken for {late:.0f} s: {self._trouble}; what was put on record since is kept, and"
                " is signed once that is mended",
                name="audit checkpoints",
            )

    def lines(self) -> list[bytes]:
        """The checkpoints as they are kept."""
        return self._file.lines()

    async def heads(self) -> Mapping[int, str]:
        """Length of the log -> the hash it had then. Errors: CorruptArtifact."""
        return (await self.signed()).heads

    async def signed(self) -> verification.Signed:
        """All that the checkpoints say. Errors: CorruptArtifact."""
        try:
            return await asyncio.to_thread(self._read, self._file.lines())
        except verification.BadCheckpoints as bad:
            raise _corrupt(str(bad)) from bad

    async def take(self) -> int:
        """Sign the present head and return its sequence; the last checkpoint's if nothing was added.

        Errors: CorruptArtifact if the log is not the one that was signed last: what contradicts a checkpoint is
        never signed over. Those of the signer and of the place where checkpoints are; then nothing was signed, and the next
        one covers those rows as well.
        """
        async with self._lock:
            try:
                taken = await self._take()
            except errors.MainspringError as error:
                self._trouble = error.message
                raise
            self._good_at, self._trouble = time.monotonic(), ""
            return taken

    async def _take(self) -> int:
        last = await self._known()
        tree = last.tree.copy()
        head, sequence = await self._follow(last.head, last.sequence, tree)
        if sequence == last.sequence:
            return sequence
        line = await asyncio.to_thread(self._line, head, sequence, last.digest, tree)
        if not await asyncio.to_thread(self._file.append, line + b"\n", size=last.size):
            await asyncio.to_thread(self._file.sync)
            return (await self._known()).sequence  # another process was quicker
        self._last = _Last(self._file.size(), sequence, head, line, tree)
        return sequence

    async def latest(self) -> tuple[bytes, growing.Part]:
        """The last checkpoint and the tree over the rows that it signs. Errors: CorruptArtifact; Conflict where it signs no tree."""
        async with self._lock:
            last = await self._known()
            if not last.line or "root" not in json.loads(last.line):
                raise errors.Conflict(
                    "the last checkpoint is of before there were trees; ask again when a change is on record",
                    resource="audit",
                    name="checkpoints",
                )
            return last.line.rstrip(b"\n"), last.tree.copy()

    async def go_on(self, by: str, reason: str) -> verification.Restored:
        """Sign a log that was put back from a copy, and say so: on record, and in a checkpoint that everybody who verifies is told of.

        Checkpoints of what is gone stay where they are and count no more. Each row is recomputed first: what was changed is no
        copy. Errors: Conflict where the log is the one that was signed, or another process signs meanwhile; CorruptArtifact;
        those of `take`, and then it is on record and not signed: ask again.
        """
        async with self._lock:
            # Not `_known`: a tree over rows that are gone is not made again.
            await asyncio.to_thread(self._file.sync)
            size, lines, heads = self._file.size(), self._file.lines(), await self.heads()
            last = max(heads, default=0)
            async with self._database.write() as connection:
                kept = await self._kept(connection, heads)
                if kept == last:
                    raise errors.Conflict(
                        f"the log is the one that was signed, up to row {kept}; nothing was put back",
                        resource="audit",
                        name="checkpoints",
                    )
                detail = {"kept": kept, "signed": last, "reason": reason}
                head = await store.append(
                    connection, [store.Fact(by, "audit.restored", "audit", "done", detail)]
                )
                sequence = await store.last_sequence(connection)
                tree = growing.Part()
                await self._grow(connection, tree, sequence)
            said = {"kept": kept, "by": by, "reason": reason}
            line = await asyncio.to_thread(self._line, head, sequence, _digest(lines), tree, restored=said)
            if not await asyncio.to_thread(self._file.append, line + b"\n", size=size):
                raise errors.Conflict(
                    "another process has written a checkpoint meanwhile; ask again",
                    resource="audit",
                    name="checkpoints",
                )
            self._last, self._good_at, self._trouble = None, time.monotonic(), ""
            return (await self.signed()).restored[-1]

    async def _kept(self, connection: AsyncConnection, heads: Mapping[int, str]) -> int:
        """How long the log is the one that was signed: the last checkpoint before the first that it contradicts. Errors: CorruptArtifact."""
        head, count, kept, is_ours = rows.GENESIS, 0, 0, True
        while found := await store.page(connection, after=count, limit=_PAGE_ROWS):
            for row in found:
                if problem := store.problem(row, count + 1, head):
                    raise _corrupt(problem)
                head, count = row.hash, row.sequence
                is_ours = is_ours and heads.get(count, head) == head
                kept = count if is_ours and count in heads else kept
        return kept

    def _line(self, head: str, sequence: int, previous: str, tree: growing.Part, **more: Any) -> bytes:
        self._signer.refresh()
        body: dict[str, Any] = {
            "schema": verification.SCHEMA,
            "sequence": sequence,
            "head": head,
            "root": f"sha256:{tree.root().hex()}",
            "at": base.utc_now().isoformat(),
            "previous": previous,
            "key_id": verification.key_id(self._signer.public),
            **more,
        }
        signature = self._signer.sign(verification.signed_bytes(body))
        return canonical.dumps({**body, "signature": signature.hex()})

    def _read(self, lines: list[bytes]) -> verification.Signed:
        """A key that is not known may be one that was made since. Errors: BadCheckpoints; those of the signer."""
        with contextlib.suppress(verification.BadCheckpoints):
            return verification.read_signed(lines, self._signer.publics)
        self._signer.refresh()
        return verification.read_signed(lines, self._signer.publics)

    async def _known(self) -> _Last:
        """The last checkpoint. The whole file is verified again only when somebody else wrote to it."""
        if self._last is None:
            await asyncio.to_thread(self._file.sync)
        size = self._file.size()
        if self._last is None or self._last.size != size:
            lines, signed = self._file.lines(), await self.signed()
            sequence = max(signed.heads, default=0)
            head = signed.heads.get(sequence, rows.GENESIS)
            tree = await self._tree(sequence, head, signed.roots.get(sequence))
            self._last = _Last(size, sequence, head, lines[-1] if lines else b"", tree)
        return self._last

    async def _tree(self, sequence: int, head: str, root: str | None) -> growing.Part:
        """Over the rows of the last checkpoint, proved by its root; where that is not signed yet, by each row.

        What this process has of it is gone on with. Errors: CorruptArtifact.
        """
        async with self._database.read() as connection:
            await self._require(connection, sequence, head)
            if root is None:
                tree = growing.Part()
                await self._grow_proved(connection, tree, rows.GENESIS, 0, sequence)
                return tree
            known = self._last.tree.copy() if self._last is not None else growing.Part()
            for tree in (
                known,
                growing.Part(),
            ):  # after a log was put back, what was known is of rows that are gone
                await self._grow(connection, tree, sequence)
                if tree.end == sequence and root == f"sha256:{tree.root().hex()}":
                    return tree
        raise _corrupt(f"the tree over rows 1 to {sequence} is not the one that was signed")

    async def _require(self, connection: AsyncConnection, sequence: int, head: str) -> None:
        query = sa.select(database.audit.c.hash).where(database.audit.c.sequence == sequence)
        if sequence and await connection.scalar(query) != head:
            raise _corrupt(f"row {sequence} is not the one that was signed")

    async def _grow(self, connection: AsyncConnection, tree: growing.Part, until: int) -> None:
        """By the rows' hashes as they stand there."""
        while tree.end < until:
            last = min(until, tree.end + _PAGE_ROWS)
            if not (found := await store.leaves(connection, after=tree.end, until=last)):
                return
            tree.extend(found)

    async def _follow(self, head: str, sequence: int, tree: growing.Part) -> tuple[str, int]:
        """The head of the rows after a checkpoint, each of them recomputed; `tree` has them as well then."""
        async with self._database.read() as connection:
            await self._require(connection, sequence, head)
            return await self._grow_proved(connection, tree, head, sequence)

    async def _grow_proved(
        self,
        connection: AsyncConnection,
        tree: growing.Part,
        head: str,
        sequence: int,
        until: int | None = None,
    ) -> tuple[str, int]:
        """The rows after `sequence`, each recomputed, and where they end. Errors: CorruptArtifact."""
        while found := await store.page(connection, after=sequence, limit=_PAGE_ROWS):
            shown = [row for row in found if until is None or row.sequence <= until]
            for row in shown:
                if problem := store.problem(row, sequence + 1, head):
                    raise _corrupt(problem)
                head, sequence = row.hash, row.sequence
            tree.extend([store.leaf(row.hash) for row in shown])
            if until is not None and sequence >= until:
                break
        return head, sequence

    async def run(self) -> None:
        """A checkpoint every few seconds, until cancelled."""
        await loops.again_forever(
            self.take,
            every_seconds=self._settings.interval_seconds,
            failed="no audit checkpoint was taken; see `mainspring audit verify`",
            log=_LOG,
        )


def _digest(lines: Sequence[bytes]) -> str:
    """What the checkpoint after these names as the one before."""
    return canonical.digest_bytes(lines[-1].rstrip(b"\n")) if lines else rows.GENESIS


def _corrupt(problem: str) -> errors.CorruptArtifact:
    return errors.CorruptArtifact(
        f"the audit log is not intact: {problem}; keep a copy of the database and of its checkpoints",
        artifact="audit",
    )


def embedded(db: database.Database, state_dir: Path, s: settings.AuditSettings | None = None) -> Checkpointer:
    """Whom and where the settings say; by default key and checkpoints under the state directory.

    The public halves of the file's key, of those before it too, lie beside the checkpoints for whoever verifies. Those of
    OpenBao's: `mainspring audit public-key`.
    """
    chosen = s or settings.AuditSettings()
    folder = state_dir / "audit"
    folder.mkdir(parents=True, exist_ok=True)
    known = folder / "public.pem"
    is_ours = chosen.signer == "file"
    replaced = verification.load_publics(known) if is_ours and known.exists() else ()
    signer = signers.chosen(chosen, state_dir / "keys" / "audit.key", replaced)
    if is_ours:
        new = folder / f".{secrets.token_hex(8)}"
        new.write_bytes(verification.public_pems(signer.publics))
        new.replace(known)
    return Checkpointer(db, signer, kept(folder / "checkpoints.jsonl", chosen), chosen)


def kept(path: Path, s: settings.AuditSettings) -> checkpoint_files.CheckpointFile:
    """Where checkpoints are, by settings; `path` is the file, or the copy of the bucket."""
    if not s.checkpoints_url:
        return checkpoint_files.CheckpointFile(path)
    return checkpoint_files.CheckpointBucket(path, s.checkpoints_url, s.object_lock)
