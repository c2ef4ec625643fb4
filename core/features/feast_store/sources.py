"""Feast's data sources as what the offline store reads."""

from __future__ import annotations

import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from feast import FileSource, RepoConfig

from mainspring.core import canonical, errors
from mainspring.core.features import lake, segment_file, segments
from mainspring.core.features.feast_store import credentials, sql_source

__all__ = ["parquet", "rows_of", "segments_of"]


def rows_of(config: RepoConfig, source: Any) -> lake.Rows:
    """The rows of a source of files or of SQL. Errors: InvalidRequest for another kind of source."""
    return source.rows(config) if isinstance(source, sql_source.SqlSource) else parquet(config, source)


def parquet(config: RepoConfig, source: Any) -> lake.Parquet:
    """The files of a source. Errors: InvalidRequest for another kind of source."""
    if not isinstance(source, FileSource):
        raise errors.InvalidRequest(
            f"source `{getattr(source, 'name', None)}` is a {type(source).__name__}, expected FileSource or SqlSource;"
            " give the view files, or keep Feast's own store for it",
            field="source",
        )
    uri = FileSource.get_uri_for_file_path(config.repo_path, source.path)
    options = {}
    if uri.startswith("s3://"):
        options = credentials.storage_options(source, source.s3_endpoint_override)
    return lake.Parquet(uri, options)


def segments_of(
    config: RepoConfig, source: Any, files: lake.Rows, keys: Sequence[str]
) -> segments.Current | None:
    """The source's segments for joins by `keys`, None where the store is configured without, and for a query.

    With `stale_segments: refresh` they are made or brought up to date here, what the store then does is logged.
    Errors: as :meth:`segments.Segments.current`.
    """
    store = config.offline_store
    if store.segments is None or not isinstance(files, lake.Parquet):
        return None
    original = {new: old for old, new in source.field_mapping.items()}
    created = source.created_timestamp_column or None
    order = segment_file.Order(
        keys=tuple(original.get(key, key) for key in keys),
        event=original.get(source.timestamp_field, source.timestamp_field),
        created=original.get(created, created) if created else None,
    )
    # Views of one source and other keys have other segments.
    parts = [files.uri, list(order.keys), order.event, order.created]
    if endpoint := files.storage_options.get("aws_endpoint_url"):
        parts.append(endpoint)
    digest = canonical.digest(parts)
    name = f"{urllib.parse.quote(source.name, safe='')[:80]}-{digest.removeprefix('sha256:')[:12]}"
    kept = segments.Segments(_folder(config, store.segments) / name, files, order)
    return kept.current(refresh=store.stale_segments == "refresh")


def _folder(config: RepoConfig, path: str) -> Path:
    return Path(path) if config.repo_path is None else Path(config.repo_path) / path
