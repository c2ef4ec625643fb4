"""Is an exported audit log the one that was signed: stands alone, needs the export, the checkpoints and the public key.

Each row's hash covers the row and the hash of the row before, so the hash of the last row names the whole log. A chain
alone does not show a tail that was cut off, nor a log whose hashes were all made anew; the signed checkpoints, kept
outside of the database, do: each names the hash that the log had at a length. What was never signed is not proved,
and is refused unless the caller allows it.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from mainspring.core import canonical, errors
from mainspring.platform.audit import rows

SCHEMA: Final = "mainspring.audit-checkpoint/v1"
DOMAIN: Final = b"mainspring.audit-checkpoint.v1\x00"

#: Of one key, or of all that signed, oldest first.
Keys: TypeAlias = ed25519.Ed25519PublicKey | Sequence[ed25519.Ed25519PublicKey]

_PEM_END: Final = b"-----END PUBLIC KEY-----\n"
_HASH_START: Final = len('{"hash":"sha256:')
_HASH_END: Final = _HASH_START + 64
_ROW_START: Final = _HASH_END + len('","row":')
_LINE_HEAD: Final = b'{"hash":"sha256:'
_LINE_MIDDLE: Final = b'","row":{'
_PREVIOUS: Final = b'"previous_hash":"sha256:'
_LINK_LENGTH: Final = len(_PREVIOUS) + 64
_LINE_END: Final = b',"sequence":%d}}\n'
#: How a hundred lines end, whose numbers begin alike: a number is written once for all of them.
_HUNDRED_ENDS: Final = b"".join(b',"sequence":#%02d}}\n' % i for i in range(100))
#: What the first row follows, in hex.
NOTHING: Final = rows.GENESIS.removeprefix("sha256:").encode()
#: Lines that are looked at together: some 100 kB, which stay in the cache. With 64 it is 3 % slower, more is no faster.
_BATCH: Final = 256
_digest: Final = type(hashlib.sha256()).digest
_start: Final = itemgetter(slice(_ROW_START + 1))
_body: Final = itemgetter(slice(_ROW_START, -2))


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


def read_checkpoints(lines: Iterable[bytes], keys: Keys) -> dict[int, str]:
    """Length of the log -> the hash it had then, of those that count; `keys` oldest first. Errors: BadCheckpoints."""
    return read_history(lines, keys)[0]


def read_history(lines: Iterable[bytes], keys: Keys) -> tuple[dict[int, str], tuple[Restored, ...]]:
    """As :func:`read_checkpoints`, and how often the log was put back. Errors: BadCheckpoints.

    A key that was replaced signs nothing any more: after a checkpoint of a newer key its signature does not count. A checkpoint
    that says `restored` is the only one that may go back, to one of those before, and what it says is told to whoever verifies.
    """
    known = list(keys) if isinstance(keys, Sequence) else [keys]
    ages = {key_id(key): age for age, key in enumerate(known)}
    heads: dict[int, str] = {}
    history: list[Restored] = []
    previous, last, newest = rows.GENESIS, 0, 0
    for number, line in enumerate(lines, 1):
        try:
            body = json.loads(line)
            signature = bytes.fromhex(body.pop("signature"))
            sequence, head = int(body["sequence"]), str(body["head"])
            age = ages.get(body["key_id"], -1) if body["schema"] == SCHEMA else -1
            restored = _restored(body, last)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadCheckpoints(f"checkpoint {number} is malformed") from error
        if age < 0:
            raise BadCheckpoints(f"checkpoint {number} is of another schema or key")
        if age < newest:
            raise BadCheckpoints(f"checkpoint {number} is signed by a key that was replaced before it")
        newest = age
        try:
            known[age].verify(signature, signed_bytes(body))
        except InvalidSignature as error:
            raise BadCheckpoints(f"checkpoint {number} was not signed by this key") from error
        after = last
        if restored is not None and restored.kept in (0, *heads) and restored.kept < last:
            after = restored.kept
            history.append(restored)
            heads = {length: hash_ for length, hash_ in heads.items() if length <= after}
        if body.get("previous") != previous or sequence <= after:
            raise BadCheckpoints(f"checkpoint {number} does not follow the one before")
        heads[sequence], last = head, sequence
        previous = canonical.digest_bytes(line.rstrip(b"\n"))
    return heads, tuple(history)


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


def verify(
    export: Iterable[bytes],
    checkpoints: Sequence[bytes],
    keys: Keys,
    *,
    allow_unsigned: bool = False,
) -> Finding:
    """Every row, every link and every checkpoint; stops at the first that is not right.

    `export` gives lines as `rows.to_line` makes them, from the first row on. `allow_unsigned` accepts rows after the
    last checkpoint, which nobody vouches for.
    """
    try:
        heads, history = read_history(checkpoints, keys)
    except BadCheckpoints as bad:
        return Finding(0, rows.GENESIS, 0, problem=str(bad))
    lengths = sorted(heads)
    previous, count = NOTHING, 0
    for lines in _batches(export):
        if hashes := good(lines, previous, count, heads, lengths):
            previous, count = hashes[-64:], count + len(lines)
            continue
        for line in lines:  # one of them is not right: which, and why
            if problem := _problem(line, previous, count):
                return _found(previous, count, heads, history, problem, count + 1)
            previous, count = line[_HASH_START:_HASH_END], count + 1
            if count in heads and heads[count] != f"sha256:{previous.decode()}":
                return _found(previous, count, heads, history, another(count, heads), count)
    return ended(previous, count, heads, history, allow_unsigned=allow_unsigned)


def ended(
    previous: bytes,
    count: int,
    heads: Mapping[int, str],
    history: tuple[Restored, ...],
    *,
    allow_unsigned: bool,
) -> Finding:
    """What is said of a log of `count` rows that are all right, the last one with this hash, in hex."""
    signed, problem, bad = max(heads, default=0), "", None
    if count < signed:
        problem, bad = missing(count, heads), count + 1
    elif count > signed and not allow_unsigned:
        problem, bad = f"rows {signed + 1} to {count} were never signed", signed + 1
    return _found(previous, count, heads, history, problem, bad)


def _found(
    previous: bytes,
    count: int,
    heads: Mapping[int, str],
    history: tuple[Restored, ...],
    problem: str,
    bad: int | None,
) -> Finding:
    head, unsigned = f"sha256:{previous.decode(errors='replace')}", max(0, count - max(heads, default=0))
    return Finding(count, head, len(heads), unsigned, problem, bad, history)


def good(
    lines: Sequence[bytes], previous: bytes, count: int, heads: Mapping[int, str], lengths: Sequence[int]
) -> bytes:
    """As :func:`_hashes`, of lines that are those that were signed, too; `lengths` are those of `heads`, sorted."""
    hashes = _hashes(lines, previous, count)
    here = lengths[bisect.bisect_right(lengths, count) : bisect.bisect_right(lengths, count + len(lines))]
    is_signed = all(heads[at] == f"sha256:{_nth(hashes, at - count - 1)}" for at in here)
    return hashes if is_signed else b""


def _batches(export: Iterable[bytes]) -> Iterator[list[bytes]]:
    lines = iter(export)
    while batch := list(itertools.islice(lines, _BATCH)):
        yield batch


def _hashes(lines: Sequence[bytes], previous: bytes, count: int) -> bytes:
    """The hash of each line, in hex with `:` between, if all stand after `count` lines of which `previous` is the last hash; else nothing.

    Says the same as :func:`_problem` of each. Each step goes over all lines at once and no loop is Python's, but for the links, which
    have no fixed place. Pieces of lines are compared together: each can be as long as it must be only if all are.
    """
    if not _are_numbered(lines, count + 1):
        return b""
    hashes = b"".join(map(_digest, map(hashlib.sha256, map(_body, lines)))).hex(":", 32).encode()
    starts = _LINE_HEAD + hashes.replace(b":", _LINE_MIDDLE + _LINE_HEAD) + _LINE_MIDDLE
    if b"".join(map(_start, lines)) != starts:
        return b""
    at = map(bytes.rfind, lines, itertools.repeat(_PREVIOUS))
    links = b"".join([line[place : place + _LINK_LENGTH] for line, place in zip(lines, at, strict=True)])
    before = (b":" + previous + b":" + hashes)[:-65]
    return hashes if links == before.replace(b":", _PREVIOUS) else b""


def _nth(hashes: bytes, n: int) -> str:
    return hashes[n * 65 : n * 65 + 64].decode()


def _are_numbered(lines: Sequence[bytes], first: int) -> bool:
    """Do they end as lines from number `first` on."""
    last = first + len(lines) - 1
    if first < 100 or len(str(first)) != len(
        str(last)
    ):  # not all ends are of one length, or written once for a hundred
        return all(map(bytes.endswith, lines, map(_LINE_END.__mod__, range(first, last + 1))))
    length, skipped, hundreds = len(_LINE_END % first), first % 100, range(first // 100, last // 100 + 1)
    ends = b"".join([_HUNDRED_ENDS.replace(b"#", b"%d" % hundred) for hundred in hundreds])
    found = b"".join(map(itemgetter(slice(-length, None)), lines))
    return found == ends[skipped * length : (skipped + len(lines)) * length]


def _problem(line: bytes, previous: bytes, count: int) -> str:
    """What is wrong with a line after `count` lines of which `previous` is the last hash, in hex; empty for nothing.

    The last `previous_hash` is the row's own: what a detail has of that name stands before it.
    """
    body = line[_ROW_START:-2]
    is_whole = (
        line.startswith(_LINE_HEAD) and line.startswith(_LINE_MIDDLE, _HASH_END) and line.endswith(b"}}\n")
    )
    if not is_whole or hashlib.sha256(body).hexdigest().encode() != line[_HASH_START:_HASH_END]:
        return f"row {count + 1} was changed"
    follows = body.startswith(_PREVIOUS + previous, body.rfind(_PREVIOUS))
    if not follows or not line.endswith(_LINE_END % (count + 1)):
        return f"row {count + 1} does not follow row {count}"
    return ""
