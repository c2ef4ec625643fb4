"""Change the embedded issuer's token of one actor, for who rotates it. Tokens are told of by ids: none goes into a log.

The file has a token a line of `tokens`; of several of one actor all are believed, and the first is the one in use. Whoever
follows the file (`identity.FollowedTokens`) knows of a change within a second.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final, TypeVar

from mainspring.core import errors, watched

__all__ = ["add", "drop", "id_of", "ids", "promote", "token"]

T = TypeVar("T")
Entries = list[dict[str, Any]]

_DIGITS: Final = 16


def id_of(token: str) -> str:
    """By which a token may be named: it says nothing of the token, which is 256 random bits."""
    return f"token-{hashlib.sha256(token.encode()).hexdigest()[:_DIGITS]}"


def ids(path: Path, actor: str) -> tuple[str, ...]:
    """The actor's tokens, the one in use first; none where there is no file. Errors: Misconfigured."""
    return tuple(id_of(e["token"]) for e in _of(_file(path).content, actor))


def token(path: Path, actor: str, token_id: str) -> str:
    """The secret itself, for who shows it. Errors: NotFound; Misconfigured."""
    return str(_find(_file(path).content, actor, token_id)["token"])


def add(path: Path, actor: str, mark: str) -> str:
    """A further token with the actor's roles, believed and not in use yet; its id. With the same `mark` again it is the same.

    Errors: NotFound for an actor without one; Misconfigured; Overloaded while another process changes the file.
    """

    def edit(entries: Entries) -> tuple[Entries, str]:
        known = _of(entries, actor)
        if not known:
            raise errors.NotFound(
                f"no token of `{actor}` in `{path.name}`; remove the file and run `mainspring up`",
                resource="token",
                name=actor,
            )
        for entry in known:
            if entry.get("mark") == mark:
                return entries, id_of(entry["token"])
        fresh = {
            "token": f"dev-{secrets.token_urlsafe(32)}",
            "actor": actor,
            "roles": known[0]["roles"],
            "mark": mark,
        }
        return [*entries, fresh], id_of(fresh["token"])

    return _change(path, edit)


def promote(path: Path, actor: str, token_id: str) -> bool:
    """It is in use from now on; False where it was before. Errors: NotFound; those of :func:`add`."""

    def edit(entries: Entries) -> tuple[Entries, bool]:
        chosen = _find(entries, actor, token_id)
        if _of(entries, actor)[0] is chosen:
            return entries, False
        return [chosen, *(e for e in entries if e is not chosen)], True

    return _change(path, edit)


def drop(path: Path, actor: str, token_ids: Collection[str]) -> list[str]:
    """Nobody believes those any more; which were there. Errors: InvalidRequest for the one in use; those of :func:`add`."""

    def edit(entries: Entries) -> tuple[Entries, list[str]]:
        known = [id_of(e["token"]) for e in _of(entries, actor)]
        if known and known[0] in token_ids:
            raise errors.InvalidRequest(f"`{known[0]}` is in use; rotate first", field="token_id")
        gone = [one for one in known if one in token_ids]
        left = [e for e in entries if e["actor"] != actor or id_of(e["token"]) not in gone]
        return left, gone

    return _change(path, edit)


def _of(entries: Entries, actor: str) -> Entries:
    return [entry for entry in entries if entry["actor"] == actor]


def _find(entries: Entries, actor: str, token_id: str) -> dict[str, Any]:
    for entry in _of(entries, actor):
        if id_of(entry["token"]) == token_id:
            return entry
    raise errors.NotFound(
        f"no token `{token_id}` of `{actor}`; it was withdrawn, or never added",
        resource="token",
        name=token_id,
    )


def _file(path: Path) -> watched.Watched[Entries]:
    none: Entries = []
    return watched.Watched(path, _entries, none)


def _change(path: Path, edit: Callable[[Entries], tuple[Entries, T]]) -> T:
    told: list[T] = []

    def change(entries: Entries) -> tuple[Entries, bytes]:
        after, answer = edit(entries)
        told.append(answer)
        text = json.dumps({"notice": "development tokens, not for production", "tokens": after}, indent=1)
        return after, text.encode()

    _file(path).change(change)
    return told[0]


def _entries(content: bytes) -> Entries:
    """As they stand there, with what we do not know of them."""
    try:
        entries: Entries = json.loads(content)["tokens"]
        if not all(
            isinstance(e["token"], str) and isinstance(e["actor"], str) and e["roles"] for e in entries
        ):
            raise ValueError("an entry without token, actor or roles")
    except (KeyError, TypeError, ValueError) as error:
        raise errors.InvalidSettings(
            f"the token file is malformed: {error!r}; remove it and run `mainspring up`",
            problems=("control.tokens_file",),
        ) from error
    return entries
