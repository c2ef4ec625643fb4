"""What a request for a path needs: the scope of its caller, and whose limits it counts against."""

from __future__ import annotations

import functools
from typing import Final, NamedTuple

from mainspring.core.contracts import access
from mainspring.serving.http import feature_reads, v2_infer

#: Probes, metrics and the description: whoever reaches the port may read them.
OPEN: Final = frozenset(
    {
        *("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/docs/oauth2-redirect", "/redoc"),
        *("/v2/health/live", "/v2/health/ready"),
    }
)

#: What limits call reads of features.
FEATURES: Final = "features"

_ASKING: Final = (":predict", ":explain")
_ENDPOINTS: Final = "/v1/endpoints/"
_QUARANTINE: Final = "/v1/features/quarantine/"
_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Door(NamedTuple):
    """`target` is "" where nothing is counted."""

    scope: access.Scope
    target: str


@functools.lru_cache(maxsize=4096)
def door_of(method: str, path: str) -> Door | None:
    """None: open to everybody. What is not known here is a change, which needs more than a question does."""
    if path in OPEN:
        return None
    if method == "POST":
        asked = v2_infer.model_of(path)
        if asked is not None:
            return Door("predict", asked[0])
        if path in feature_reads.PATHS:
            return Door("read", FEATURES)
        if path.startswith(_ENDPOINTS) and path.endswith(_ASKING):
            return Door("predict", path[len(_ENDPOINTS) :].rpartition(":")[0])
        # An approver's, which the route itself checks; and a question that is asked by POST.
        if (path.startswith(_QUARANTINE) and path.endswith(":release")) or path == "/v2/repository/index":
            return Door("read", "")
    return Door("read" if method in _READING else "admin", "")
