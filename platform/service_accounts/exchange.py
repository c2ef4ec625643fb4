"""A service account's secret for a token of minutes, as OAuth 2.0's client credentials."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors, identity
from mainspring.core.contracts import base, service_accounts
from mainspring.platform import access, mutation
from mainspring.platform import plane as control_plane
from mainspring.platform.members import store as member_store
from mainspring.platform.service_accounts import store

#: Tokens of one account that count at a time: each is a row here and one in the log.
MAX_TOKENS: Final = 100
_ACTION: Final = "service-account.token"


class _Shown:
    """Believes whoever shows the account's secret, for this one request."""

    def __init__(self, row: sa.Row[Any] | None, given: str) -> None:
        self._row, self._given = row, given

    async def prepare(self, authorization: str | None) -> None:
        """Nothing: the row is there."""

    def authenticate(self, authorization: str | None) -> identity.Actor:
        """Errors: Unauthenticated, with more than a word only for who has the secret."""
        row = self._row
        if not store.is_secret_of(row, self._given) or row is None:
            raise errors.Unauthenticated(
                "no service account has this client id and secret; ask an admin of the project to rotate it"
            )
        if row.disabled_at is not None:
            raise errors.Unauthenticated(
                f"service account `{row.actor}` is disabled; ask an admin of its project"
            )
        return identity.Actor(row.actor, ())


async def exchange(
    plane: control_plane.ControlPlane, asked: service_accounts.ServiceTokenAsk
) -> service_accounts.ServiceToken:
    """A token that counts until its end, or until its account is disabled, rotated or deleted.

    Errors: Unauthenticated; PermissionDenied for more than the account has, or where its owner is no member any more;
    RateLimited.
    """
    async with plane.database.read() as connection:
        row = await store.find(connection, asked.client_id)
    _Shown(row, asked.client_secret).authenticate(None)
    assert row is not None  # or it would not be believed
    lasts = timedelta(minutes=plane.control.service_token_minutes)

    async def do(
        connection: AsyncConnection, actor: identity.Actor
    ) -> mutation.Change[service_accounts.ServiceToken]:
        # Whoever rotated or disabled it meanwhile was first.
        kept = await store.find(connection, actor.name)
        _Shown(kept, asked.client_secret).authenticate(None)
        assert kept is not None
        if not lasts:
            raise _denied(
                actor, "no tokens are given here (`control.service_token_minutes`); use your OpenID provider"
            )
        if await member_store.find(connection, kept.project, kept.owner) is None:
            raise _denied(
                actor,
                f"its owner `{kept.owner}` is no member any more; an admin of the project names another",
            )
        scope = _scope(await access.identify(connection, actor), kept.project, asked)
        now = base.utc_now()
        await store.end_tokens(connection, actor.name, until=now)
        _require_room(actor, await store.counting(connection, actor.name), now)
        token, token_sha256 = store.fresh(identity.TOKEN_PREFIX)
        await store.add_token(connection, actor.name, token_sha256, scope, now + lasts)
        await store.change(connection, actor.name, last_used_on=now.date().isoformat())
        words = [*scope.roles, *([f"environment:{scope.environment}"] if scope.environment else [])]
        made = service_accounts.ServiceToken(
            access_token=token, expires_in=int(lasts.total_seconds()), scope=" ".join(words)
        )
        detail = {"scope": made.scope, "expires_at": (now + lasts).isoformat()}
        return mutation.Change(made, _resource(kept), detail)

    return await mutation.mutate(
        plane,
        "",
        action="service-account.token",
        resource=_resource(row),
        on=access.project_anywhere(row.project),
        do=do,
        issuer=_Shown(row, asked.client_secret),
    )


def _scope(who: access.Who, project: str, asked: service_accounts.ServiceTokenAsk) -> identity.Scope:
    """What the token is narrowed to. Errors: PermissionDenied for what the account has not."""
    has = who.roles(project, asked.environment) if asked.environment else who.roles_anywhere(project)
    where = f" in `{asked.environment}`" if asked.environment else ""
    if beyond := sorted(set(asked.roles) - has):
        raise _denied(who.actor, f"it has no role `{'`, `'.join(beyond)}`{where}; ask for fewer")
    if not has:
        raise _denied(who.actor, f"it has no role{where}; ask for another environment")
    return identity.Scope(tuple(sorted(set(asked.roles))), asked.environment)


def _require_room(actor: identity.Actor, ends: Sequence[str], now: datetime) -> None:
    if len(ends) >= MAX_TOKENS:
        wait = max(1.0, (datetime.fromisoformat(ends[0]) - now).total_seconds())
        raise errors.RateLimited(
            f"`{actor.name}` has {len(ends)} tokens that count; use one until it ends, and then ask for another",
            retry_after_seconds=wait,
            limit="service-account.tokens",
        )


def _denied(actor: identity.Actor, why: str) -> errors.PermissionDenied:
    return errors.PermissionDenied(f"`{actor.name}`: {why}", actor=actor.name, action=_ACTION)


def _resource(row: sa.Row[Any]) -> str:
    return f"service-account/{row.project}/{row.name}"
