"""Is an exported audit log the one that was signed: stands alone, needs the export, the checkpoints and the public key.

Each row's hash covers the row and the hash of the row before, so the hash of the last row names the whole log. A chain
alone does not show a tail that was cut off, nor a log whose hashes were all made anew; the signed checkpoints, kept
outside of the database, do: each names the hash that the log had at a length. What was never signed is not proved,
and is refused unless the caller allows it.

A checkpoint names the root of the tree over all rows' hashes as well (`growing.py`), by which one row is proved without the others. That it is
the root of these rows is looked at only when asked for: the head alone proves the log, and two hashes a row more are nearly twice the time (0.83 and 1.56 microseconds a row, 300,000 rows, 2026-11).
"""

from __future__ import annotations

import bisect
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from mainspring.core import canonical, errors
from mainspring.platform.audit import exported, growing, rows

SCHEMA: Final = "mainspring.audit-checkpoint/v2"
#: Without the tree's root. They count, before the first one that has it.
SCHEMA_WITHOUT_ROOT: Final = "mainspring.audit-checkpoint/v1"
DOMAIN: Final = b"mainspring.audit-checkpoint.v1\x00"

#: Of one key, or of all that signed, oldest first.
Keys: TypeAlias = ed25519.Ed25519PublicKey | Sequence[ed25519.Ed25519PublicKey]

_PEM_END: Final = b"-----END PUBLIC KEY-----\n"
#: Lines that are looked at together: some 100 kB, which stay in the cache. With 64 it is 3 % slower, more is no faster.
_BATCH: Final = 256


@dataclass(frozen=True)
class Restored:
    """`by` put the database back and said why: of `signed` rows the first `kept` are those that were signed, and there were `rows` then.

    What was signed after `kept` is gone, and what stands there instead counts from this on.
    """

    kept: int
    signed: int
    rows: int
    by: str
    reason: str
    at: str


@dataclass(frozen=True)
class Signed:
    """What those checkpoints say that count."""

    heads: Mapping[int, str]
    """Length of the log -> the hash it had then."""
    roots: Mapping[int, str]
    """Length of the log -> the root of its tree; of older checkpoints there is none."""
    restored: tuple[Restored, ...] = ()


@dataclass(frozen=True)
class Finding:
    """`problem` is empty when the log is what was signed; `rows` are those that were good up to there."""

    rows: int
    head: str
    checkpoints: int
    unsigned_rows: int = 0
    problem: str = ""
    first_bad_sequence: int | None = None
    restored: tuple[Restored, ...] = ()
    """How often the database was put back from a copy: what was signed of it and is gone."""
    roots: int = 0
    """Of so many checkpoints the tree's root was made again, where that was asked for."""

    @property
    def ok(self) -> bool:
        return not self.problem


class BadCheckpoints(ValueError):
    """A checkpoint is malformed, out of order, or not signed by the key."""


def signed_bytes(body: Mapping[str, Any]) -> bytes:
    """What the signature of a checkpoint covers."""
    return DOMAIN + canonical.dumps(body)


def key_id(key: ed25519.Ed25519PublicKey) -> str:
    return canonical.digest_bytes(key.public_bytes_raw())


