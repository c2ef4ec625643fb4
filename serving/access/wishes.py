"""Which bundle of an endpoint's traffic a caller wants to be answered by, where traffic should not choose."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mainspring.core import errors
from mainspring.core.contracts import access
from mainspring.serving.access import callers

ROLE_HEADER: Final = "x-mainspring-role"
BUNDLE_HEADER: Final = "x-mainspring-bundle"

ROLES: Final = ("stable", "canary", "shadow")
_SCOPE: Final[access.Scope] = "route"
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Wish:
    """What the headers say, as they say it; None: nothing."""

    role: Any = None
    digest: Any = None

    @property
    def is_none(self) -> bool:
        """Whether traffic chooses."""
        return self.role is None and self.digest is None


NONE: Final = Wish()


def sent(headers: Mapping[str, Any]) -> Wish:
    """Of headers or gRPC metadata, names in lower case. Whether it may be granted is asked where there is traffic."""
    role, digest = headers.get(ROLE_HEADER), headers.get(BUNDLE_HEADER)
    return NONE if role is None and digest is None else Wish(role, digest)


def granted(wish: Wish, caller: callers.Caller) -> str:
    """The role or digest that is asked for; "": none is.

    Who answers is decided by traffic, so that a canary is judged by an unbiased share: an exception needs the scope
    `route`, also where nobody is asked for a token.
    Errors: PermissionDenied without that scope; InvalidRequest for what is no role and no digest, or for both at once.
    """
    if wish.is_none:
        return ""
    if _SCOPE not in caller.scopes:
        raise errors.PermissionDenied(
            f"`{caller.name}` may not choose who answers, this needs scope `{_SCOPE}`; leave out `{ROLE_HEADER}` and"
            f" `{BUNDLE_HEADER}`, or ask an admin for a key of that scope",
            actor=caller.name,
            action=_SCOPE,
        )
    if wish.role is not None and wish.digest is not None:
        raise errors.InvalidRequest(
            f"`{ROLE_HEADER}` and `{BUNDLE_HEADER}` are both there; send one of them", field=BUNDLE_HEADER
        )
    if wish.role is not None:
        if wish.role not in ROLES:
            raise _unusable(ROLE_HEADER, wish.role, f"one of {', '.join(ROLES)}")
        return str(wish.role)
    if not isinstance(wish.digest, str) or not _DIGEST.fullmatch(wish.digest):
        raise _unusable(BUNDLE_HEADER, wish.digest, "`sha256:` and 64 hex digits")
    return wish.digest


def _unusable(header: str, got: object, expected: str) -> errors.InvalidRequest:
    return errors.InvalidRequest(
        f"`{header}` is `{str(got)[:80]}`, expected {expected}; correct it", field=header
    )
