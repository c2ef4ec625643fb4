"""Who asks: an API key, a token of the issuer or of a service account, or nobody in particular."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mainspring.core import api_keys, errors, identity, policy
from mainspring.core.contracts import access, masking, service_accounts
from mainspring.serving.access import accounts

_BEARER: Final = "bearer "

#: What the roles of the issuer's actors may do here. Changes look at the roles themselves once more.
SCOPES_OF_ROLE: Final[Mapping[str, frozenset[access.Scope]]] = {
    "viewer": frozenset({"read"}),
    "approver": frozenset({"predict", "read", "route"}),
    "developer": frozenset({"predict", "read", "admin", "route"}),
    "service": frozenset({"predict", "read", "admin", "route"}),
    "admin": frozenset({"predict", "read", "admin", "route"}),
}

#: Who may change what is served.
ADMIN_ROLES: Final = ("service", "developer", "admin")


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom limits, logs and usage name. `project` is "" where the caller has none of its own."""

    name: str
    scopes: frozenset[access.Scope]
    project: str = ""
    roles: frozenset[str] = frozenset()
    """A token's; a key has one of its own, and `service` where it may change what is served."""
    roles_in: str = ""
    """The project that the roles are of; "": they hold in all."""


#: Who shows neither key nor token, where none is demanded.
ANONYMOUS: Final = Caller("anonymous", frozenset({"predict", "read"}))


class Callers:
    """Tells callers apart. Thread-safe, but for :meth:`prepare`, which is for one event loop."""

    def __init__(
        self,
        issuer: identity.Issuer,
        keys: api_keys.KeyRing,
        known_accounts: accounts.Accounts,
        *,
        environment: str = "",
        require_token: bool,
    ) -> None:
        """`issuer` tells who may change what is served, of accounts as well; `environment`: whose roles accounts have here."""
        self._issuer, self._keys, self._require_token = issuer, keys, require_token
        self._accounts, self._environment = known_accounts, environment
        self._of_keys: dict[str, tuple[access.KeyView, Caller]] = {}

    @property
    def keys_are_stale(self) -> bool:
        """Keys are those of before: their file cannot be read."""
        return self._keys.is_stale

    async def prepare(self, authorization: str | None, scope: access.Scope) -> None:
        """Have what is needed to tell who shows this: an OpenID provider's keys, or what the control API says of an account's
        token. Before :meth:`identify` and :meth:`admin`.

        One that is away is an error for those only who need to be known.
        Errors: DependencyDown; Overloaded where too many tokens are not known yet.
        """
        if authorization is None or key_of(authorization) is not None:
            return
        try:
            await self._issuer.prepare(authorization)
        except (errors.DependencyDown, errors.Overloaded):
            if self._require_token or scope == "admin":
                raise

    def identify(self, authorization: str | None, scope: access.Scope) -> Caller:
        """Who asks, if they may.

        `authorization` is the header's value, a key or a token after `Bearer `. Where none is demanded, one that is not
        known is as good as none: a proxy's own header must not turn a caller away.
        Errors: Unauthenticated, PermissionDenied.
        """
        if authorization is None and not self._require_token:
            return ANONYMOUS
        try:
            caller = self._known(authorization)
        except errors.Unauthenticated:
            if self._require_token:
                raise
            caller = ANONYMOUS
        if scope not in caller.scopes and self._require_token:
            raise errors.PermissionDenied(
                f"`{caller.name}` may {', '.join(sorted(caller.scopes)) or 'do nothing here'}, this needs `{scope}`;"
                f" {self._next_step(caller)}",
                actor=caller.name,
                action=scope,
            )
        return caller

    def admin(self, authorization: str | None) -> identity.Actor:
        """Who wants to change what is served: a token's actor with its roles, or a key of scope `admin` as a service.

        Errors: Unauthenticated, PermissionDenied for a key without the scope.
        """
        key = key_of(authorization)
        if key is None:
            return self._issuer.authenticate(authorization)
        view = self._keys.authenticate(key)
        return identity.Actor(view.caller, ("service",) if "admin" in view.scopes else ())

    def _known(self, authorization: str | None) -> Caller:
        key = key_of(authorization)
        if key is not None:
            view = self._keys.authenticate(key)
            known = self._of_keys.get(view.key_id)
            if known is None or known[0] is not view:
                roles = frozenset({masking.KEY_ROLE, *(["service"] if "admin" in view.scopes else [])})
                caller = Caller(view.caller, frozenset(view.scopes), view.project or "", roles)
                known = self._of_keys[view.key_id] = view, caller
            return known[1]
        if token := identity.account_token(authorization):
            return self._of_account(self._accounts.find(token))
        actor = self._issuer.authenticate(authorization)
        scopes = frozenset().union(*(SCOPES_OF_ROLE.get(r, frozenset()) for r in actor.roles))
        return Caller(actor.name, scopes, roles=frozenset(actor.roles))

    def _of_account(self, state: service_accounts.ServiceTokenState) -> Caller:
        """Its roles are those in our environment, or, where we are of none, those that it has in every one."""
        places = [self._environment] if self._environment else policy.ENVIRONMENTS
        roles = frozenset.intersection(*(frozenset(state.roles.get(place, ())) for place in places))
        scopes = frozenset().union(*(SCOPES_OF_ROLE.get(role, frozenset()) for role in roles))
        return Caller(state.actor, scopes - {"admin"}, state.project, roles, state.project)

    def _next_step(self, caller: Caller) -> str:
        if not identity.is_account(caller.name):
            return "ask an admin for a key of that scope"
        where = f"in `{self._environment}`" if self._environment else "in all environments"
        return f"ask an admin of `{caller.project}` for a role of the account {where}; changes go through the control API"


def key_of(authorization: str | None) -> str | None:
    """The API key of an `Authorization: Bearer` header; None if it has none."""
    if authorization is None or authorization[: len(_BEARER)].lower() != _BEARER:
        return None
    credential = authorization[len(_BEARER) :].strip()
    return credential if credential.startswith(api_keys.PREFIX) else None


def admit(known: Callers, authorization: str | None) -> identity.Actor:
    """Who may change what is served. Errors: Unauthenticated, PermissionDenied."""
    actor = known.admin(authorization)
    actor.require(*ADMIN_ROLES)
    return actor
