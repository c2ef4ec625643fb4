"""A Feast data source that is a SQL query over Parquet of the lake."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import polars as pl
from feast import RepoConfig, ValueType, type_map
from feast.credentials import TAG_PREFIX, ConnectionRef
from feast.data_source import DataSource
from feast.protos.feast.core.DataSource_pb2 import DataSource as DataSourceProto

from mainspring.core import canonical, errors
from mainspring.core.features import lake, sql_query
from mainspring.core.features.feast_store import credentials

__all__ = ["SqlSource"]

_CLASS: Final = "mainspring.core.features.feast_store.sql_source.SqlSource"


class SqlSource(DataSource):  # type: ignore[misc]
    """What `query` selects from `tables`: names of Parquet files or folders, relative to the repository, or `s3://`.

        SqlSource(
            name="driver_days", timestamp_field="event_timestamp", tables={"trips": "data/trips/"},
            query="SELECT driver, day AS event_timestamp, count(*)::BIGINT AS trips FROM trips GROUP BY ALL",
        )

    Objects are read from `s3_endpoint_override` with the credentials of `connection_ref`, as a FileSource's; without them
    from where and with what the `AWS_*` variables say.

    Only MainspringOfflineStore reads it. Errors: InvalidRequest for an empty query or no name.
    """

    def __init__(
        self,
        *,
        name: str,
        query: str,
        tables: Mapping[str, str],
        timestamp_field: str,
        created_timestamp_column: str = "",
        field_mapping: Mapping[str, str] | None = None,
        description: str = "",
        tags: Mapping[str, str] | None = None,
        owner: str = "",
        s3_endpoint_override: str = "",
        connection_ref: ConnectionRef | None = None,
    ) -> None:
        for what, value in (("name", name), ("query", query.strip()), ("timestamp_field", timestamp_field)):
            if not value:
                raise errors.InvalidRequest(f"a SQL source has an empty `{what}`; give it one", field=what)
        super().__init__(
            name=name,
            timestamp_field=timestamp_field,
            created_timestamp_column=created_timestamp_column,
            field_mapping=dict(field_mapping or {}),
            description=description,
            tags=dict(tags or {}),
            owner=owner,
            connection_ref=connection_ref,
        )
        self.query = query
        self.tables = dict(tables)
        self.s3_endpoint_override = s3_endpoint_override

    def source_type(self) -> Any:
        """Feast's kind for sources that it does not know."""
        return DataSourceProto.CUSTOM_SOURCE

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SqlSource):
            return False
        return bool(super().__eq__(other)) and self._asked() == other._asked()

    def __hash__(self) -> int:
        return int(super().__hash__())

    @staticmethod
    def from_proto(data_source: Any) -> SqlSource:
        """Errors: CorruptArtifact if the registry holds something else."""
        try:
            options = json.loads(data_source.custom_options.configuration)
            query, tables = options["query"], options["tables"]
            endpoint = options.get("s3_endpoint_override", "")
        except (ValueError, KeyError, TypeError) as error:
            raise errors.CorruptArtifact(
                f"SQL source `{data_source.name}` of the registry does not read: {error}; apply it again",
                artifact=str(data_source.name),
                expected="a query and tables",
                got=str(error),
            ) from error
        tags = dict(data_source.tags)
        return SqlSource(
            name=data_source.name,
            query=query,
            tables=tables,
            timestamp_field=data_source.timestamp_field,
            created_timestamp_column=data_source.created_timestamp_column,
            field_mapping=dict(data_source.field_mapping),
            description=data_source.description,
            # Feast keeps the reference among the tags.
            tags={name: value for name, value in tags.items() if not name.startswith(TAG_PREFIX)},
            owner=data_source.owner,
            s3_endpoint_override=endpoint,
            connection_ref=ConnectionRef.from_tags(tags),
        )

    def _asked(self) -> dict[str, Any]:
        """What is of this source alone, as the registry keeps it."""
        asked: dict[str, Any] = {"query": self.query, "tables": self.tables}
        return asked | (
            {"s3_endpoint_override": self.s3_endpoint_override} if self.s3_endpoint_override else {}
        )

    def _to_proto_impl(self) -> Any:
        options = canonical.dumps(self._asked())
        return DataSourceProto(
            name=self.name,
            type=DataSourceProto.CUSTOM_SOURCE,
            data_source_class_type=_CLASS,
            custom_options=DataSourceProto.CustomSourceOptions(configuration=options),
            timestamp_field=self.timestamp_field,
            created_timestamp_column=self.created_timestamp_column,
            field_mapping=self.field_mapping,
            description=self.description,
            tags=self.tags,
            owner=self.owner,
        )

    def rows(self, config: RepoConfig) -> sql_query.SqlQuery:
        """The query over the repository's files."""
        root = Path(config.repo_path or ".")
        options = credentials.storage_options(self, self.s3_endpoint_override)
        # A path that ends with a slash stays a folder.
        tables = {
            name: lake.Parquet(path, options)
            if path.startswith("s3://")
            else lake.Parquet(str(root / path) + ("/" if path.endswith("/") else ""))
            for name, path in self.tables.items()
        }
        return sql_query.SqlQuery(self.name, self.query, tables)

    def validate(self, config: RepoConfig) -> None:
        """Errors: as the query's scan; SchemaMismatch if it selects no time column of the declared name."""
        rows = self.rows(config).scan()
        for time in (self.timestamp_field, self.created_timestamp_column):
            if time:
                lake.as_time(rows, self._original(time), what=f"SQL source `{self.name}`")

    def get_table_column_names_and_types(self, config: RepoConfig) -> Iterable[tuple[str, str]]:
        """Column names and Arrow types, from which Feast infers a view's fields."""
        none = pl.DataFrame(schema=self.rows(config).scan().collect_schema())
        schema = none.to_arrow(compat_level=pl.CompatLevel.oldest()).schema
        # Feast reads `large_string` as JSON.
        return [(field.name, str(field.type).replace("large_", "")) for field in schema]

    @staticmethod
    def source_datatype_to_feast_value_type() -> Callable[[str], ValueType]:
        """As for files: by the name of the Arrow type."""
        found: Callable[[str], ValueType] = type_map.pa_to_feast_value_type
        return found

    def get_table_query_string(self) -> str:
        """The query, to stand in the place of a table."""
        return f"({self.query.rstrip().rstrip(';')})"

    def _original(self, name: str) -> str:
        return next((old for old, new in self.field_mapping.items() if new == name), name)
