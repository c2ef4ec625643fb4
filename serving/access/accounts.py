"""Tokens of service accounts: the control API says whether one counts and what it may, and its answer holds for seconds.

See docs/adr/0062-serving-asks-what-an-accounts-token-may.md.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from mainspring.core import errors, identity
from mainspring.core.contracts import base, service_accounts

_LOG: Final = logging.getLogger("mainspring.serving")

#: An answer counts for so long at most: who is disabled, rotated or deleted there is refused here by then.
KEPT_SECONDS: Final = 10.0
#: It is asked for anew so much earlier, so that nobody is refused who comes as it ends.
_EARLIER_SECONDS: Final = 1.0
#: A token that did not count is not asked about again for so long.
REFUSED_SECONDS: Final = 5.0
#: Nor is a control API asked again that did not answer.
RETRY_SECONDS: Final = 1.0
#: Answers that are kept of either kind; the oldest go first.
MAX_KEPT: Final = 1_000
#: Tokens that nothing is known of: so many are asked about at once, and in a second. Who makes tokens up by chance must not fill our
#: memory, nor make us the control API's attacker. Those that counted a moment ago are renewed beside them.
MAX_ASKING: Final = 8
MAX_NEW_PER_SECOND: Final = 50


class Introspection(Protocol):
    """What knows tokens: the control API."""

    async def state(self, token: str) -> service_accounts.ServiceTokenState:
        """Errors: any of ours; whatever it is, nothing is known of the token."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Kept:
    state: service_accounts.ServiceTokenState
    asked_at: float


class Accounts:
    """What is known of tokens, by their hash: the tokens themselves are not kept. One event loop; `find` from any thread."""

    def __init__(
        self,
        asked: Introspection | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = base.utc_now,
    ) -> None:
        """`asked` None: no token counts here."""
        self._asked, self._clock, self._now = asked, clock, now
        self._good: dict[str, _Kept] = {}
        self._refused: dict[str, float] = {}
        self._looking: dict[str, asyncio.Task[None]] = {}
        self._away_until = self._second_began = float("-inf")
        self._new_in_second = 0

    async def prepare(self, token: str) -> None:
        """Have an answer about the token. One that is asked about already is waited for.

        Errors: DependencyDown for a control API that does not answer; Overloaded for too many tokens that nothing is known of.
        """
        if self._asked is None or len(token) > service_accounts.MAX_TOKEN_CHARACTERS:
            return
        key = _hash(token)
        if self._is_answered(key):
            return
        looking = self._looking.get(key)
        if looking is None:
            self._require_room(key)
            looking = asyncio.create_task(self._look(self._asked, key, token))
            self._looking[key] = looking
            looking.add_done_callback(lambda done: self._end(key, done))
        # A caller that goes away takes nobody else's answer along.
        await asyncio.shield(looking)

    def find(self, token: str) -> service_accounts.ServiceTokenState:
        """Who has the token, by the answer that is there. Errors: Unauthenticated."""
        kept = self._good.get(_hash(token))
        if (
            kept is None
            or self._clock() - kept.asked_at >= KEPT_SECONDS
            or kept.state.expires_at is None
            or kept.state.expires_at <= self._now()
        ):
            raise errors.Unauthenticated(
                "the token of a service account does not count here: it has ended, or its account was disabled, rotated or deleted,"
                " or has no owner; ask for another with `mainspring service-account token`"
            )
        return kept.state

    async def close(self) -> None:
        """Ask no more."""
        for looking in list(self._looking.values()):
            looking.cancel()
        if self._asked is not None:
            await self._asked.close()

    def _is_answered(self, key: str) -> bool:
        kept, at = self._good.get(key), self._clock()
        if kept is not None and at - kept.asked_at < KEPT_SECONDS - _EARLIER_SECONDS:
            return True
        return at - self._refused.get(key, float("-inf")) < REFUSED_SECONDS

    def _require_room(self, key: str) -> None:
        at = self._clock()
        if at < self._away_until:
            raise _away()
        if key in self._good:
            return
        if at - self._second_began >= 1.0:
            self._second_began, self._new_in_second = at, 0
        new_asking = sum(one not in self._good for one in self._looking)
        if self._new_in_second >= MAX_NEW_PER_SECOND or new_asking >= MAX_ASKING:
            raise errors.Overloaded(
                "too many tokens of service accounts that are not known yet; try again in 1 s",
                retry_after_seconds=1.0,
            )
        self._new_in_second += 1

    async def _look(self, asked: Introspection, key: str, token: str) -> None:
        at = self._clock()  # before it answers: what it says was so no earlier
        try:
            state = await asked.state(token)
        except errors.MainspringError as error:
            # Whatever is wrong there, also that it does not believe us: that is not the caller's to learn.
            self._away_until = self._clock() + RETRY_SECONDS
            _LOG.warning("whether tokens of service accounts count is not known: %s", error.message)
            raise _away() from error
        self._good.pop(key, None)
        self._refused.pop(key, None)
        if state.active and identity.is_account(state.actor):
            self._good[key] = _Kept(state, at)
        else:
            self._refused[key] = at
        for book in (self._good, self._refused):
            while len(book) > MAX_KEPT:
                book.pop(next(iter(book)))

    def _end(self, key: str, done: asyncio.Task[None]) -> None:
        self._looking.pop(key, None)
        if not done.cancelled():
            done.exception()  # looked at, also where everybody who waited has gone


class BesideAccounts:
    """Whom to believe about changes of what is served: others' tokens; an account changes nothing here, whatever its roles."""

    def __init__(self, others: identity.Issuer, accounts: Accounts) -> None:
        self._others, self._accounts = others, accounts

    async def prepare(self, authorization: str | None) -> None:
        """Errors: those of both."""
        if token := identity.account_token(authorization):
            await self._accounts.prepare(token)
        else:
            await self._others.prepare(authorization)

    def authenticate(self, authorization: str | None) -> identity.Actor:
        """Errors: Unauthenticated; PermissionDenied for an account."""
        token = identity.account_token(authorization)
        if not token:
            return self._others.authenticate(authorization)
        name = self._accounts.find(token).actor
        raise errors.PermissionDenied(
            f"`{name}` is a service account, which changes nothing at serving; ask the control API, which has policies and a"
            " record: `mainspring endpoint promote`",
            actor=name,
            action="admin",
        )


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _away() -> errors.DependencyDown:
    return errors.DependencyDown(
        "the control API does not say whether the token of a service account counts; see that it answers, then try again",
        name="control",
    )
