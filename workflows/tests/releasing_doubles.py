"""What stands for serving and the control API in tests of a release's decisions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from temporalio import activity
from workflows_doubles import Endpoint

from mainspring.core import errors
from mainspring.core.contracts import deployment, releasing
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows.releasing import messages


def release_request(**changes: Any) -> releasing.ReleaseRequest:
    values: dict[str, Any] = {
        "run_id": "run_release",
        "project": "flight-delay",
        "requested_by": "ana",
        "endpoint": "flight-delay",
        "reason": "nobody asks",
    }
    return releasing.ReleaseRequest.model_validate(values | changes)


@dataclass
class Released:
    """The release of an endpoint; `failing`: what it raises."""

    endpoint: Endpoint = field(default_factory=Endpoint)
    failing: errors.MainspringError | None = None
    asked: list[messages.Release] = field(default_factory=list)

    def activities(self) -> list[Callable[..., Any]]:
        """Its own, beside the endpoint's."""

        @activity.defn(name=messages.RELEASE)
        async def release(asked: messages.Release) -> deployment.EndpointReleased:
            self.asked.append(asked)
            if self.failing is not None:
                raise temporal_errors.to_failure(self.failing)
            assert self.endpoint.traffic is not None
            gone, self.endpoint.traffic = self.endpoint.traffic, None
            return deployment.EndpointReleased(
                endpoint=gone.endpoint, version=gone.version, bundles=[gone.stable]
            )

        return [release]
