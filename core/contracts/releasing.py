"""What takes an endpoint out of service, and what it answers. Workflow type: `mainspring.ReleaseEndpoint.v1`."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import StringConstraints

from mainspring.core.contracts.base import Digest, Message, Request, Slug
from mainspring.core.contracts.training import Stage, StepReport

__all__ = ["RELEASE_WORKFLOW", "ReleaseOptions", "ReleaseRequest", "ReleaseResult"]

RELEASE_WORKFLOW: Final = "mainspring.ReleaseEndpoint.v1"

_Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=1000)]


class ReleaseOptions(Request):
    """What a person says of it, beside the project and the endpoint."""

    reason: _Reason


class ReleaseRequest(Message):
    """Take one endpoint out of service."""

    run_id: str
    """`run_...`; also the idempotency key and the Temporal workflow id."""
    project: Slug
    environment: str = "dev"
    requested_by: str
    endpoint: Slug
    reason: _Reason


class ReleaseResult(Message):
    """Answer of the workflow."""

    run_id: str
    stage: Stage
    """`done`; a run that fails or is cancelled ends with an error."""
    endpoint: Slug
    traffic_version: int = 0
    """Of the traffic that was in force last; 0: it never had any."""
    bundles: list[Digest] = []
    """Those that answered there."""
    steps: list[StepReport] = []
    message: str = ""
