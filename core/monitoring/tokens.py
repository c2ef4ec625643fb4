"""Tokens for values that tell of a person: equal values have equal tokens, and only the key's owner can make them."""

from __future__ import annotations

import hmac
import math
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from mainspring.core import durable, errors

__all__ = ["Tokeniser"]

_KEY_BYTES: Final = 32
_PREFIX: Final = "tok_"


class Tokeniser:
    """HMAC-SHA256 of column and value, its first 128 bits. Immutable, thread-safe.

    The column is in it: equal values of two columns cannot be linked. Without the key nobody can try values out.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def load(cls, path: Path) -> Tokeniser:
        """The key of that file, made on first use, readable by its owner only.

        Errors: InvalidSettings for a file that holds no key of ours, OSError.
        """
        durable.ensure_secret(path, lambda: secrets.token_hex(_KEY_BYTES).encode())
        try:
            key = bytes.fromhex(path.read_text().strip())
        except ValueError:
            key = b""
        if len(key) != _KEY_BYTES:
            raise errors.InvalidSettings(
                f"`{path.name}` holds no key for tokens, {2 * _KEY_BYTES} hex digits; restore it: with another key no"
                " earlier token can be matched",
                problems=(path.name,),
            )
        return cls(key)

    def column(self, name: str, values: Sequence[Any]) -> list[str | None]:
        """A token for each value of column `name`; None for a missing one (None, NaN)."""
        known: dict[Any, str | None] = {}
        tokens = []
        for value in values:
            if value not in known:
                known[value] = self._token(name, value)
            tokens.append(known[value])
        return tokens

    def _token(self, name: str, value: Any) -> str | None:
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return None
        digest = hmac.digest(self._key, f"{name}\0{value}".encode(), "sha256")
        return _PREFIX + digest[:16].hex()
