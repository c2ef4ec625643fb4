"""The two ways to sign in: by a browser of this machine, and by one of another where this one has none."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from typing import Final

from mainspring.core import errors
from mainspring.platform.login import loopback, provider

__all__ = ["by_browser", "by_device"]

#: RFC 8628, 3.5: what is added where the provider says that it is asked too often.
_SLOWER_SECONDS: Final = 5.0


def by_browser(
    at: provider.Provider,
    *,
    open_browser: Callable[[str], bool],
    tell: Callable[[str], None],
    port: int = 0,
    seconds: float = 300.0,
) -> provider.Tokens:
    """Authorisation code with PKCE, back over loopback.

    Errors: DeadlineExceeded where nobody comes back, PermissionDenied where the person or the provider said no, Unauthenticated for
    an answer to another question, PortInUse; those of the provider.
    """
    asked = provider.Asked()
    with loopback.Loopback(port) as back:
        place = at.place_for(asked, back.redirect)
        tell(f"sign in at this address, if no browser opens by itself:\n{place}")
        open_browser(place)
        came = back.wait(seconds)
        redirect = back.redirect
    if not hmac.compare_digest(came.get("state", "").encode(), asked.state.encode()):
        raise errors.Unauthenticated(
            "the answer is to a question that was not asked here (`state`), and is not taken; run `mainspring login` again"
        )
    # RFC 9207: who answers is who was asked.
    if came.get("iss", at.client.issuer) != at.client.issuer:
        raise errors.Unauthenticated("the answer is another provider's (`iss`), and is not taken")
    if "error" in came:
        raise provider.refusal(came["error"], came.get("error_description", ""), at.client)
    return at.exchange(came["code"], asked, redirect)


def by_device(
    at: provider.Provider,
    *,
    tell: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> provider.Tokens:
    """A code that is typed into a browser elsewhere (RFC 8628). Errors: DeadlineExceeded; those of :func:`by_browser`."""
    device = at.begin_device()
    tell(f"open {device.place} in a browser and type {device.user_code}")
    if device.whole_place:
        tell(f"or open {device.whole_place}, and see that it shows that code")
    interval, ends = device.interval_seconds, monotonic() + device.expires_seconds
    while monotonic() < ends:
        sleep(interval)
        found = at.ask_device(device)
        if isinstance(found, provider.Tokens):
            return found
        if found == "slow_down":
            interval += _SLOWER_SECONDS
    raise errors.DeadlineExceeded(
        f"nobody signed in within {device.expires_seconds:.0f} s; run `mainspring login` again", stage="login"
    )
