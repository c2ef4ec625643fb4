"""Feast's offline store over Parquet and SQL over Parquet: the point-in-time join of `matching`, one view at a time, rows never dropped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
from feast import FeatureView, OnDemandFeatureView, RepoConfig
from feast.data_source import DataSource
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL
from feast.infra.offline_stores import offline_utils
from feast.infra.offline_stores.file_source import FileLoggingDestination
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.repo_config import FeastConfigBaseModel

from mainspring.core import errors
from mainspring.core.features import frames, lake, sql_query
from mainspring.core.features.feast_store import declared, joining, on_demand, sources

__all__ = ["MainspringOfflineStore", "MainspringOfflineStoreConfig", "MainspringRetrievalJob"]

#: The key of rows that have none, as Feast materialises them.
_DUMMY: Final = pl.lit(DUMMY_ENTITY_VAL).alias(DUMMY_ENTITY_ID)

_TYPE: Final = "mainspring.core.features.feast_store.MainspringOfflineStore"


class MainspringOfflineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """`offline_store: {type: mainspring.core.features.feast_store.MainspringOfflineStore, segments: data/segments}`."""

    type: Literal["mainspring.core.features.feast_store.MainspringOfflineStore"] = _TYPE

    segments: str | None = None
    """A folder, relative to the repository, in which sources of files, local or remote, are kept as sorted segments, which historical
    features are then joined from: about as much disk again as uncompressed rows take. None: from Parquet each time."""

    stale_segments: Literal["refresh", "refuse"] = "refresh"
    """What a question does that finds segments absent, older than their source, or damaged: make them, or fail with
    NotFound, Conflict or CorruptArtifact and leave that to a job that calls `Segments.refresh`."""


class MainspringRetrievalJob(RetrievalJob):  # type: ignore[misc]
    """A question that is answered when it is read, once."""

    def __init__(
        self,
        answer: Callable[[], pl.DataFrame],
        config: RepoConfig,
        *,
        full_feature_names: bool = False,
        computed: Sequence[on_demand.View] = (),
        metadata: RetrievalMetadata | None = None,
    ) -> None:
        self._answer = answer
        self._config = config
        self._full_feature_names = full_feature_names
        self._computed = computed
        self._metadata = metadata
        self._found: pl.DataFrame | None = None

    def to_polars(self) -> pl.DataFrame:
        """The answer before on-demand views."""
        if self._found is None:
            self._found = self._answer()
        return self._found

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        found = self.to_polars()
        table = found.to_arrow(compat_level=pl.CompatLevel.oldest())
        for view in self._computed:
            given = {}
            for wanted in view.inputs:
                name = wanted.given if self._full_feature_names else wanted.names[0]
                if name in found.columns:
                    given[wanted.given] = found[name]
            for name, values in on_demand.run(view, given, found.height).items():
                label = view.label(name, self._full_feature_names)
                table = table.append_column(label, declared.arrow(values, view.types[name]))
        return table

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        return self._to_arrow_internal().to_pandas()

    @property
    def full_feature_names(self) -> bool:
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        """None are left to Feast: they are computed as the online store computes them."""
        return []

    @property
    def metadata(self) -> RetrievalMetadata | None:
        return self._metadata

    def persist(self, storage: Any, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        """Write the answer, on-demand views included, where the saved dataset says.

        Errors: Feast's SavedDatasetLocationAlreadyExists; DependencyDown if the disk or store refuses.
        """
        files = sources.parquet(self._config, storage.to_data_source())
        if not allow_overwrite and not files.is_remote and Path(files.uri).exists():
            raise SavedDatasetLocationAlreadyExists(location=files.uri)
        files.write(_polars(self.to_arrow()))


class MainspringOfflineStore(OfflineStore):  # type: ignore[misc]
    """Point-in-time joins over Parquet files and folders, local or S3-compatible, and over SQL on local ones (SqlSource).

    Rows:   every entity row comes back once, where it was, whatever it finds.
    TTL:    a row whose age is exactly the view's TTL is alive; an older newest row is null.
    Ties:   of one event time the latest created time wins, then the later row of the file.
    Errors: NotFound for absent files, CorruptArtifact for damaged ones, SchemaMismatch for absent columns and
            wrong types, InvalidRequest for what is not supported. They come when the job is read.
    """

    supports_filter_by_created_timestamp = True

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str | None,
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        **options: Any,
    ) -> MainspringRetrievalJob:
        """Each entity row with what every view would have answered at its time; `entity_df` may be DuckDB SQL."""
        if entity_df is None:
            raise errors.InvalidRequest(
                "features of a time range without entity rows are not supported; give `entity_df`",
                field="entity_df",
            )
        frame = _selected(entity_df) if isinstance(entity_df, str) else entity_df
        as_of = offline_utils.infer_event_timestamp_from_entity_df(
            dict(zip(frame.columns, frame.dtypes, strict=True))
        )
        asked = joining.entities(frame, as_of)
        known_only = bool(options.get("filter_by_created_timestamp"))

        def answer() -> pl.DataFrame:
            joined = [asked]
            for view in feature_views:
                joined.append(
                    joining.join(config, asked, as_of, view, feature_refs, full_feature_names, known_only)
                )
            return pl.concat(joined, how="horizontal")

        return MainspringRetrievalJob(
            answer,
            config,
            full_feature_names=full_feature_names,
            computed=[
                on_demand.define(view, feature_refs, feature_views)
                for view in OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
            ],
            metadata=RetrievalMetadata(
                features=feature_refs,
                keys=[c for c in asked.columns if c != as_of],
                min_event_timestamp=asked[as_of].min(),
                max_event_timestamp=asked[as_of].max(),
            ),
        )

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> MainspringRetrievalJob:
        """The newest row of each key within [start_date, end_date]; of equal times as the join has it.

        Rows without a key are left out: no store could give them to anybody.
        """
        files = sources.rows_of(config, data_source)

        def answer() -> pl.DataFrame:
            times = [timestamp_field, *([created_timestamp_column] if created_timestamp_column else [])]
            rows = _within(files, times, start_date, end_date)
            rows = rows.select(*_checked(rows, files, [*join_key_columns, *feature_name_columns]), *times)
            if join_key_columns:
                # Stable, and nulls of the created time come first: the last of a key is its newest.
                rows = rows.drop_nulls(join_key_columns).sort(times, maintain_order=True)
                rows = rows.unique(join_key_columns, keep="last")
            else:
                rows = rows.sort(times, maintain_order=True).tail(1).with_columns(_DUMMY)
            with files.named():
                return rows.collect()

        return MainspringRetrievalJob(answer, config)

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> MainspringRetrievalJob:
        """Every row within [start_date, end_date], in the order of the files."""
        files = sources.rows_of(config, data_source)

        def answer() -> pl.DataFrame:
            times = [timestamp_field, *([created_timestamp_column] if created_timestamp_column else [])]
            rows = _within(files, times, start_date, end_date)
            rows = rows.select(*_checked(rows, files, [*join_key_columns, *feature_name_columns]), *times)
            if not join_key_columns:
                rows = rows.with_columns(_DUMMY)
            with files.named():
                return rows.collect(engine="streaming")

        return MainspringRetrievalJob(answer, config)

    @staticmethod
    def offline_write_batch(
        config: RepoConfig,
        feature_view: FeatureView,
        table: pa.Table,
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Append rows to the view's source: a folder gets one more file, a file is replaced by old and new rows.

        Errors: SchemaMismatch unless columns and types are those of the source; DependencyDown if the disk refuses.
        """
        files = sources.parquet(config, feature_view.batch_source)
        new = _polars(table)
        old = files.scan()
        schema = old.collect_schema()
        frames.check(
            new.schema, {name: new.schema.get(name, dtype) for name, dtype in schema.items()}, what="rows"
        )
        if extra := [name for name in new.columns if name not in schema]:
            raise errors.SchemaMismatch(
                f"rows have a column `{extra[0]}` that `{files.uri}` has not; drop it or migrate the source",
                feature=extra[0],
                expected=str(list(schema)),
                got=str(new.columns),
            )
        new = new.select(*(_cast(new, name, dtype) for name, dtype in schema.items()))
        if files.is_folder:
            files.write(new)
        else:
            with files.named():
                files.write(pl.concat([old.collect(), new]))
        if progress:
            progress(new.height)

    @staticmethod
    def write_logged_features(
        config: RepoConfig, data: pa.Table | Path, source: Any, logging_config: Any, registry: Any
    ) -> None:
        """Append served rows to the log's folder. Errors: InvalidRequest for a destination that is no folder of files."""
        destination = logging_config.destination
        if not isinstance(destination, FileLoggingDestination):
            raise errors.InvalidRequest(
                f"logs go to a {type(destination).__name__}, expected FileLoggingDestination; change the service",
                field="logging_config",
            )
        rows = pl.read_parquet(data / "**/*.parquet") if isinstance(data, Path) else _polars(data)
        files = sources.parquet(config, destination.to_data_source())
        lake.Parquet(files.uri.rstrip("/") + "/", files.storage_options).write(rows)


