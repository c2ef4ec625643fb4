"""Tables with sealed columns: frames, and Parquet files of a lake that say of themselves what is sealed in them.

A file's own metadata has the fields (dataset, column, mode, domain, type), so that whoever has the keyset opens it without being
told anything, and whoever has not reads everything else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Self

import polars as pl
import pyarrow as pa
from pydantic import Field as Limits
from pydantic import ValidationError

from mainspring.core import canonical, durable, errors
from mainspring.core.contracts.base import Request
from mainspring.core.features import folders
from mainspring.core.protection import sealing

__all__ = [
    "ColumnRule",
    "Resealed",
    "Scheme",
    "open_arrow",
    "open_frame",
    "read",
    "reseal",
    "seal_arrow",
    "seal_frame",
    "sealed_field",
    "write",
]

#: The key of a Parquet file's metadata.
_METADATA: Final = "mainspring.sealed"
_VERSION: Final = 1


class ColumnRule(Request):
    """How one column is sealed."""

    mode: sealing.Mode = "random"
    domain: Annotated[str, Limits(max_length=200)] = ""
    """Of columns that are joined with each other; they are `joinable`."""


class Scheme(Request):
    """What is sealed of one dataset, by column."""

    dataset: Annotated[str, Limits(min_length=1, max_length=1000)]
    columns: Annotated[dict[str, ColumnRule], Limits(min_length=1)]

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Self:
        """Errors: InvalidRequest with the field that is wrong."""
        try:
            made = cls.model_validate(document)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise errors.InvalidRequest(
                f"scheme of sealed columns: `{place}`: {first['msg'].lower()}; write `dataset` and `columns`",
                field=place,
            ) from error
        for name, rule in made.columns.items():
            if rule.domain and rule.mode != "joinable":
                raise errors.InvalidRequest(
                    f"column `{name}` has a domain and is not joinable; make its `mode` `joinable`, or leave the domain out",
                    field=f"columns.{name}",
                )
        return made

    def field(self, column: str) -> sealing.Field:
        rule = self.columns[column]
        return sealing.Field(self.dataset, column, rule.mode, rule.domain)


@dataclass(frozen=True)
class Resealed:
    """What a `reseal` did: files that were brought over and files that already were; values, and keys that are used now."""

    files: int
    untouched: int
    values: int
    key_ids: frozenset[str]


def seal_frame(rows: pl.DataFrame, scheme: Scheme, cipher: sealing.Cipher) -> pl.DataFrame:
    """The frame with the scheme's columns sealed.

    Errors: SchemaMismatch for a column that is not there or of a type that is not sealed; Conflict for one that is sealed.
    """
    sealed = []
    for name in scheme.columns:
        if name not in rows.columns:
            raise errors.SchemaMismatch(
                f"column `{name}` is to be sealed and `{scheme.dataset}` has none; correct the scheme",
                feature=name,
                expected="a column",
                got="none",
            )
        if sealing.is_sealed(rows[name]):
            raise errors.Conflict(
                f"column `{name}` of `{scheme.dataset}` is sealed already; open it first",
                resource="column",
                name=name,
            )
        sealed.append(cipher.seal(rows[name], scheme.field(name)))
    return rows.with_columns(sealed)


def open_frame(
    rows: pl.DataFrame, scheme: Scheme, dtypes: Mapping[str, pl.DataType], cipher: sealing.Cipher
) -> pl.DataFrame:
    """The frame with those of the scheme's columns opened that it has. Errors: Misconfigured, CorruptArtifact."""
    opened = [
        cipher.open(rows[name], scheme.field(name), dtypes[name])
        for name in scheme.columns
        if name in rows.columns
    ]
    return rows.with_columns(opened)


def seal_arrow(table: pa.Table, scheme: Scheme, cipher: sealing.Cipher) -> pa.Table:
    """As :func:`seal_frame`, Arrow in and out; the table's metadata says what is sealed."""
    rows = _frame(table)
    dtypes = {name: rows.schema[name] for name in scheme.columns if name in rows.columns}
    made = seal_frame(rows, scheme, cipher).to_arrow()
    kept = {**(table.schema.metadata or {}), _METADATA.encode(): _described(scheme, dtypes).encode()}
    return made.replace_schema_metadata(kept)


def open_arrow(table: pa.Table, cipher: sealing.Cipher) -> pa.Table:
    """A table of :func:`seal_arrow` again as it was. Errors: as :func:`read`."""
    kept = dict(table.schema.metadata or {})
    described = kept.pop(_METADATA.encode(), None)
    if described is None:
        return table
    scheme, dtypes = _parse(described.decode(), "table")
    return open_frame(_frame(table), scheme, dtypes, cipher).to_arrow().replace_schema_metadata(kept or None)


def write(rows: pl.DataFrame, path: Path, scheme: Scheme, cipher: sealing.Cipher) -> None:
    """A Parquet file with sealed columns, whole or not at all. Statistics are left out: they would be of other values."""
    dtypes = {name: rows.schema[name] for name in scheme.columns if name in rows.columns}
    _write_sealed(seal_frame(rows, scheme, cipher), path, _described(scheme, dtypes))


