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

    def __init__(self, others: identity.Issuer, db: database.Database, *, by_others: bool = False) -> None:
        """`by_others`: may another issuer's token name a service account, that is, does the OpenID provider have them."""
        self._others, self._database, self._by_others = others, db, by_others
        self._known: dict[str, tuple[identity.Actor, datetime]] = {}
        self._in_force: set[str] = set()

    async def prepare(self, authorization: str | None) -> None:
        """Errors: DependencyDown."""
        token = identity.account_token(authorization)
        if not token:
            await self._others.prepare(authorization)
            if self._by_others:
                await self._look_up(authorization)
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
        token = identity.account_token(authorization)
        if not token:
            actor = self._others.authenticate(authorization)
            if not identity.is_account(actor.name):
                return actor
            if not self._by_others:
                raise errors.Unauthenticated(
                    f"names that begin with `{identity.ACCOUNT}` are service accounts', who have tokens of their own; use"
                    " `mainspring service-account token`"
                )
            if actor.name not in self._in_force:
                raise errors.Unauthenticated(
                    f"there is no service account `{actor.name[:200]}` in force: it was not made, or was disabled or deleted, or"
                    " has no owner; ask an admin of its project"
                )
            return identity.Actor(actor.name, ())
        kept = self._known.get(store.digest(token))
        if kept is None or kept[1] <= base.utc_now():
            raise errors.Unauthenticated(
                "the token of a service account counts no more: it has ended, or its account was disabled, rotated or deleted,"
                " or has no owner; ask for another with `mainspring service-account token`"
            )
        return kept[0]

    async def _look_up(self, authorization: str | None) -> None:
        """Is the account that another issuer's token names in force. Errors: DependencyDown."""
        try:
            name = self._others.authenticate(authorization).name
        except errors.Unauthenticated:
            return  # told when it is asked for
        if identity.is_account(name):
            async with self._database.read() as connection:
                is_in_force = await store.is_in_force(connection, name)
            (self._in_force.add if is_in_force else self._in_force.discard)(name)
