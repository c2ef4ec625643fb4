"""Service accounts: programs that act for a project, each with an owner, a secret that is shown once, and tokens for minutes."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from mainspring.core.contracts import members
from mainspring.core.contracts.base import Message, Request, Slug, UtcTime

__all__ = [
    "MAX_TOKEN_CHARACTERS",
    "ServiceAccountCreate",
    "ServiceAccountIssued",
    "ServiceAccountPatch",
    "ServiceAccountView",
    "ServiceToken",
    "ServiceTokenAsk",
    "ServiceTokenQuestion",
    "ServiceTokenState",
]

#: Longer is no token of ours.
MAX_TOKEN_CHARACTERS: Final = 200

_Owner = Annotated[str, Field(min_length=1, max_length=200)]
_Description = Annotated[str, Field(min_length=1, max_length=500)]


class ServiceAccountCreate(Request):
    """A new account, and what it may do."""

    name: Slug
    owner: _Owner
    """A member of the project, who answers for it: without one it gets no token."""
    description: _Description
    roles: Annotated[members.Roles, Field(min_length=1, max_length=4)]
    """As of a member, by environment: `{"dev": ["developer"]}`."""


class ServiceAccountPatch(Request):
    """What is to be otherwise; what is left out stays. Roles are the member's: `mainspring member set`."""

    owner: _Owner | None = None
    description: _Description | None = None
    disabled: bool | None = None
    """It gets no tokens, and those that it has count no more."""


class ServiceAccountView(Message):
    """An account. `actor` is its name on record and its client id; `version` its ETag, which a change names as `If-Match`."""

    project: Slug
    name: str
    actor: str
    owner: str
    description: str
    roles: dict[str, list[str]]
    disabled: bool
    version: str = ""
    created_at: UtcTime
    created_by: str
    rotated_at: UtcTime
    """Since then its secret is this one."""
    last_used_on: str = ""
    """The day on which it got its last token; empty: it never got one."""


class ServiceAccountIssued(Message):
    """The only time that its secret is told."""

    account: ServiceAccountView
    client_id: str
    client_secret: str


class ServiceTokenAsk(Request):
    """OAuth 2.0's client credentials, as JSON. Narrowed to `roles` and to an `environment`; empty: all that the account has."""

    grant_type: Literal["client_credentials"] = "client_credentials"
    client_id: Annotated[str, Field(min_length=1, max_length=200)]
    client_secret: Annotated[str, Field(min_length=1, max_length=200)]
    roles: Annotated[list[members.MemberRole], Field(max_length=4)] = []
    environment: Literal["", "dev", "staging", "prod"] = ""


class ServiceToken(Message):
    """What is sent as `Authorization: Bearer` from now on, for `expires_in` seconds."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"
    expires_in: int
    scope: str = ""
    """What it was narrowed to, in words: `developer`, `environment:dev`; empty: all that the account has."""


class ServiceTokenQuestion(Request):
    """A token that somebody showed: does it count. In the shape of RFC 7662, as JSON."""

    token: Annotated[str, Field(min_length=1, max_length=MAX_TOKEN_CHARACTERS)]


class ServiceTokenState(Message):
    """What whoever has the token may. Of one that does not count there is nothing but that, and not why."""

    active: bool
    actor: str = ""
    project: str = ""
    roles: dict[str, list[str]] = {}
    """In each environment, as far as the token is narrowed to: those that it has in all environments are in each."""
    expires_at: UtcTime | None = None
