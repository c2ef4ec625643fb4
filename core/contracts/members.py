"""Members of a project: who may do what in it, by environment."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from mainspring.core.contracts.base import Message, Request, Slug, UtcTime

#: Of people. `service` is a token's alone: what workflows report is nobody's to give away.
MemberRole: TypeAlias = Literal["viewer", "developer", "approver", "admin"]
#: `*`: every environment.
Place: TypeAlias = Literal["*", "dev", "staging", "prod"]
Roles: TypeAlias = dict[Place, Annotated[list[MemberRole], Field(min_length=1, max_length=4)]]


class MemberPut(Request):
    """What a member's roles are to be, all of them: what is left out is taken away."""

    roles: Annotated[Roles, Field(min_length=1, max_length=4)]
    """By environment: `{"*": ["viewer"], "dev": ["developer"]}`."""

    @model_validator(mode="after")
    def _once(self) -> Self:
        for place, roles in self.roles.items():
            if len(set(roles)) < len(roles):
                raise ValueError(f"a role is given twice for `{place}`; write each once")
        return self


class MemberView(Message):
    """A member, and what it may do."""

    project: Slug
    actor: str
    roles: dict[str, list[str]]
    version: str = ""
    """Of the roles: its ETag, which a change names as `If-Match`."""
    set_at: UtcTime
    set_by: str
