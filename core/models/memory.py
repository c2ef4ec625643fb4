"""How much memory a model takes: what the C library has given out, before and after it was loaded."""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Callable
from typing import Final

_FIELDS: Final = (
    *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
    *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
)


class _Mallinfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in _FIELDS]


def allocated_bytes() -> int:
    """Bytes that all of this process's C and C++ code holds now, NumPy's and torch's arrays among them; 0: not known.

    Of glibc's own allocator (`mallinfo2`); of Python's objects only those above 512 bytes. Takes some microseconds, and
    its locks.
    """
    read = _reader()
    if read is None:
        return 0
    info = read()
    return int(info.uordblks) + int(info.hblkhd)


def give_back() -> None:
    """Let the system have what C and C++ code has freed: after a load, the copies that packing went through.

    Of glibc (`malloc_trim`), nothing elsewhere. Takes the allocator's locks for some milliseconds.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


@functools.cache
def _reader() -> Callable[[], _Mallinfo2] | None:
    try:
        read = ctypes.CDLL(None).mallinfo2
    except (AttributeError, OSError):  # another C library, or a glibc before 2.33
        return None
    read.restype = _Mallinfo2
    read.argtypes = []
    found: Callable[[], _Mallinfo2] = read
    return found
