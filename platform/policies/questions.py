"""What a policy is asked, and what it answered: plain facts, that go on record and into table cases as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

#: Rule ids of denials that no policy made. An evaluation error or an unknown action is a no: policies fail closed.
ERROR: Final = "policy.error"
UNKNOWN_ACTION: Final = "policy.unknown-action"

#: What of a text reaches a policy, and the record: no name of ours is longer.
MAX_CHARACTERS: Final = 201


@dataclass(frozen=True)
class Principal:
    """Who asks: `roles` are those in force for the resource, `platform_roles` those of the token alone."""

    name: str
    roles: frozenset[str]
    platform_roles: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Resource:
    """What is asked about: an entity of the schema, with its attributes and the entities that it is in."""

    type: str
    id: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    parents: tuple[tuple[str, str], ...] = ()


#: Of a run that a process started: who answers for it beside the process.
NAMED_BY_PROCESSES: Final = ("on_behalf_of", "prompted_by")

PLATFORM: Final = Resource("Platform", "platform")


def project(name: str) -> Resource:
    return Resource("Project", name[:MAX_CHARACTERS], {"name": name[:MAX_CHARACTERS]})


def run(
    run_id: str,
    *,
    project: str,
    kind: str,
    environment: str,
    requested_by: str,
    on_behalf_of: str = "",
    prompted_by: str = "",
) -> Resource:
    """`on_behalf_of` and `prompted_by` are attributes of those that a process started."""
    attributes = {
        "project": project,
        "kind": kind,
        "environment": environment,
        "requested_by": requested_by,
        **({"on_behalf_of": on_behalf_of} if on_behalf_of else {}),
        **({"prompted_by": prompted_by} if prompted_by else {}),
    }
    return Resource("Run", run_id, attributes, (("Project", project),))


@dataclass(frozen=True)
class Question:
    """May `principal` do `action` on `resource`? `context` is what else the schema has for the action."""

    principal: Principal
    action: str
    resource: Resource
    context: Mapping[str, str | bool] = field(default_factory=dict)

    def to_record(self) -> dict[str, Any]:
        """As JSON values; :meth:`of_record` reads them again."""
        return {
            "principal": {
                "name": self.principal.name,
                "roles": sorted(self.principal.roles),
                "platform_roles": sorted(self.principal.platform_roles),
            },
            "action": self.action,
            "resource": {
                "type": self.resource.type,
                "id": self.resource.id,
                "attributes": dict(self.resource.attributes),
                "parents": [list(parent) for parent in self.resource.parents],
            },
            "context": dict(self.context),
        }

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Self:
        """Errors: KeyError, TypeError or ValueError for what is no question."""
        who, what = record["principal"], record["resource"]
        return cls(
            Principal(str(who["name"]), frozenset(who["roles"]), frozenset(who.get("platform_roles", ()))),
            str(record["action"]),
            Resource(
                str(what["type"]),
                str(what["id"]),
                dict(what.get("attributes", {})),
                tuple((str(kind), str(name)) for kind, name in what.get("parents", ())),
            ),
            dict(record.get("context", {})),
        )


@dataclass(frozen=True)
class Decision:
    """The answer, and the policies that made it by id, as they are written; `errors` are what went wrong in asking."""

    allowed: bool
    policies: tuple[str, ...]
    errors: tuple[str, ...] = ()
