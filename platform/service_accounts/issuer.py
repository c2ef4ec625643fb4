"""Tokens of service accounts, beside those of whoever else is believed."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from mainspring.core import errors, identity
from mainspring.core.contracts import base
from mainspring.platform import database
from mainspring.platform.service_accounts import store

#: Of tokens that were found good, so many are kept before those that have ended go.
_MANY: Final = 1_000


class AccountTokens:
    """Looks a token up for each request, so that one that ended counts no more at the next. One event loop."""

    def __init__(self, others: identity.Issuer, db: database.Database) -> None:
        self._others, self._database = others, db
        self._known: dict[str, tuple[identity.Actor, datetime]] = {}

    async def prepare(self, authorization: str | None) -> None:
        """Errors: DependencyDown."""
        token = _token(authorization)
        if not token:
            await self._others.prepare(authorization)
            return
        async with self._database.read() as connection:
            row = await store.holder(connection, token, base.utc_now())
        if row is None:
            self._known.pop(store.digest(token), None)
            return
        if len(self._known) >= _MANY:
            now = base.utc_now()
            self._known = {key: kept for key, kept in self._known.items() if kept[1] > now}
        scope = identity.Scope(tuple(row.roles), row.environment)
        actor = identity.Actor(row.actor, (), scope)
        self._known[row.token_sha256] = actor, datetime.fromisoformat(row.expires_at)

    def authenticate(self, authorization: str | None) -> identity.Actor:
        """Errors: Unauthenticated, also for others' tokens that name a service account."""
        token = _token(authorization)
        if not token:
            actor = self._others.authenticate(authorization)
            if identity.is_account(actor.name):
                raise errors.Unauthenticated(
                    f"names that begin with `{identity.ACCOUNT}` are service accounts', who have tokens of their own; use"
                    " `mainspring service-account token`"
                )
            return actor
        kept = self._known.get(store.digest(token))
        if kept is None or kept[1] <= base.utc_now():
            raise errors.Unauthenticated(
                "the token of a service account counts no more: it has ended, or its account was disabled, rotated or deleted,"
                " or has no owner; ask for another with `mainspring service-account token`"
            )
        return kept[0]


def _token(authorization: str | None) -> str:
    scheme, _, token = (authorization or "").partition(" ")
    token = token.strip()
    return token if scheme.lower() == "bearer" and token.startswith(store.TOKEN_PREFIX) else ""
