"""How native code says no. Stands alone: it knows nothing of `mainspring.core`, which maps the codes to its own errors."""

from __future__ import annotations

from typing import Final, Literal, get_args

Code = Literal[
    "bad_shape",  # wrong number of columns, rows or dimensions
    "bad_dtype",  # not a NumPy array of the one dtype that is expected
    "not_contiguous",  # strided, or not aligned to its own element size
    "not_writable",  # `out` is read-only
    "overlap",  # `out` shares memory with an input
    "bad_spec",  # the program itself makes no sense
    "unknown_target",  # no such instruction set, or not on this CPU
    "missing_column",  # an input of the program was not given
    "busy",  # another thread runs the same bound buffers; another process writes the table; a batcher is full: see `Busy`
    "bad_offsets",  # offsets of jagged rows that fall, or lead out of their values
    "out_of_range",  # an index without a row, a row longer than its place, a number beyond its dtype
    "bad_model",  # the file of a model is damaged, or is none
    "unsupported_model",  # a model that asks for what is not done here
    "full",  # no room: memory, disk, or `max_rows`; for the ids of bags: see `NoRoom`
    "io",  # the system refused to read or write a file
    "corrupt",  # a file is not what was written
    "closed",  # the table was closed; a batcher takes no more requests, or lost them when it was closed
    "cancelled",  # a request that its caller took back, or whose batch was dropped
    "deadline_exceeded",  # a request whose deadline passed before it was computed
]

CODES: Final[tuple[str, ...]] = get_args(Code)


class NativeError(ValueError):
    """The one error of `mainspring.native`; `code` is stable, the message is for people."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(code, message)
        self.code: Code = code
        self.message = message

    def __str__(self) -> str:
        return self.message


class NoRoom(NativeError):
    """An output is too small, and nothing was written: try again with room for `needed` values."""

    def __init__(self, message: str, needed: int) -> None:
        super().__init__("full", message)
        self.needed = needed

    def __reduce__(self) -> tuple[type[NoRoom], tuple[str, int]]:
        return NoRoom, (self.message, self.needed)


class Busy(NativeError):
    """A bounded queue is full: try again after `retry_after_seconds`, or send the caller away with that."""

    def __init__(self, message: str, retry_after_seconds: float) -> None:
        super().__init__("busy", message)
        self.retry_after_seconds = retry_after_seconds

    def __reduce__(self) -> tuple[type[Busy], tuple[str, float]]:
        return Busy, (self.message, self.retry_after_seconds)
