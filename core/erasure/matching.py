"""Which rows of a table are a subject's: by the names of columns, and by what the key looks like there.

A key may stand as it is (text, whole number, a number that a null made a float), as the token that the prediction log has in the
place of a personal value, or sealed. A file says of itself what is sealed in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mainspring.core.erasure.subjects import Subject, text_of
from mainspring.core.monitoring import prediction_log, tokens
from mainspring.core.protection import sealing, tables

__all__ = ["BySubject", "ErasedRows", "Matcher", "Metadata"]

#: A file's key-value metadata, as pyarrow gives it.
Metadata = Mapping[bytes, bytes] | None
_PREFIXES: Final = (prediction_log.KEY, prediction_log.FEATURE)


class Matcher(Protocol):
    """Says which rows go."""

    def columns(self, names: Sequence[str]) -> list[str]:
        """Those of a table's columns that are to be looked at."""
        ...

    def rows(self, batch: pa.RecordBatch, metadata: Metadata) -> NDArray[np.bool_]:
        """Of a batch that may have more columns, (n_rows,): True is a row that goes. A null key is nobody's."""
        ...

    def is_key(self, name: str, value: Any) -> bool:
        """As `rows`, of one value of a JSON document."""
        ...


class BySubject:
    """The rows of one subject.

    `tokeniser` None: the logs here have no tokens. `cipher` None: nothing is sealed, or its keys are gone, and so is what they sealed.
    """

    def __init__(
        self,
        subject: Subject,
        *,
        tokeniser: tokens.Tokeniser | None = None,
        cipher: Callable[[], sealing.Cipher] | None = None,
    ) -> None:
        self.subject = subject
        self._tokeniser, self._cipher = tokeniser, cipher

    def columns(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if _bare(name) in self.subject.columns]

    def rows(self, batch: pa.RecordBatch, metadata: Metadata) -> NDArray[np.bool_]:
        found = np.zeros(batch.num_rows, np.bool_)
        for name in self.columns(batch.schema.names):
            found |= self._in_column(name, batch.column(name), metadata)
        return found

    def is_key(self, name: str, value: Any) -> bool:
        if _bare(name) not in self.subject.columns:
            return False
        return text_of(value) == self.subject.key

    def _in_column(self, name: str, column: pa.Array, metadata: Metadata) -> NDArray[np.bool_]:
        key = self.subject.key
        column = _plain(column)
        if _is_text(column.type):
            return _any_of(column, self._as_text(name, column, metadata))
        if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
            return _any_of(column, [key.encode()])
        if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            return _any_of(column, _numbers(key, column.type))
        return np.zeros(len(column), np.bool_)

    def _as_text(self, name: str, column: pa.Array, metadata: Metadata) -> list[str]:
        """The key in every form that it has in a column of text."""
        key, forms = self.subject.key, [self.subject.key]
        if self._tokeniser is not None and name != _bare(name):
            forms += [t for t in self._tokeniser.column(_bare(name), [key]) if t is not None]
        field = tables.sealed_field(metadata, name)
        if field is None or self._cipher is None:
            return forms
        cipher = self._cipher()
        if field.mode == "joinable":
            forms += cipher.tokens(key, field)
            if (number := _whole(key)) is not None:
                forms += cipher.tokens(number, field)
            return forms
        # Sealed otherwise each time: every value is opened, once.
        values = [v for v in pc.unique(column).to_pylist() if v is not None]
        opened = cipher.open_values(values, field)
        return forms + [v for v, plain in zip(values, opened, strict=True) if plain == key]


class ErasedRows:
    """The rows of whoever was erased before: by keyed hashes alone, as nobody knows the keys any more."""

    def __init__(self, is_erased: Callable[[str, str], bool], columns: frozenset[str]) -> None:
        """`is_erased(column, key)`; `columns` are those that may hold such a key."""
        self._is_erased, self._columns = is_erased, columns

    def columns(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if name in self._columns]

    def rows(self, batch: pa.RecordBatch, metadata: Metadata) -> NDArray[np.bool_]:
        found = np.zeros(batch.num_rows, np.bool_)
        for name in self.columns(batch.schema.names):
            column = _plain(batch.column(name))
            gone = []
            for value in pc.unique(column).to_pylist():
                key = text_of(value)
                if key is not None and self._is_erased(name, key):
                    gone.append(value)
            found |= _any_of(column, gone)
        return found

    def is_key(self, name: str, value: Any) -> bool:
        key = text_of(value)
        return key is not None and name in self._columns and self._is_erased(name, key)


def _bare(name: str) -> str:
    """A logged column by the name of what it logs."""
    for prefix in _PREFIXES:
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name


def _plain(column: pa.Array) -> pa.Array:
    """As a type that can be searched: neither a dictionary, nor views."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string_view(column.type):
        return column.cast(pa.large_string())
    return column.cast(pa.large_binary()) if pa.types.is_binary_view(column.type) else column


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _whole(key: str) -> int | None:
    """The number that a key is written as; None for `05`, which is not how a number is written."""
    try:
        return int(key) if str(int(key)) == key else None
    except ValueError:
        return None


def _numbers(key: str, kind: pa.DataType) -> list[Any]:
    number = _whole(key)
    if number is None:
        return []
    try:
        value = pa.scalar(float(number) if pa.types.is_floating(kind) else number, kind)
    except (pa.ArrowInvalid, OverflowError):
        return []  # out of the column's range: no row has it
    return [value.as_py()]


def _any_of(column: pa.Array, values: Sequence[Any]) -> NDArray[np.bool_]:
    if not values:
        return np.zeros(len(column), np.bool_)
    found = pc.is_in(column, value_set=pa.array(values, column.type))
    return np.asarray(pc.fill_null(found, False).to_numpy(zero_copy_only=False), np.bool_)
