"""The entity rows of a question, and the point-in-time join of one view to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pandas as pd
import polars as pl
import pyarrow as pa
from feast import FeatureView, RepoConfig
from feast.feature_view import DUMMY_ENTITY_ID

from mainspring.core import errors
from mainspring.core.features import frames, lake, matching
from mainspring.core.features.feast_store import sources

__all__ = ["entities", "join"]

_AS_OF: Final = "__as_of"


def entities(frame: pd.DataFrame, as_of: str) -> pl.DataFrame:
    """The entity rows as they are, their time as UTC microseconds. Errors: SchemaMismatch."""
    if frame[as_of].dtype == object or pd.api.types.is_string_dtype(frame[as_of]):
        try:
            frame = frame.assign(**{as_of: pd.to_datetime(frame[as_of], utc=True)})
        except (ValueError, TypeError) as error:
            raise errors.SchemaMismatch(
                f"column `{as_of}` of entity rows holds no times: {error}; give datetimes",
                feature=as_of,
                expected="times",
                got=str(error),
            ) from error
    asked = pl.DataFrame(pa.Table.from_pandas(frame, preserve_index=False))
    asked = asked.with_columns(lake.as_time(asked.lazy(), as_of, what="entity rows"))
    if nulls := asked[as_of].null_count():
        raise errors.SchemaMismatch(
            f"column `{as_of}` of entity rows has {nulls} nulls, expected a time in every row; drop or date them",
            feature=as_of,
            expected="no null",
            got=f"{nulls} nulls",
        )
    return asked


def join(
    config: RepoConfig,
    asked: pl.DataFrame,
    as_of: str,
    view: FeatureView,
    refs: Sequence[str],
    full_feature_names: bool,
    known_only: bool,
) -> pl.DataFrame:
    """The asked features of one view, a row for each of `asked`.

    Errors: SchemaMismatch, and what reading the source or its segments raises.
    """
    source = view.batch_source
    prefix = f"{view.projection.name_to_use()}:"
    features = list(dict.fromkeys(ref[len(prefix) :] for ref in refs if ref.startswith(prefix)))
    keys = [c.name for c in view.entity_columns if c.name != DUMMY_ENTITY_ID]
    theirs = {key: view.projection.join_key_map.get(key, key) for key in keys}
    frames.require(asked.schema, theirs.values(), what="entity rows")
    created = source.created_timestamp_column or None
    times = matching.Times(_AS_OF, source.timestamp_field, created, view.ttl or None, known_only)
    files = sources.rows_of(config, source)
    what = f"`{files.uri}` of view `{view.name}`"
    sorted_rows = sources.segments_of(config, source, files, keys)
    rows = files.scan() if sorted_rows is None else pl.LazyFrame()
    schema = rows.collect_schema() if sorted_rows is None else sorted_rows.schema
    renamed = {old: new for old, new in source.field_mapping.items() if old in schema}
    schema = pl.Schema({renamed.get(name, name): dtype for name, dtype in schema.items()})
    frames.require(schema, (*keys, *features), what=what)
    # Under names of their own: a view's key may be called as another column of the entity rows.
    left = asked.select(
        pl.col(as_of).alias(_AS_OF),
        *(_key(asked.schema[name], schema[key], name, f"__{key}") for key, name in theirs.items()),
    )
    left_keys = [f"__{key}" for key in keys]
    if sorted_rows is not None:
        original = {new: old for old, new in renamed.items()}
        columns = {name: original.get(name, name) for name in features}
        found = sorted_rows.match(
            left, keys=left_keys, times=times, columns=list(dict.fromkeys(columns.values()))
        )
        found = found.select(pl.col(old).alias(new) for new, old in columns.items())
    else:
        rows = rows.rename(renamed)
        rows = rows.with_columns(*(lake.as_time(rows, t, what=what) for t in (times.event, created) if t))
        rows = rows.with_columns(*(_key(schema[key], schema[key], key, f"__{key}") for key in keys))
        with files.named():
            found = matching.match(left, rows, keys=left_keys, times=times, columns=features)
    if full_feature_names:
        base = view.projection.name_alias or view.name
        found = found.rename({name: f"{base}__{name}" for name in features})
    return found


def _key(dtype: pl.DataType, wanted: pl.DataType, name: str, alias: str) -> pl.Expr:
    """A key in the type in which both sides meet. Errors: SchemaMismatch for types that never would."""
    meeting = matching.key_type(wanted)
    if matching.key_type(dtype) == meeting or isinstance(dtype, pl.Null):
        return pl.col(name).cast(meeting).alias(alias)
    raise errors.SchemaMismatch(
        f"key `{name}` of entity rows has type {dtype}, the view's rows have {wanted}; cast it",
        feature=name,
        expected=str(wanted),
        got=str(dtype),
    )
