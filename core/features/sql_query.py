"""Rows that a SQL query makes of Parquet files: read-only, by DuckDB, from the named tables and nothing else.

DuckDB runs it in a database of its own in memory, in which each table is a view of its files. Other files, the network,
extensions and the program's own variables are out of reach, and the configuration is locked. Objects of an S3-compatible
store are files of a file system that has those of the tables and no others (`object_files`).
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import duckdb
import polars as pl

from mainspring.core import errors
from mainspring.core.features import lake, object_files

__all__ = ["SqlQuery"]

_BATCH_ROWS: Final = 100_000
#: What DuckDB says of the second file of a table or a later one: it opens only the first for the view.
_DAMAGED: Final = ("No magic bytes found", "too small to be a Parquet file")


@dataclass(frozen=True)
class SqlQuery:
    """The query called `name`; `tables` are what it may select from, each Parquet, local or remote."""

    name: str
    text: str
    tables: Mapping[str, lake.Parquet] = field(default_factory=dict)

    @property
    def uri(self) -> str:
        """How errors call it."""
        return f"SQL source {self.name}"

    def scan(self) -> pl.LazyFrame:
        """The query's rows, lazily and batch by batch; only the columns that are used are selected.

        Order:  DuckDB's; it is that of the files unless the query says otherwise.
        Errors: InvalidRequest for anything but one SELECT, and for what DuckDB refuses; NotFound and CorruptArtifact for a
        table's files; SchemaMismatch for a column of a type that no feature has; of an object store PermissionDenied,
        DependencyDown, and Conflict for an object that is replaced meanwhile. What only the rows tell comes out of
        collecting.
        """
        schema = self._schema()

        def batches(
            columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
        ) -> Iterator[pl.DataFrame]:
            selected = ", ".join(_quoted(name) for name in columns or schema)
            limit = "" if n_rows is None else f" LIMIT {n_rows}"
            with self.named(), self._connected() as connection:
                found = connection.sql(f"SELECT {selected} FROM ({self._select()}\n) AS q{limit}")
                for batch in found.to_arrow_reader(batch_size or _BATCH_ROWS):
                    frame = pl.DataFrame(batch)
                    yield frame if predicate is None else frame.filter(predicate)

        return pl.io.plugins.register_io_source(batches, schema=schema)

    @contextlib.contextmanager
    def named(self) -> Iterator[None]:
        """What goes wrong inside becomes a typed error that names this query."""
        try:
            yield
        except duckdb.CatalogException as error:
            raise self._refused(f"{_line(error)}; its tables are {sorted(self.tables)}") from error
        except duckdb.PermissionException as error:
            raise self._out_of_reach(error) from error
        except (duckdb.ProgrammingError, duckdb.NotSupportedError) as error:
            if any(words in str(error) for words in _DAMAGED):
                raise errors.CorruptArtifact(
                    f"a file of {self.uri} does not read: {_line(error)}; write it again from its source",
                    artifact=self.name,
                    expected="complete Parquet",
                    got=_line(error),
                ) from error
            raise self._refused(f"{_line(error)}; correct the query") from error
        except duckdb.DataError as error:
            raise errors.SchemaMismatch(
                f"a value of {self.uri} does not fit its type: {_line(error)}; use TRY_CAST, or clean the rows",
                feature=self.name,
                expected="values of the selected types",
                got=_line(error),
            ) from error
        except duckdb.IOException as error:
            if "No files found" in str(error):  # a file that is there would be one it may not read
                raise self._out_of_reach(error) from error
            raise errors.DependencyDown(
                f"{self.uri} cannot be read: {_line(error)}; check the disk", name=self.name
            ) from error

    def _schema(self) -> dict[str, pl.DataType]:
        with self.named(), self._connected() as connection:
            none = connection.sql(f"SELECT * FROM ({self._select()}\n) AS q LIMIT 0")
            found = dict(pl.DataFrame(none.to_arrow_table()).schema)
        for name, dtype in found.items():
            if isinstance(dtype, (pl.Decimal, pl.Int128)):
                raise errors.SchemaMismatch(
                    f"column `{name}` of {self.uri} has type {dtype}, which no feature has; cast it to BIGINT or DOUBLE",
                    feature=name,
                    expected="a feature's type",
                    got=str(dtype),
                )
        return found

    def _select(self) -> str:
        with self.named():
            statements = duckdb.extract_statements(self.text)
        kinds = [statement.type for statement in statements]
        if kinds != [duckdb.StatementType.SELECT]:
            got = ", ".join(kind.name for kind in kinds) or "no statement"
            raise self._refused(f"it is {got}, expected one SELECT; give it a query")
        return str(statements[0].query).rstrip().rstrip(";")

    @contextlib.contextmanager
    def _connected(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A locked connection whose views are the tables. Errors: NotFound, CorruptArtifact, InvalidRequest, the store's."""
        off = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
        remote = object_files.ObjectFiles()
        with duckdb.connect(":memory:", config=off) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute("SET python_enable_replacements = false")
            connection.execute(f"SET temp_directory = {_literal(tempfile.gettempdir())}")
            paths = {name: _paths(table, remote) for name, table in self.tables.items()}
            if any(table.is_remote for table in self.tables.values()):
                connection.register_filesystem(remote)
            try:
                for name, files in paths.items():
                    self._make_view(connection, name, files)
                readable = ", ".join(_literal(path) for files in paths.values() for path in files)
                connection.execute(f"SET allowed_paths = [{readable}]")
                connection.execute("SET enable_external_access = false")
                connection.execute("SET lock_configuration = true")
                yield connection
            except Exception:
                # DuckDB and Arrow make a text, or a type of theirs, of what the store said.
                if remote.failed is not None:
                    raise remote.failed from None
                raise

    def _make_view(self, connection: duckdb.DuckDBPyConnection, name: str, files: list[str]) -> None:
        listed = ", ".join(_literal(path) for path in files)
        try:
            connection.execute(f"CREATE VIEW {_quoted(name)} AS FROM read_parquet([{listed}])")
        except (duckdb.InvalidInputException, duckdb.IOException) as error:
            raise errors.CorruptArtifact(
                f"table `{name}` of {self.uri} does not read: {_line(error)}; write its files again from their source",
                artifact=self.tables[name].uri,
                expected="complete Parquet",
                got=_line(error),
            ) from error

    def _out_of_reach(self, error: Exception) -> errors.InvalidRequest:
        return self._refused(
            f"{_line(error)}; it reads its tables {sorted(self.tables)} only, name the files there"
        )

    def _refused(self, why: str) -> errors.InvalidRequest:
        return errors.InvalidRequest(f"{self.uri} is refused: {why}", field=f"{self.name}.query")


def _paths(table: lake.Parquet, remote: object_files.ObjectFiles) -> list[str]:
    """Where DuckDB opens the table's files. Errors: NotFound, the store's."""
    if table.is_remote:
        return [remote.add(found, table.storage_options) for found in table.found_objects()]
    return [str(Path(file.place).absolute()) for file in table.listed()]


def _line(error: Exception) -> str:
    """DuckDB's message without the picture of the query."""
    return " ".join(str(error).split("\n\nLINE ")[0].split())


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str | Path) -> str:
    return "'" + str(text).replace("'", "''") + "'"
