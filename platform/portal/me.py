"""`/api/v1/me`: who the token is of, and what it may look into. For pages and scripts that must tell before they ask."""

from __future__ import annotations

from litestar import get
from litestar.di import NamedDependency

from mainspring.core.contracts import control
from mainspring.platform import access, reads
from mainspring.platform import plane as control_plane


async def show(plane: control_plane.ControlPlane, credential: str) -> control.SessionView:
    """Of nobody but the one who asks. Errors: Unauthenticated."""
    async with reads.reading(plane, credential, action="project.read") as reader:
        who = reader.who
    projects = {
        name: {place: sorted(roles) for place, roles in _places(who, name).items()}
        for name in sorted({*who.grants, *who.for_a_time})
    }
    return control.SessionView(actor=who.actor.name, roles=sorted(who.platform_roles), projects=projects)


def _places(who: access.Who, project: str) -> dict[str, frozenset[str]]:
    """By place, what counts there now: what is for a time counts beside a standing role only."""
    named = {*who.grants.get(project, ()), *who.for_a_time.get(project, ())}
    found = {place: who.roles(project, place) - who.platform_roles for place in named}
    return {place: roles for place, roles in found.items() if roles}


@get("/api/v1/me", tags=["session"])
async def show_me(
    plane: NamedDependency[control_plane.ControlPlane], credential: NamedDependency[str]
) -> control.SessionView:
    """Who is asking: the actor of the token, its roles on the platform, and its roles by project and environment."""
    return await show(plane, credential)


HANDLERS = (show_me,)
