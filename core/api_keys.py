"""API keys for callers of serving: issued once, kept as hashes, revoked without a restart.

A key is `msk_<id>_<secret>`. The id finds the record; of the secret, 256 random bits, only the SHA-256 is kept. A slow
password hash would add nothing: nobody guesses 256 bits, and every request would pay for it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, ValidationError

from mainspring.core import errors, watched
from mainspring.core.contracts import access
from mainspring.core.contracts.base import Request

__all__ = ["PREFIX", "KeyRing"]

PREFIX: Final = "msk_"
_HASH_OF_NONE: Final = hashlib.sha256(b"").hexdigest()


class _Record(Request):
    view: access.KeyView
    secret_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Document(Request):
    keys: list[_Record] = []


_Keys = dict[str, _Record]


class KeyRing:
    """The keys of one file, followed as it changes. Thread-safe; other processes follow within a second."""

    def __init__(self, path: Path, *, days: float = 0.0, now: Callable[[], float] = time.time) -> None:
        """`days`: how old a key may get that is issued from now on; 0: as old as it says. Errors: Misconfigured if the file is
        there and malformed.
        """
        self._now = now
        self._days = days
        self._keys: watched.Watched[_Keys] = watched.Watched(path, _read, {})

    @property
    def is_stale(self) -> bool:
        """The file on disk cannot be read, so what it said before is in force."""
        return self._keys.is_stale

    def on_change(self, changed: Callable[[], None]) -> None:
        """Call `changed` after every change, before :meth:`issue` or :meth:`revoke` returns."""
        self._keys.on_change(changed)

    def look(self) -> None:
        """See now what other processes changed."""
        self._keys.look()

    def counting(self) -> list[tuple[access.KeyView, bytes]]:
        """Keys that are not revoked, each with the SHA-256 of its secret: for who tells callers apart elsewhere."""
        records = self._keys.content.values()
        return [(r.view, bytes.fromhex(r.secret_sha256)) for r in records if r.view.revoked_at is None]

    def authenticate(self, key: str) -> access.KeyView:
        """The record of a key that counts. Compares in constant time. Errors: Unauthenticated."""
        key_id, _, secret = key.removeprefix(PREFIX).partition("_")
        record = self._keys.get().get(key_id)
        expected = _HASH_OF_NONE if record is None else record.secret_sha256
        is_right = hmac.compare_digest(expected, hashlib.sha256(secret.encode()).hexdigest())
        if record is None or not is_right or not secret or not key.startswith(PREFIX):
            raise errors.Unauthenticated("the API key is not known here; ask an admin for one")
        view = record.view
        if view.revoked_at is not None:
            raise errors.Unauthenticated(f"API key `{key_id}` was revoked; ask an admin for another")
        if view.expires_at is not None and view.expires_at.timestamp() <= self._now():
            raise errors.Unauthenticated(f"API key `{key_id}` has expired; ask an admin for another")
        return view

    def issue(self, asked: access.KeyCreate, *, by: str) -> access.KeyIssued:
        """A new key, in force on return. Errors: Overloaded, OSError."""
        record, issued = self._made(asked, by=by)
        self._keys.change(lambda keys: _written({**keys, issued.view.key_id: record}))
        return issued

    def rotate(self, key_id: str, asked: access.KeyRotate, *, by: str) -> access.KeyIssued:
        """A new key for the same caller and rights; the old one expires after the overlap, if it does not before. Both at once.

        Errors: NotFound; Conflict for a key that counts no more, or that was replaced before; Overloaded, OSError.
        """
        made: list[access.KeyIssued] = []

        def edit(keys: _Keys) -> tuple[_Keys, bytes]:
            record = _known(keys, key_id)
            old, now = record.view, self._time()
            is_over = old.revoked_at is not None or (old.expires_at is not None and old.expires_at <= now)
            heir = next((r.view.key_id for r in keys.values() if r.view.replaces == key_id), "")
            if is_over or heir:
                why = f"was replaced by `{heir}`" if heir else "counts no more"
                raise errors.Conflict(
                    f"API key `{key_id}` {why}; rotate that one, or issue a key",
                    resource="key",
                    name=key_id,
                )
            ends = now + timedelta(minutes=asked.overlap_minutes)
            ends = ends if old.expires_at is None else min(ends, old.expires_at)
            wanted = access.KeyCreate(
                caller=old.caller, scopes=old.scopes, project=old.project, expires_at=asked.expires_at
            )
            new, issued = self._made(wanted, by=by, replaces=key_id)
            made.append(issued)
            ending = record.model_copy(update={"view": old.model_copy(update={"expires_at": ends})})
            return _written({**keys, key_id: ending, issued.view.key_id: new})

        self._keys.change(edit)
        return made[-1]

    def _made(
        self, asked: access.KeyCreate, *, by: str, replaces: str = ""
    ) -> tuple[_Record, access.KeyIssued]:
        secret, now = secrets.token_urlsafe(32), self._time()
        wanted = asked.model_dump()
        if self._days:
            limit = now + timedelta(days=self._days)
            wanted["expires_at"] = limit if asked.expires_at is None else min(limit, asked.expires_at)
        view = access.KeyView(
            key_id=secrets.token_hex(6), created_at=now, created_by=by, replaces=replaces, **wanted
        )
        record = _Record(view=view, secret_sha256=hashlib.sha256(secret.encode()).hexdigest())
        return record, access.KeyIssued(key=f"{PREFIX}{view.key_id}_{secret}", view=view)

    def revoke(self, key_id: str, *, by: str) -> access.KeyView:
        """Let the key count no more; again changes nothing. Errors: NotFound, Overloaded, OSError."""

        def edit(keys: _Keys) -> tuple[_Keys, bytes]:
            view = _known(keys, key_id).view
            if view.revoked_at is None:
                view = view.model_copy(update={"revoked_at": self._time(), "revoked_by": by})
            record = keys[key_id].model_copy(update={"view": view})
            return _written({**keys, key_id: record})

        return self._keys.change(edit)[key_id].view

    def views(self) -> list[access.KeyView]:
        """Every key that was ever issued, oldest first."""
        return sorted((r.view for r in self._keys.get().values()), key=lambda v: (v.created_at, v.key_id))

    def _time(self) -> datetime:
        return datetime.fromtimestamp(self._now(), UTC)


def _known(keys: _Keys, key_id: str) -> _Record:
    if key_id not in keys:
        raise errors.NotFound(f"no API key `{key_id}`; GET /v1/keys lists them", resource="key", name=key_id)
    return keys[key_id]


def _read(content: bytes) -> _Keys:
    try:
        return {r.view.key_id: r for r in _Document.model_validate_json(content).keys}
    except ValidationError as error:
        # Without the values: they are hashes of secrets.
        places = ", ".join(f"`{'.'.join(map(str, e['loc']))}`" for e in error.errors()[:3])
        raise errors.InvalidSettings(
            f"no document of API keys, look at {places}", problems=("keys",)
        ) from error


def _written(keys: _Keys) -> tuple[_Keys, bytes]:
    return keys, _Document(keys=list(keys.values())).model_dump_json(indent=1).encode()
