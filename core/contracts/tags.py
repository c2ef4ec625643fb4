"""Tags of a project: by whom and for what its costs are, as finance asks for it. They become FOCUS's `Tags`."""

from __future__ import annotations

import re
from typing import Annotated, Final, TypeAlias

from pydantic import AfterValidator, Field

from mainspring.core.contracts.base import Message, Slug

__all__ = ["MAX_TAGS", "OURS", "UNTAGGED", "ProjectUntagged", "Tags", "check_key"]

MAX_TAGS: Final = 20
#: What the ledger tags each record with by itself.
OURS: Final = ("environment", "project")
#: Where costs are added up by a tag: those of projects that did not have it.
UNTAGGED: Final = "(untagged)"
_KEY: Final = re.compile(r"[a-z][a-z0-9_.-]{0,62}")
_MAX_VALUE: Final = 128


def check_key(key: str) -> str:
    """Errors: ValueError with what a key is."""
    if not _KEY.fullmatch(key):
        raise ValueError(
            f"`{key[:80]}` is no key of a tag: expected up to 63 of a-z, 0-9, `_`, `.` and `-`, a letter first"
        )
    return key


def _check(given: dict[str, str]) -> dict[str, str]:
    for key, value in given.items():
        check_key(key)
        if key in OURS:
            raise ValueError(f"`{key}` is a tag that every record has by itself; choose another key")
        if not 0 < len(value) <= _MAX_VALUE or not value.isprintable() or value != value.strip():
            raise ValueError(
                f"tag `{key}` is {value[:80]!r}: expected 1 to {_MAX_VALUE} characters that print, no space around them"
            )
        if value.startswith("("):
            raise ValueError(f"tag `{key}` is {value[:80]!r}: words in brackets are for what has no tag")
    return dict(sorted(given.items()))


#: A label by key, in the order of keys.
Tags: TypeAlias = Annotated[dict[str, str], Field(max_length=MAX_TAGS), AfterValidator(_check)]


class ProjectUntagged(Message):
    """A project that lacks tags which settings ask for."""

    project: Slug
    owner: str
    lacks: dict[str, str]
    """By key: what is wrong, and what it may be."""
