"""Pickles run code when they are read, so no bundle has one: neither as it is, nor in an archive."""

from __future__ import annotations

import io
import pickletools
import re
import zipfile
from typing import Final

#: What imports a name, in a stream that need not have a mark of its protocol.
_IMPORTS: Final = ("GLOBAL", "INST")
_NAMES: Final = re.compile(r"[\w.]+ [\w.]+")
_MARKED: Final = re.compile(rb"\x80[\x02-\x05]")

#: Instructions that are looked at: an import that comes later needs a mark to be found.
_MAX_INSTRUCTIONS: Final = 20_000
_MAX_DEPTH: Final = 3
_MAX_RATIO: Final = 200
_MIN_ROOM: Final = 64 << 20


def is_pickle(data: bytes) -> bool:
    """Whether Python, NumPy or torch would unpickle these bytes, or members of them if they are a zip file.

    Protocol 2 and later have a mark; older ones are pickles if they import something, as what runs code must. A zip
    file that cannot be looked into whole (damaged, encrypted, far larger when unpacked) counts as one.
    """
    return _is_pickle(data, depth=0)


def _is_pickle(data: bytes, depth: int) -> bool:
    if data[:6] == b"\x93NUMPY":
        return _has_objects(data)
    if data[:2] == b"PK":
        return depth > _MAX_DEPTH or _holds_pickle(data, depth)
    return _is_stream(data)


def _has_objects(data: bytes) -> bool:
    """Of an array in NumPy's format: its header names the types, "O" being Python's objects."""
    wide = data[6:7] != b"\x01"
    begin = 12 if wide else 10
    length = int.from_bytes(data[8:begin], "little")
    return re.search(rb"'[|<>=]?O\d*'", data[begin : begin + length]) is not None


def _holds_pickle(data: bytes, depth: int) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if sum(m.file_size for m in members) > max(_MIN_ROOM, _MAX_RATIO * len(data)):
                return True
            return any(_is_pickle(archive.read(member), depth + 1) for member in members)
    except Exception:  # noqa: BLE001 - zipfile and what unpacks for it raise many kinds of errors on bad files
        return True


def _is_stream(data: bytes) -> bool:
    marked = _MARKED.match(data) is not None
    imports = False
    try:
        for n, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if opcode.name in _IMPORTS and _NAMES.fullmatch(str(argument)):
                imports = True
            if opcode.name == "STOP" or n >= _MAX_INSTRUCTIONS:
                return marked or imports
    except Exception:  # noqa: BLE001 - it raises many kinds of errors on bytes that are no pickle, all of which say so
        return False
    return False