def public_pem(key: ed25519.Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def public_pems(keys: Sequence[ed25519.Ed25519PublicKey]) -> bytes:
    """One file of keys that are given oldest first; there the newest is first, for readers that look at one."""
    return b"".join(map(public_pem, reversed(keys)))


def load_publics(path: Path) -> tuple[ed25519.Ed25519PublicKey, ...]:
    """The keys of a file of :func:`public_pems`, oldest first. Errors: those of :func:`load_public`."""
    try:
        blocks = path.read_bytes().split(_PEM_END)
    except OSError as error:
        raise errors.InvalidRequest(
            f"`{path}` cannot be read: {error.strerror}; give the key file", field="public_key"
        ) from error
    pems = [block + _PEM_END for block in blocks[:-1]] or [b""]
    return tuple(_public(pem, path) for pem in reversed(pems))


def load_public(path: Path) -> ed25519.Ed25519PublicKey:
    """The first key of the file. Errors: InvalidRequest if it holds no Ed25519 public key."""
    try:
        return _public(path.read_bytes(), path)
    except OSError as error:
        raise errors.InvalidRequest(
            f"`{path}` cannot be read: {error.strerror}; give the key file", field="public_key"
        ) from error


def _public(pem: bytes, path: Path) -> ed25519.Ed25519PublicKey:
    try:
        key = serialization.load_pem_public_key(pem)
    except ValueError as error:
        raise errors.InvalidRequest(
            f"`{path}` is no public key in PEM: {error}; it lies beside the checkpoints", field="public_key"
        ) from error
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise errors.InvalidRequest(f"`{path}` is not Ed25519; give the key of the log", field="public_key")
    return key


def read_checkpoints(lines: Iterable[bytes], keys: Keys) -> Mapping[int, str]:
    """Length of the log -> the hash it had then, of those that count; `keys` oldest first. Errors: BadCheckpoints."""
    return read_signed(lines, keys).heads


def read_signed(lines: Iterable[bytes], keys: Keys) -> Signed:
    """All that checkpoints say. Errors: BadCheckpoints.

    A key that was replaced signs nothing any more: after a checkpoint of a newer key its signature does not count. A checkpoint
    that says `restored` is the only one that may go back, to one of those before, and what it says is told to whoever verifies.
    After one with the root of the tree there is none without.
    """
    known = list(keys) if isinstance(keys, Sequence) else [keys]
    heads: dict[int, str] = {}
    roots: dict[int, str] = {}
    history: list[Restored] = []
    previous, last, newest, has_root = rows.GENESIS, 0, 0, False
    for number, line in enumerate(lines, 1):
        body, age = read_one(line, known, f"checkpoint {number}")
        try:
            restored = _restored(body, last)
        except (KeyError, TypeError, ValueError) as error:
            raise BadCheckpoints(f"checkpoint {number} is malformed") from error
        if age < newest:
            raise BadCheckpoints(f"checkpoint {number} is signed by a key that was replaced before it")
        newest, sequence, after = age, int(body["sequence"]), last
        if restored is not None and restored.kept in (0, *heads) and restored.kept < last:
            after = restored.kept
            history.append(restored)
            heads = {length: hash_ for length, hash_ in heads.items() if length <= after}
            roots = {length: root for length, root in roots.items() if length <= after}
        if body.get("previous") != previous or sequence <= after:
            raise BadCheckpoints(f"checkpoint {number} does not follow the one before")
        if has_root and "root" not in body:
            raise BadCheckpoints(f"checkpoint {number} has no root of the log's tree, and one before it has")
        if has_root := "root" in body:
            roots[sequence] = body["root"]
        heads[sequence], last = body["head"], sequence
        previous = canonical.digest_bytes(line.rstrip(b"\n"))
    return Signed(heads, roots, tuple(history))


def read_one(
    line: bytes, keys: Sequence[ed25519.Ed25519PublicKey], name: str = "the checkpoint"
) -> tuple[dict[str, Any], int]:
    """What one checkpoint says by itself, and which of the keys signed it. Errors: BadCheckpoints."""
    try:
        body = json.loads(line)
        signature = bytes.fromhex(body.pop("signature"))
        body |= {"sequence": int(body["sequence"]), "head": str(body["head"])}
        ages = {key_id(key): age for age, key in enumerate(keys)}
        age = ages.get(body["key_id"], -1) if body["schema"] in (SCHEMA, SCHEMA_WITHOUT_ROOT) else -1
        is_whole = isinstance(body["root"], str) if body["schema"] == SCHEMA else "root" not in body
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadCheckpoints(f"{name} is malformed") from error
    if age < 0:
        raise BadCheckpoints(f"{name} is of another schema or key")
    if not is_whole:
        raise BadCheckpoints(f"{name} is malformed")
    try:
        keys[age].verify(signature, signed_bytes(body))
    except InvalidSignature as error:
        raise BadCheckpoints(f"{name} was not signed by this key") from error
    return body, age


def _restored(body: Mapping[str, Any], signed: int) -> Restored | None:
    """What a checkpoint says of it; None: nothing. Errors: those of what is malformed."""
    if "restored" not in body:
        return None
    said = body["restored"]
    return Restored(
        int(said["kept"]),
        signed,
        int(body["sequence"]),
        str(said["by"]),
        str(said["reason"]),
        str(body["at"]),
    )


def missing(count: int, heads: Mapping[int, str]) -> str:
    """What is said of a log that ends before the last checkpoint."""
    signed = max(heads)
    return (
        f"rows {count + 1} to {signed} are missing: the log ends at row {count}, and {signed} were signed; it is as it was signed"
        f" up to row {_kept(count + 1, heads)}. If the database was put back from a copy, see the runbook"
    )


def another(count: int, heads: Mapping[int, str]) -> str:
    """What is said of a row that follows the one before, at a length at which another one was signed."""
    return (
        f"row {count} is not the one that was signed: the log is as it was signed up to row {_kept(count, heads)}, and goes on"
        " otherwise. If the database was put back from a copy, see the runbook"
    )


def _kept(before: int, heads: Mapping[int, str]) -> int:
    return max((length for length in heads if length < before), default=0)


def another_root(count: int) -> str:
    """What is said of a checkpoint whose head is right and whose root is not."""
    return (
        f"the tree over rows 1 to {count} has another root than the one that was signed: proofs against that checkpoint show nothing of"
        " this log; keep it, and find out what signed it"
    )


class Roots:
    """The tree over rows as they come, held against the signed roots."""

    def __init__(self, signed: Mapping[int, str]) -> None:
        self.count = 0
        self._signed, self._lengths, self._tree = signed, sorted(signed), growing.Part()

    def add(self, hashes: bytes) -> int:
        """Hashes of rows that follow, in hex with `:` between; the length at which another root was signed, or 0."""
        begin, new = self._tree.end, leaves(hashes)
        for length in between(self._lengths, begin, begin + len(new)):
            self._tree.extend(new[self._tree.end - begin : length - begin])
            if self._signed[length] != f"sha256:{self._tree.root().hex()}":
                return length
            self.count += 1
        self._tree.extend(new[self._tree.end - begin :])
        return 0


def between(lengths: Sequence[int], after: int, until: int) -> Sequence[int]:
    """Those of `lengths`, which are sorted, that are more than `after` and no more than `until`."""
    return lengths[bisect.bisect_right(lengths, after) : bisect.bisect_right(lengths, until)]


def leaves(hashes: bytes) -> list[bytes]:
    """Of hashes in hex with `:` between: what the tree is over."""
    plain = bytes.fromhex(hashes.replace(b":", b"").decode())
    return [plain[at : at + 32] for at in range(0, len(plain), 32)]


def verify(
    export: Iterable[bytes],
    checkpoints: Sequence[bytes],
    keys: Keys,
    *,
    allow_unsigned: bool = False,
    tree: bool = False,
) -> Finding:
    """Every row, every link and every checkpoint; stops at the first that is not right.

    `export` gives lines as `rows.to_line` makes them, from the first row on. `allow_unsigned` accepts rows after the
    last checkpoint, which nobody vouches for. `tree`: the signed roots, too.
    """
    try:
        signed = read_signed(checkpoints, keys)
    except BadCheckpoints as bad:
        return Finding(0, rows.GENESIS, 0, problem=str(bad))
    heads, lengths = signed.heads, sorted(signed.heads)
    roots = Roots(signed.roots if tree else {})
    previous, count = exported.NOTHING, 0
    for lines in _batches(export):
        if hashes := good(lines, previous, count, heads, lengths):
            if tree and (bad_at := roots.add(hashes)):
                previous = _nth(hashes, bad_at - count - 1).encode()
                return _found(previous, bad_at, signed, another_root(bad_at), bad_at)
            previous, count = hashes[-64:], count + len(lines)
            continue
        for line in lines:  # one of them is not right: which, and why
            if problem := exported.problem(line, previous, count):
                return _found(previous, count, signed, problem, count + 1)
            previous, count = exported.hash_of(line), count + 1
            if count in heads and heads[count] != f"sha256:{previous.decode()}":
                return _found(previous, count, signed, another(count, heads), count)
            if tree and roots.add(previous):
                return _found(previous, count, signed, another_root(count), count)
    return ended(previous, count, signed, allow_unsigned=allow_unsigned, roots=roots.count)


def ended(previous: bytes, count: int, signed: Signed, *, allow_unsigned: bool, roots: int = 0) -> Finding:
    """What is said of a log of `count` rows that are all right, the last one with this hash, in hex."""
    last, problem, bad = max(signed.heads, default=0), "", None
    if count < last:
        problem, bad = missing(count, signed.heads), count + 1
    elif count > last and not allow_unsigned:
        problem, bad = f"rows {last + 1} to {count} were never signed", last + 1
    return _found(previous, count, signed, problem, bad, roots)


def _found(
    previous: bytes, count: int, signed: Signed, problem: str, bad: int | None, roots: int = 0
) -> Finding:
    head = f"sha256:{previous.decode(errors='replace')}"
    unsigned = max(0, count - max(signed.heads, default=0))
    return Finding(count, head, len(signed.heads), unsigned, problem, bad, signed.restored, roots)


def good(
    lines: Sequence[bytes], previous: bytes, count: int, heads: Mapping[int, str], lengths: Sequence[int]
) -> bytes:
    """As `exported.hashes_of`, of lines that are those that were signed, too; `lengths` are those of `heads`, sorted."""
    hashes = exported.hashes_of(lines, previous, count)
    here = between(lengths, count, count + len(lines))
    is_signed = all(heads[at] == f"sha256:{_nth(hashes, at - count - 1)}" for at in here)
    return hashes if is_signed else b""


def _batches(export: Iterable[bytes]) -> Iterator[list[bytes]]:
    lines = iter(export)
    while batch := list(itertools.islice(lines, _BATCH)):
        yield batch


def _nth(hashes: bytes, n: int) -> str:
    return hashes[n * 65 : n * 65 + 64].decode()
