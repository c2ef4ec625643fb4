"""Who somebody is to a project, and what is asked of the policies about it.

Roles of a token hold everywhere. Roles of a member hold in the project, in one environment or in all (`*`). An actor
whose token has no role of ours is a tenant: there is nothing for it but the projects that it is a member of, and of all
others it is not even told that they exist.

A role for a time comes on top of what its actor stands on: it ends at its own time, whoever has noted that, and with the
actor's last standing role in the project. It gives nobody else a role, or it would outlive itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors, identity
from mainspring.core.contracts import access_requests, base
from mainspring.platform import database
from mainspring.platform.policies import engine, questions
from mainspring.platform.projects import store as project_store
from mainspring.platform.runs import store as run_store

#: The environments of a member's role, or of a change that is of the project as a whole.
EVERY: Final = "*"

#: What hands out roles, or judges that others did: only roles that are nobody's for a time count for it.
_BY_STANDING_ROLES: Final = frozenset(
    {
        "member.set",
        "member.remove",
        "service-account.create",
        "service-account.change",
        "service-account.rotate",
        "service-account.delete",
        "access.request",
        "access.break-glass",
        "access.decide",
        "access.review",
    }
)
_NOTHING: Final[Mapping[str, frozenset[str]]] = {}


@dataclass(frozen=True)
class Who:
    """An actor with its grants: roles by project and environment."""

    actor: identity.Actor
    grants: Mapping[str, Mapping[str, frozenset[str]]]
    for_a_time: Mapping[str, Mapping[str, frozenset[str]]] = field(default_factory=dict)
    """Likewise, what has not ended of what it was given for a time."""

    @property
    def platform_roles(self) -> frozenset[str]:
        return frozenset(self.actor.roles) & frozenset(identity.ROLES)

    def roles(self, project: str, environment: str, *, standing_only: bool = False) -> frozenset[str]:
        """Those that let it change something there: a change of all environments needs a role in all."""
        found = self.platform_roles
        for mine in self._mine(project, standing_only):
            found |= mine.get(EVERY, frozenset()) | mine.get(environment, frozenset())
        return found

    def roles_anywhere(self, project: str, *, standing_only: bool = False) -> frozenset[str]:
        """Those that let it look: a project is read as a whole."""
        return self.platform_roles.union(
            *(roles for mine in self._mine(project, standing_only) for roles in mine.values())
        )

    def _mine(self, project: str, standing_only: bool) -> tuple[Mapping[str, frozenset[str]], ...]:
        standing = self.grants.get(project, _NOTHING)
        if standing_only or not (standing or self.platform_roles):
            return (standing,)
        return standing, self.for_a_time.get(project, _NOTHING)


async def identify(connection: AsyncConnection, actor: identity.Actor) -> Who:
    """Both kinds of roles by one statement: every request asks it."""
    standing, given = database.members.c, database.access_requests.c
    query = sa.union_all(
        sa.select(standing.project, standing.roles, sa.literal(0).label("for_a_time")).where(
            standing.actor == actor.name
        ),
        sa.select(given.project, given.roles, sa.literal(1)).where(
            given.actor == actor.name,
            given.state == str(access_requests.AccessState.ACTIVE),
            # Not the row's state alone: who notes the end may be late, and the end is not.
            given.ends_at > base.utc_now().isoformat(),
        ),
    )
    found: tuple[dict[str, dict[str, frozenset[str]]], ...] = ({}, {})
    for row in (await connection.execute(query)).all():
        places = found[row.for_a_time].setdefault(row.project, {})
        for place, roles in _within(actor.scope, row.roles).items():
            places[place] = places.get(place, frozenset()) | frozenset(roles)
    return Who(actor, *found)


def _within(scope: identity.Scope, given: Mapping[str, Sequence[str]]) -> Mapping[str, Sequence[str]]:
    """What a token that is narrowed has of its actor's roles. A role in all environments is one in that of the token."""
    kept = {
        place: [role for role in roles if not scope.roles or role in scope.roles]
        for place, roles in given.items()
    }
    if scope.environment:
        kept = {scope.environment: [*kept.get(EVERY, ()), *kept.get(scope.environment, ())]}
    return {place: roles for place, roles in kept.items() if roles}


