"""The one way in: who asks, whether they may, whether they have not asked too much. Every protocol comes through here."""

from __future__ import annotations

import contextvars
from collections import Counter
from dataclasses import dataclass
from typing import Final

from mainspring.core import errors
from mainspring.core.contracts import access
from mainspring.serving.access import callers, limits, priorities, wishes


@dataclass(slots=True)  # frozen would cost each request half a microsecond; nobody changes one
class Call:
    """One admitted request: who asks what."""

    caller: callers.Caller
    target: str
    limiter: limits.Limiter | None = None
    wish: wishes.Wish = wishes.NONE
    priority_class: int | None = None
    """The caller's, of `priorities.LEVELS`; None: it has none."""


#: The call at work. The gate takes it along into threads.
_CALL: Final[contextvars.ContextVar[Call | None]] = contextvars.ContextVar("call", default=None)

_NOBODY: Final = Call(callers.ANONYMOUS, "")


def current() -> Call:
    """The call at work; an anonymous one where nobody came through a guard."""
    return _CALL.get() or _NOBODY


def wanted() -> str:
    """The role or digest of the bundle that the call at work asks for; "": traffic chooses.

    Errors: PermissionDenied, InvalidRequest.
    """
    call = current()
    return wishes.granted(call.wish, call.caller)


def charge(rows: int) -> None:
    """Tell the limits how many rows the call at work asks for, once they are known."""
    call = _CALL.get()
    if call is not None and call.limiter is not None:
        call.limiter.charge(call.caller.name, call.target, rows)


class Guard:
    """Thread-safe. `refused` counts by the code of the refusal."""

    def __init__(self, known: callers.Callers, limiter: limits.Limiter, *, require_token: bool) -> None:
        self.callers: Final = known
        self.limiter: Final = limiter
        self._classes = priorities.Classes(limiter)
        self.needs_token: Final = require_token
        self.refused: Final[Counter[str]] = Counter()

    async def identify(self, authorization: str | None, scope: access.Scope) -> callers.Caller:
        """Who asks, if they may. Errors: Unauthenticated, PermissionDenied, DependencyDown."""
        if authorization is not None:
            await self.callers.prepare(authorization, scope)
        try:
            return self.callers.identify(authorization, scope)
        except errors.Denied as error:
            self.refused[error.code] += 1
            raise

    def lets_anyone_in(self) -> bool:
        """Whether who shows nothing may ask: no token is demanded and nobody is limited. Nobody in particular is at work then."""
        if self.needs_token or self.limiter.is_on:
            return False
        if _CALL.get() is not None:  # a pipelined request begins with what the one before left
            _CALL.set(None)
        return True

    def admit(self, caller: callers.Caller, target: str, wish: wishes.Wish = wishes.NONE) -> None:
        """Count the request and make it the call at work; "" is a target without limits or wishes. Errors: RateLimited."""
        if not target:
            _CALL.set(Call(caller, target))
            return
        try:
            charged = self.limiter.admit(caller.name, target)
        except errors.RateLimited as error:
            self.refused[error.code] += 1
            raise
        priority_class = self._classes.of(caller.name, charged)
        _CALL.set(Call(caller, charged, self.limiter, wish, priority_class))
