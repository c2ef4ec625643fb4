"""Names: ids that sort by time, and slugs that people choose.

An id is `<prefix>_<26 characters>`: 48 bits of Unix milliseconds and 80 random bits in Crockford's base 32
(the layout of ULID), so ids of one kind sort by creation and never collide in practice.
"""

from __future__ import annotations

import re
import secrets
import time
from typing import Final

from mainspring.core import errors

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_ID = re.compile(r"^[a-z]{2,12}_[0-9a-hjkmnp-tv-z]{26}$")
#: What people name things by, for schemas of what is asked.
SLUG: Final = r"^[a-z][a-z0-9-]{0,61}[a-z0-9]$"
_SLUG = re.compile(SLUG)


def new_id(prefix: str, *, now_ms: int | None = None) -> str:
    """A fresh id such as `run_01jd...`; `now_ms` is for tests and replays."""
    millis = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    value = (millis << 80) | secrets.randbits(80)
    chars = [_ALPHABET[(value >> shift) & 31] for shift in range(125, -1, -5)]
    return f"{prefix}_{''.join(chars)}"


def check_id(value: str, prefix: str) -> str:
    """`value` if it is an id of that kind, else InvalidRequest."""
    if not _ID.match(value) or not value.startswith(prefix + "_"):
        raise errors.InvalidRequest(
            f"`{value}` is no `{prefix}` id; expected `{prefix}_` and 26 characters", field=prefix
        )
    return value


def check_slug(value: str, what: str) -> str:
    """`value` if it can name a project, endpoint or model, else InvalidRequest."""
    if not _SLUG.match(value):
        raise errors.InvalidRequest(
            f"{what} name `{value}` is not allowed; use 2 to 63 lowercase letters, digits and hyphens, starting with"
            " a letter and not ending with a hyphen",
            field=what,
        )
    return value
