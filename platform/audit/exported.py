"""Lines of an exported audit log, looked at together or one by one: is each as it was hashed, and does it follow the one before."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from operator import itemgetter
from typing import Final

from mainspring.platform.audit import rows

__all__ = ["NOTHING", "hash_of", "hashes_of", "problem"]

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
_digest: Final = type(hashlib.sha256()).digest
_start: Final = itemgetter(slice(_ROW_START + 1))
_body: Final = itemgetter(slice(_ROW_START, -2))


def hashes_of(lines: Sequence[bytes], previous: bytes, count: int) -> bytes:
    """The hash of each line, in hex with `:` between, if all stand after `count` lines of which `previous` is the last hash; else nothing.

    Says the same as :func:`problem` of each. Each step goes over all lines at once and no loop is Python's, but for the links, which
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


def hash_of(line: bytes) -> bytes:
    """What a line that is right says of itself, in hex."""
    return line[_HASH_START:_HASH_END]


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


def problem(line: bytes, previous: bytes, count: int) -> str:
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
