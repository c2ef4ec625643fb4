"""Columns sealed value by value: the same for joins (AES-SIV), another each time otherwise (AES-GCM).

A sealed value is text, so that it goes wherever a string goes: Parquet, online rows, keys of requests, JSON.
`ms1.<key id>.<j|r>.<base64url>`. Of a data key each context and mode has a key of its own (HKDF-SHA256); the context is the
dataset and the column, or what columns that are joined have in common. Moved to another column, a value does not open.
Sources: AES-SIV is RFC 5297, HKDF RFC 5869. What joins tells equal values: that is its purpose, and its price.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import secrets
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import polars as pl
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mainspring.core import errors

__all__ = ["KEY_BYTES", "Cipher", "Field", "is_sealed", "key_ids", "sealed_columns"]

#: Of a data key: both modes' keys are derived from it.
KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_SEALED: Final = r"^ms1\.([0-9a-f]{8})\.([jr])\.([A-Za-z0-9_-]+)$"
_PARTS: Final = re.compile(_SEALED)

Mode = Literal["joinable", "random"]
_LETTER: Final[Mapping[Mode, str]] = {"joinable": "j", "random": "r"}


@dataclass(frozen=True)
class Field:
    """One column of one dataset. `domain`: columns of one domain are joined, and have one context in place of their own."""

    dataset: str
    column: str
    mode: Mode = "random"
    domain: str = ""

    @property
    def context(self) -> str:
        return f"domain\0{self.domain}" if self.domain else f"column\0{self.dataset}\0{self.column}"


class Cipher:
    """Seals by one data key and opens by all it has. Immutable but for derived keys; thread-safe.

    Speed: 2 to 3 us to seal a value and 5 us to open it (CPU time of one core, 2026-11); of a joinable column each distinct
    value is sealed once.
    A key's nonces are random: add a data key before four billion values of one column.
    """

    def __init__(self, keys: Mapping[str, bytes], *, current: str) -> None:
        for key_id, key in keys.items():
            if len(key) != KEY_BYTES:
                raise errors.CorruptArtifact(
                    f"data key `{key_id}` has {len(key)} bytes; restore its keyset",
                    artifact="data key",
                    expected=str(KEY_BYTES),
                    got=str(len(key)),
                )
        self._keys, self.current = dict(keys), current
        self._derived: dict[tuple[str, str, str], AESGCM | AESSIV] = {}
        self._lock = threading.Lock()

    @property
    def key_ids(self) -> tuple[str, ...]:
        return tuple(self._keys)

    def seal(self, values: pl.Series, field: Field) -> pl.Series:
        """Text of the same length and name; nulls stay null, and NaN and empty texts are sealed as values.

        Errors: SchemaMismatch for a type that is not sealed: lists, structs, objects.
        """
        encode = _encoder(values.dtype, field)
        seal = self._sealer(self.current, field)
        plain = [None if v is None else encode(v) for v in _physical(values).to_list()]
        if field.mode == "joinable":
            known = {p: seal(p) for p in set(plain) if p is not None}
            sealed = [None if p is None else known[p] for p in plain]
        else:
            sealed = [None if p is None else seal(p) for p in plain]
        return pl.Series(values.name, sealed, dtype=pl.String)

    def open(self, values: pl.Series, field: Field, dtype: pl.DataType | None = None) -> pl.Series:
        """The values again, as `dtype`; by default text.

        Errors: Misconfigured for a key that this keyset has not, or not any more; CorruptArtifact for what was changed, is
        not sealed, or is of another column, mode or type.
        """
        wanted = dtype or pl.String()
        if values.dtype != pl.String:
            raise errors.SchemaMismatch(
                f"column `{field.column}` has type {values.dtype}, a sealed one is text; read it as it was written",
                feature=field.column,
                expected="String",
                got=str(values.dtype),
            )
        decode = _decoder(wanted, field)
        known: dict[str, Any] = {}
        opened = []
        for value in values.to_list():
            if value is not None and value not in known:
                known[value] = decode(self._open(value, field))
            opened.append(None if value is None else known[value])
        return _logical(values.name, opened, wanted)

    def open_text(self, values: pl.Series, field: Field) -> list[str]:
        """Values of whatever type as text, as a person reads them: times as microseconds, bytes as hex.

        Errors: as :meth:`open`.
        """
        return self.open_values(values.to_list(), field)

    def open_values(self, values: Sequence[str], field: Field) -> list[str]:
        """As :meth:`open_text`, of plain texts."""
        return [_readable(self._open(value, field)) for value in values]

    def tokens(self, value: Any, field: Field, dtype: pl.DataType | None = None) -> tuple[str, ...]:
        """What `value` may be sealed as in a joinable column, by every key, the newest first: for a look-up while a
        new data key is brought over. Errors: InvalidRequest for a column that is not joinable."""
        if field.mode != "joinable":
            raise errors.InvalidRequest(
                f"column `{field.column}` is sealed otherwise each time, and cannot be looked up; seal it as joinable",
                field=field.column,
            )
        series = pl.Series(field.column, [value], dtype=dtype)
        plain = _encoder(series.dtype, field)(_physical(series).to_list()[0])
        others = [key_id for key_id in self._keys if key_id != self.current]
        return tuple(self._sealer(key_id, field)(plain) for key_id in (self.current, *others))

    def _sealer(self, key_id: str, field: Field) -> Callable[[bytes], str]:
        key, aad = self._key(key_id, field), _bound_to(key_id, field)
        head = f"ms1.{key_id}.{_LETTER[field.mode]}."
        if isinstance(key, AESSIV):
            siv, bound = key, [aad]
            return lambda plain: head + _text(siv.encrypt(plain, bound))
        gcm = key

        def seal(plain: bytes) -> str:
            nonce = secrets.token_bytes(_NONCE_BYTES)
            return head + _text(nonce + gcm.encrypt(nonce, plain, aad))

        return seal

    def _open(self, value: str, field: Field) -> bytes:
        match = _PARTS.fullmatch(value)
        if match is None or match[2] != _LETTER[field.mode]:
            raise _corrupt(field, f"a value sealed as {field.mode}", "another form")
        key_id = match[1]
        if key_id not in self._keys:
            raise errors.Misconfigured(
                f"no data key `{key_id}` for column `{field.column}` of `{field.dataset}`; restore the project's keyset,"
                " or, if the key was destroyed, so is what it sealed"
            )
        key, aad = self._key(key_id, field), _bound_to(key_id, field)
        try:
            sealed = base64.urlsafe_b64decode(match[3] + "=" * (-len(match[3]) % 4))
            if isinstance(key, AESSIV):
                return key.decrypt(sealed, [aad])
            return key.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], aad)
        except (InvalidTag, binascii.Error, ValueError) as error:
            raise _corrupt(field, f"sealed by `{key_id}`", "another content, column or key") from error

    def _key(self, key_id: str, field: Field) -> AESGCM | AESSIV:
        name = (key_id, field.mode, field.context)
        with self._lock:
            if name not in self._derived:
                info = f"mainspring/field/1\0{field.mode}\0{field.context}".encode()
                length = 64 if field.mode == "joinable" else 32
                derive = HKDF(algorithm=hashes.SHA256(), length=length, salt=None, info=info)
                raw = derive.derive(self._keys[key_id])
                self._derived[name] = AESSIV(raw) if field.mode == "joinable" else AESGCM(raw)
            return self._derived[name]


def is_sealed(values: pl.Series) -> bool:
    """Are all values sealed: text of our form or null, and one at least."""
    if values.dtype != pl.String or values.null_count() == values.len():
        return False
    return bool(values.str.contains(_SEALED).all())


def sealed_columns(rows: pl.LazyFrame) -> frozenset[str]:
    """Columns of a table all of whose values are sealed, as :func:`is_sealed` has it; one streamed query, whatever its size."""
    texts = [name for name, dtype in rows.collect_schema().items() if dtype == pl.String]
    if not texts:
        return frozenset()
    are = (
        (pl.col(name).str.contains(_SEALED).all() & pl.col(name).is_not_null().any()).alias(name)
        for name in texts
    )
    told = rows.select(*are).collect(engine="streaming").row(0, named=True)
    return frozenset(name for name, is_it in told.items() if is_it)


def key_ids(values: pl.Series) -> frozenset[str]:
    """The data keys that values are sealed by."""
    return frozenset(values.str.extract(_SEALED, 1).drop_nulls().unique().to_list())


def _bound_to(key_id: str, field: Field) -> bytes:
    return f"{key_id}\0{field.mode}\0{field.context}".encode()


def _text(sealed: bytes) -> str:
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()


def _physical(values: pl.Series) -> pl.Series:
    """Times as microseconds and dates as days: what is sealed is exact, and has no zone of its own."""
    if isinstance(values.dtype, pl.Datetime):
        return values.dt.timestamp("us")
    if values.dtype in (pl.Date, pl.Time, pl.Duration):
        return values.to_physical()
    if values.dtype in (pl.Categorical, pl.Enum):
        return values.cast(pl.String)
    return values


def _logical(name: str, values: Sequence[Any], dtype: pl.DataType) -> pl.Series:
    if isinstance(dtype, pl.Datetime):
        stamps = pl.Series(name, values, dtype=pl.Int64).cast(pl.Datetime("us", dtype.time_zone))
        return stamps.cast(dtype)
    if dtype == pl.Date:
        return pl.Series(name, values, dtype=pl.Int32).cast(dtype)
    if dtype in (pl.Time, pl.Duration):
        return pl.Series(name, values, dtype=pl.Int64).cast(dtype)
    return pl.Series(name, values, dtype=dtype)


def _letter(dtype: pl.DataType) -> str:
    """The first byte of what is sealed: whole numbers of any width are the same value, and never a text."""
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return "s"
    if dtype.is_integer() or dtype in (pl.Date, pl.Time, pl.Duration) or isinstance(dtype, pl.Datetime):
        return "i"
    if dtype.is_float():
        return "f"
    return {pl.Boolean: "b", pl.Binary: "x"}.get(type(dtype), "")


def _encoder(dtype: pl.DataType, field: Field) -> Callable[[Any], bytes]:
    letter = _letter(dtype)
    if isinstance(dtype, pl.Datetime) and dtype.time_unit == "ns":
        letter = ""  # microseconds are what the platform's times have, and what is sealed is exact
    if letter == "s":
        return lambda v: b"s" + str(v).encode()
    if letter in ("i", "b"):
        return lambda v: f"{letter}{int(v)}".encode()
    if letter == "f":
        return lambda v: b"f" + struct.pack("<d", math.nan if math.isnan(v) else v)
    if letter == "x":
        return lambda v: b"x" + v
    raise errors.SchemaMismatch(
        f"column `{field.column}` has type {dtype}, which is not sealed; cast it, or take its parts apart first",
        feature=field.column,
        expected="text, number, boolean, bytes, or time in microseconds",
        got=str(dtype),
    )


def _decoder(dtype: pl.DataType, field: Field) -> Callable[[bytes], Any]:
    letter = _letter(dtype)
    read: Mapping[str, Callable[[bytes], Any]] = {
        "s": lambda rest: rest.decode(),
        "i": lambda rest: int(rest),
        "b": lambda rest: rest == b"1",
        "f": lambda rest: struct.unpack("<d", rest)[0],
        "x": lambda rest: rest,
    }

    def decode(plain: bytes) -> Any:
        if plain[:1] != letter.encode() or letter not in read:
            raise _corrupt(field, f"a value of type {dtype}", "one of another type")
        return read[letter](plain[1:])

    return decode


def _readable(plain: bytes) -> str:
    letter, rest = plain[:1], plain[1:]
    if letter == b"f":
        return repr(struct.unpack("<d", rest)[0])
    if letter == b"x":
        return rest.hex()
    if letter == b"b":
        return str(rest == b"1").lower()
    return rest.decode()


def _corrupt(field: Field, expected: str, got: str) -> errors.CorruptArtifact:
    return errors.CorruptArtifact(
        f"column `{field.column}` of `{field.dataset}` does not open: it was changed, or is not what this column was sealed"
        " as; compare dataset, column and mode, or restore the file",
        artifact=f"{field.dataset}.{field.column}",
        expected=expected,
        got=got,
    )
