"""Who is erased: an entity and its key, and the keyed hash that stands for them wherever they must not be named."""

from __future__ import annotations

import hmac
import math
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mainspring.core import durable, errors

__all__ = ["Subject", "SubjectHasher", "text_of"]

_KEY_BYTES: Final = 32


@dataclass(frozen=True)
class Subject:
    """One subject of one project."""

    project: str
    entity: str
    """The join key's name."""
    key: str
    """Its value, as text: whole numbers in digits."""
    also: frozenset[str] = frozenset()
    """Other columns that hold the same key."""

    @property
    def columns(self) -> frozenset[str]:
        return self.also | {self.entity}


class SubjectHasher:
    """HMAC-SHA256 of project, entity and key. Immutable, thread-safe.

    Keys of persons are few and guessable: without the key file nobody can try them out. Of another project the same
    person is another hash. Speed: 2 us a value (CPU time of one busy core, 2026-11).
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def load(cls, path: Path) -> SubjectHasher:
        """The key of that file, made on first use, readable by its owner only.

        Errors: InvalidSettings for a file that holds no key of ours; OSError.
        """
        durable.ensure_secret(path, lambda: secrets.token_hex(_KEY_BYTES).encode())
        try:
            key = bytes.fromhex(path.read_text().strip())
        except ValueError:
            key = b""
        if len(key) != _KEY_BYTES:
            raise errors.InvalidSettings(
                f"`{path.name}` holds no key for subjects, {2 * _KEY_BYTES} hex digits; restore it: with another key"
                " erased subjects are not recognised when their data comes again",
                problems=(path.name,),
            )
        return cls(key)

    def of(self, subject: Subject) -> str:
        """64 hex digits."""
        return self.hash(subject.project, subject.entity, subject.key)

    def hash(self, project: str, entity: str, key: str) -> str:
        """As :meth:`of`, of the parts."""
        return hmac.digest(self._key, f"{project}\0{entity}\0{key}".encode(), "sha256").hex()


def text_of(value: Any) -> str | None:
    """A key as text, whatever column it came from: 5, 5.0 and "5" are the same subject. None: no key (null, NaN, a list)."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return str(int(value)) if value.is_integer() else repr(value)
    try:
        return str(int(value))  # NumPy's numbers, too
    except (TypeError, ValueError):
        return None