def read(path: Path, cipher: sealing.Cipher | None, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Rows of a file, opened; without a cipher sealed columns stay sealed. A file without sealed columns is read as it is.

    Errors: NotFound, CorruptArtifact, Misconfigured for a data key that is not there.
    """
    rows, described = _read_sealed(path, columns)
    if described is None or cipher is None:
        return rows
    return open_frame(rows, *_parse(described, path.name), cipher)


def reseal(folder: Path, cipher: sealing.Cipher) -> Resealed:
    """Bring every Parquet file below `folder` over to the newest data key, one at a time; what is there already stays.

    Each file is replaced whole: readers see the old one or the new one, and both open. Stopped in the middle it goes on
    where it was when it is asked again. One at a time for a folder.
    Errors: Conflict for a published folder, whose manifest names its bytes; those of :func:`read`.
    """
    files = untouched = values = 0
    used: set[str] = set()
    for manifest in folder.rglob(folders.MANIFEST):
        raise errors.Conflict(
            f"`{manifest.parent}` is published under the digests of its files; make it again, which seals by the newest key",
            resource="folder",
            name=str(manifest.parent),
        )
    for path in sorted(folder.rglob("*.parquet")):
        rows, described = _read_sealed(path, None)
        if described is None:
            untouched += 1
            continue
        scheme, dtypes = _parse(described, path.name)
        now = frozenset().union(*(sealing.key_ids(rows[name]) for name in scheme.columns))
        if now <= {cipher.current}:
            untouched += 1
            used |= now
            continue
        fresh = seal_frame(open_frame(rows, scheme, dtypes, cipher), scheme, cipher)
        _write_sealed(fresh, path, described)
        files += 1
        values += sum(fresh[name].len() - fresh[name].null_count() for name in scheme.columns)
        used.add(cipher.current)
    return Resealed(files, untouched, values, frozenset(used))


def sealed_field(metadata: Mapping[bytes, bytes] | None, column: str) -> sealing.Field | None:
    """How a column of a file is sealed, by the file's metadata; None: it is not. Errors: CorruptArtifact."""
    described = (metadata or {}).get(_METADATA.encode())
    if described is None:
        return None
    scheme, _ = _parse(described.decode(), "file")
    return scheme.field(column) if column in scheme.columns else None


def _read_sealed(path: Path, columns: Sequence[str] | None) -> tuple[pl.DataFrame, str | None]:
    try:
        described = pl.read_parquet_metadata(path).get(_METADATA)
        return pl.read_parquet(path, columns=None if columns is None else list(columns)), described
    except FileNotFoundError as error:
        raise errors.NotFound(f"no file `{path}`; make it", resource="parquet", name=str(path)) from error
    except (pl.exceptions.PolarsError, OSError) as error:
        raise errors.CorruptArtifact(
            f"`{path.name}` cannot be read: {error}; restore it",
            artifact=str(path),
            expected="Parquet",
            got="other bytes",
        ) from error


def _write_sealed(rows: pl.DataFrame, path: Path, described: str) -> None:
    def fill(fresh: Path) -> None:
        rows.write_parquet(fresh, metadata={_METADATA: described}, statistics=False)

    durable.place_file(path, fill)


def _described(scheme: Scheme, dtypes: Mapping[str, pl.DataType]) -> str:
    types = {name: _typed(dtype) for name, dtype in dtypes.items()}
    return canonical.dumps(
        {"version": _VERSION, "scheme": scheme.model_dump(mode="json"), "types": types}
    ).decode()


def _parse(described: str, where: str) -> tuple[Scheme, dict[str, pl.DataType]]:
    try:
        document = json.loads(described)
        if document["version"] != _VERSION:
            raise ValueError(f"version {document['version']}")
        scheme = Scheme.parse(document["scheme"])
        return scheme, {name: _untyped(document["types"][name]) for name in scheme.columns}
    except (ValueError, KeyError, TypeError, errors.InvalidRequest) as error:
        raise errors.CorruptArtifact(
            f"what `{where}` says of its sealed columns cannot be read: {error}; restore it",
            artifact=where,
            expected=f"version {_VERSION}",
            got="another content",
        ) from error


def _typed(dtype: pl.DataType) -> str:
    if isinstance(dtype, pl.Datetime):
        return f"Datetime {dtype.time_unit} {dtype.time_zone or ''}".rstrip()
    if isinstance(dtype, pl.Duration):
        return f"Duration {dtype.time_unit}"
    return "String" if dtype in (pl.Categorical, pl.Enum) else str(dtype)


_PLAIN: Final[Mapping[str, type[pl.DataType]]] = {
    t.__name__: t
    for t in (
        pl.String, pl.Boolean, pl.Binary, pl.Date, pl.Time, pl.Float32, pl.Float64, pl.Int8, pl.Int16, pl.Int32, pl.Int64,
        pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64,
    )
}  # fmt: skip


def _untyped(name: str) -> pl.DataType:
    """Errors: KeyError, ValueError."""
    kind, *rest = name.split()
    if kind == "Datetime":
        return pl.Datetime(_unit(rest[0]), rest[1] if len(rest) > 1 else None)
    if kind == "Duration":
        return pl.Duration(_unit(rest[0]))
    return _PLAIN[kind]()


def _unit(name: str) -> Any:
    if name not in ("ms", "us", "ns"):
        raise ValueError(f"unit {name}")
    return name


def _frame(table: pa.Table) -> pl.DataFrame:
    made = pl.from_arrow(table)
    assert isinstance(made, pl.DataFrame)  # of a table always
    return made