def _selected(sql: str) -> pd.DataFrame:
    """Entity rows by SQL, in a database of its own. Errors: InvalidRequest for what DuckDB refuses."""
    with sql_query.SqlQuery("of entity rows", sql).named(), duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET python_enable_replacements = false")
        return connection.sql(sql).df()


def _polars(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


def _within(
    files: lake.Rows, times: Sequence[str], start: datetime | None, end: datetime | None
) -> pl.LazyFrame:
    rows = files.scan()
    rows = rows.with_columns(*(lake.as_time(rows, t, what=f"`{files.uri}`") for t in times))
    event = pl.col(times[0])
    if start is not None:
        rows = rows.filter(event >= _utc(start))
    return rows if end is None else rows.filter(event <= _utc(end))


def _utc(time: datetime) -> pl.Expr:
    aware = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    return pl.lit(aware).cast(frames.TIME)


def _checked(rows: pl.LazyFrame, files: lake.Rows, columns: Sequence[str]) -> list[str]:
    schema = rows.collect_schema()
    frames.check(schema, {name: schema.get(name, "a column") for name in columns}, what=f"`{files.uri}`")
    return list(columns)


def _cast(new: pl.DataFrame, name: str, dtype: pl.DataType) -> pl.Expr:
    """A pushed column in the source's type where nothing is lost: times of another unit, shorter numbers."""
    got = new.schema[name]
    if got == dtype:
        return pl.col(name)
    if isinstance(got, pl.Datetime) and isinstance(dtype, pl.Datetime):
        time = lake.as_time(new.lazy(), name, what="rows")
        time = time if dtype.time_zone else time.dt.replace_time_zone(None)
        return time.dt.cast_time_unit(dtype.time_unit).alias(name)
    if isinstance(got, pl.Null) or (got.is_numeric() and dtype.is_float()):
        return pl.col(name).cast(dtype)
    if got.is_integer() and dtype.is_integer():
        return pl.col(name).cast(dtype, strict=True)
    raise errors.SchemaMismatch(
        f"column `{name}` of rows has type {got}, the source has {dtype}; cast it before the push",
        feature=name,
        expected=str(dtype),
        got=str(got),
    )
