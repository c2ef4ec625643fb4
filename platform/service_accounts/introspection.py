"""Does a token count, and what may whoever has it: for serving, which has no database, as OAuth 2.0's token introspection."""

from __future__ import annotations

from mainspring.core import identity, policy
from mainspring.core.contracts import base, service_accounts
from mainspring.platform import access, reads
from mainspring.platform import plane as control_plane
from mainspring.platform.service_accounts import store


async def introspect(
    plane: control_plane.ControlPlane, credential: str, asked: service_accounts.ServiceTokenQuestion
) -> service_accounts.ServiceTokenState:
    """Looked up as for a request of the account itself, by the token's hash. Role: service.

    A token that was made up, has ended, or whose account is disabled, rotated, deleted or without an owner is not told
    apart from the others. Errors: Unauthenticated, PermissionDenied.
    """
    async with reads.reading(plane, credential, action="service-account.introspect") as reader:
        reader.require_platform()
        row = await store.holder(reader.connection, asked.token, base.utc_now())
        if row is None:
            return service_accounts.ServiceTokenState(active=False)
        scope = identity.Scope(tuple(row.roles), row.environment)
        who = await access.identify(reader.connection, identity.Actor(row.actor, (), scope))
    roles = {place: sorted(who.roles(row.project, place)) for place in policy.ENVIRONMENTS}
    return service_accounts.ServiceTokenState(
        active=True,
        actor=row.actor,
        project=row.project,
        roles={place: found for place, found in roles.items() if found},
        expires_at=row.expires_at,
    )
