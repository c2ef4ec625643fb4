"""What the release says to its activity, by name; the look at the endpoint is the deployment's."""

from __future__ import annotations

from typing import Final

from mainspring.core.contracts.base import Message
from mainspring.core.contracts.releasing import ReleaseRequest

RELEASE: Final = "mainspring.endpoint.release.v1"


class Release(Message):
    """Take away the traffic of `version`, which was looked at."""

    request: ReleaseRequest
    version: int
