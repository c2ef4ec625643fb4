"""`text/event-stream`: predictions as they are made, then `end`, or `error` if they break off."""

from __future__ import annotations

from typing import Any, Final

import orjson

from mainspring.serving import plane

MEDIA_TYPE: Final = "text/event-stream"


def predictions(given: plane.Given, first: int) -> bytes:
    """One batch of answers; `first`: the number of its first row, from 0 on."""
    return event(
        "predictions",
        {
            "first": first,
            "model_version": given.digest,
            "role": given.role,
            "predictions": given.rows(),
        },
    )


def event(name: str, data: Any) -> bytes:
    """JSON in one line, so that it is one `data` field."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(data))