@dataclass(frozen=True)
class Target:
    """What is to be changed. `project` is empty for what is the platform's."""

    project: str = ""
    environment: str = EVERY
    resource: questions.Resource = questions.PLATFORM
    context: Mapping[str, str | bool] = field(default_factory=dict)
    is_by_role_anywhere: bool = False
    """Whoever has a role in any environment of the project may ask, as for a read."""
    action: str = ""
    """Asked about beside the change's own, where that does something else, too; empty: the change's own."""


#: Of what has to be looked up first, in the transaction of the change.
Finder: TypeAlias = Callable[[AsyncConnection], Awaitable[Target | Sequence[Target]]]


def platform(**context: str | bool) -> Target:
    return Target(context=context)


def project(name: str, environment: str = EVERY, /, **context: str | bool) -> Target:
    return Target(name, environment, questions.project(name), context)


def project_anywhere(name: str, /, **context: str | bool) -> Target:
    return Target(name, EVERY, questions.project(name), context, is_by_role_anywhere=True)


def by(target: Target, *, action: str) -> Target:
    """The same, asked about by another action."""
    return dataclasses.replace(target, action=action)


def run(row: sa.Row[Any], /, **context: str | bool) -> Target:
    """A run's, by its row."""
    names = {name: str(row._mapping[name]) for name in ("project", "kind", "environment", "requested_by")}
    return Target(
        names["project"],
        names["environment"],
        questions.run(
            str(row._mapping["run_id"]),
            **names,
            **{name: row._mapping["request"].get(name, "") for name in questions.NAMED_BY_PROCESSES},
        ),
        context,
    )


def to_change(who: Who, action: str, target: Target) -> questions.Question:
    standing_only = action in _BY_STANDING_ROLES
    if not target.project:
        roles = who.platform_roles
    elif target.is_by_role_anywhere:
        roles = who.roles_anywhere(target.project, standing_only=standing_only)
    else:
        roles = who.roles(target.project, target.environment, standing_only=standing_only)
    principal = questions.Principal(who.actor.name, roles, who.platform_roles)
    return questions.Question(principal, action, target.resource, target.context)


def to_read(who: Who, action: str, project: str = "") -> questions.Question:
    """Of one project; of none: of all."""
    roles = who.roles_anywhere(project) if project else who.platform_roles
    principal = questions.Principal(who.actor.name, roles, who.platform_roles)
    return questions.Question(
        principal, action, questions.project(project) if project else questions.PLATFORM
    )


async def readable(
    policies: engine.PolicyEngine, connection: AsyncConnection, who: Who, action: str
) -> frozenset[str] | None:
    """The projects whose part of a list somebody may read; None: all of them.

    Our own policies ask for a role only: a role of the token opens every project at once. An organisation's may tell
    projects apart, and then each is asked about.
    """
    of_all = policies.decide(to_read(who, action)).allowed
    if of_all and not policies.has_own:
        return None
    names: Iterable[str] = who.grants
    if who.platform_roles:
        names = (await connection.execute(sa.select(database.projects.c.name))).scalars().all()
    return frozenset(name for name in names if policies.decide(to_read(who, action, name)).allowed)


async def unless_hidden(
    policies: engine.PolicyEngine,
    connection: AsyncConnection,
    who: Who,
    target: Target,
    denial: errors.Denied,
) -> errors.MainspringError:
    """The denial; NotFound in its place for who may not know that there is something to be denied."""
    if not target.project or policies.decide(to_read(who, "project.read", target.project)).allowed:
        return denial
    if target.resource.type == "Run":
        return run_store.unknown(target.resource.id)
    known = await readable(policies, connection, who, "project.read")
    return await project_store.unknown(connection, target.project, known)
