"""`/api/v1/policies:dry-run`."""

from __future__ import annotations

from litestar import post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from mainspring.core.contracts import policies
from mainspring.platform import plane as control_plane
from mainspring.platform.policies import trials


@post(["/api/v1/policies:dry-run", "/v1/policies:dry-run"], tags=["policies"], status_code=200)
async def dry_run_policies(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    data: JSONBody[policies.PolicyTrial],
) -> policies.PolicyTrialResult:
    """Which decisions of the last days these policies would change, in the place of the organisation's own. Roles: approver, admin."""
    return await trials.dry_run(plane, credential, data)


HANDLERS = (dry_run_policies,)
