"""Feast's data sources as what the offline store reads."""

from __future__ import annotations

from typing import Any

from feast import FileSource, RepoConfig

from mainspring.core import errors
from mainspring.core.features import lake

__all__ = ["parquet"]


def parquet(config: RepoConfig, source: Any) -> lake.Parquet:
    """The files of a source. Errors: InvalidRequest for another kind of source."""
    if not isinstance(source, FileSource):
        raise errors.InvalidRequest(
            f"source `{getattr(source, 'name', None)}` is a {type(source).__name__}, expected FileSource;"
            " give the view files, or keep Feast's own store for it",
            field="source",
        )
    uri = FileSource.get_uri_for_file_path(config.repo_path, source.path)
    options: dict[str, str] = {}
    if uri.startswith("s3://"):
        options = {k.lower(): v for k, v in (source.resolve_credentials() or {}).items() if v}
        if source.s3_endpoint_override:
            options |= {"aws_endpoint_url": source.s3_endpoint_override}
            if source.s3_endpoint_override.startswith("http://"):
                options["aws_allow_http"] = "true"
    return lake.Parquet(uri, options)
