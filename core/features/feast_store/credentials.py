"""With what a data source's objects are read: its own endpoint and credentials, else those of the environment."""

from __future__ import annotations

from typing import Any

__all__ = ["storage_options"]


def storage_options(source: Any, endpoint: str | None) -> dict[str, str]:
    """Options of Polars' and `objects`' client. What is not here they take from `AWS_*` variables.

    Secrets come by the source's `connection_ref`, which the registry keeps; they themselves are never in it.
    """
    options = {name.lower(): value for name, value in (source.resolve_credentials() or {}).items() if value}
    if endpoint:
        options["aws_endpoint_url"] = endpoint
        if endpoint.startswith("http://"):
            options["aws_allow_http"] = "true"
    return options
