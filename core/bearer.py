"""The `Authorization` header of our clients: a token that stays, or one that is asked for at each request because it rotates."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import httpx

__all__ = ["Token", "auth"]

#: A callable is asked for each request, in the thread that sends it.
Token: TypeAlias = str | Callable[[], str]


def auth(token: Token) -> Callable[[httpx.Request], httpx.Request] | None:
    """As httpx's clients take it; None for an empty token, which shows nothing."""
    if not token:
        return None

    def sign(request: httpx.Request) -> httpx.Request:
        shown = token if isinstance(token, str) else token()
        request.headers["authorization"] = f"Bearer {shown}"
        return request

    return sign
