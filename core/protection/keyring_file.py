"""The embedded ring of keys: a file of this machine. AES-256-GCM, the context authenticated beside each wrapped key."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mainspring.core import durable, errors, watched

__all__ = ["FileKeyRing"]

_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_LINE: Final = re.compile(r"([a-z0-9-]{1,40}) ([0-9a-f]{64})")
_WRAPPED: Final = re.compile(r"file:([a-z0-9-]{1,40}):([A-Za-z0-9_=-]+)")


@dataclass(frozen=True)
class _Keys:
    by_id: Mapping[str, AESGCM]
    text: str

    @classmethod
    def parse(cls, content: bytes) -> _Keys:
        """Errors: InvalidSettings; it never repeats a line, which is a secret."""
        found: dict[str, AESGCM] = {}
        text = content.decode(errors="replace")
        for number, raw in enumerate(text.splitlines(), 1):
            line = raw.partition("#")[0].strip()
            if not line:
                continue
            match = _LINE.fullmatch(line)
            if match is None or match[1] in found:
                raise _bad(f"line {number} is no new key; write `<id> <64 hex digits>`, each id once")
            found[match[1]] = AESGCM(bytes.fromhex(match[2]))
        if not found:
            raise _bad("it has no key; restore it: without its keys nobody can read what was sealed")
        return cls(MappingProxyType(found), text)


_NONE: Final = _Keys(MappingProxyType({}), "")


class FileKeyRing:
    """A file of keys, mode 0600, made on first use. A change of it is in force within a second; thread-safe."""

    def __init__(self, path: Path) -> None:
        """Errors: Misconfigured for a file that holds no keys, or that others may read; OSError."""
        durable.ensure_secret(path, lambda: _new_line().encode())
        if path.stat().st_mode & 0o077:
            raise errors.Misconfigured(f"`{path.name}` may be read by others than its owner; `chmod 600` it")
        self._path = path
        self._file = watched.Watched(path, _Keys.parse, _NONE)

    def wrap(self, key: bytes, context: str) -> str:
        keys = self._file.get()
        key_id = next(iter(keys.by_id), None)
        if key_id is None:
            raise errors.Misconfigured(f"`{self._path.name}` is gone; restore it")
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = keys.by_id[key_id].encrypt(nonce, key, _bound_to(key_id, context))
        return f"file:{key_id}:{base64.urlsafe_b64encode(nonce + sealed).decode()}"

    def unwrap(self, wrapped: str, context: str) -> bytes:
        key_id, sealed = _parse(wrapped)
        keys = self._file.get()
        if key_id not in keys.by_id:
            self._file.look()  # another process may have rotated within the last second
            keys = self._file.get()
        if key_id not in keys.by_id:
            raise errors.Misconfigured(
                f"no key `{key_id}` in `{self._path.name}`, and a data key is wrapped by it; restore its line, old keys"
                " stay until everything is wrapped anew"
            )
        try:
            return keys.by_id[key_id].decrypt(
                sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _bound_to(key_id, context)
            )
        except (InvalidTag, ValueError) as error:
            raise _corrupt(f"wrapped by `{key_id}` for `{context}`", "another content or context") from error

    def rewrap(self, wrapped: str, context: str) -> str:
        if _parse(wrapped)[0] == next(iter(self._file.get().by_id), None):
            return wrapped
        return self.wrap(self.unwrap(wrapped, context), context)

    def rotate(self) -> str:
        """Errors: Overloaded while another process rotates; Misconfigured if the file is gone."""

        def edit(keys: _Keys) -> tuple[_Keys, bytes]:
            if not keys.by_id:
                raise errors.Misconfigured(f"`{self._path.name}` is gone; restore it before it is rotated")
            written = (_new_line() + keys.text).encode()
            return _Keys.parse(written), written

        return next(iter(self._file.change(edit).by_id))


def _parse(wrapped: str) -> tuple[str, bytes]:
    match = _WRAPPED.fullmatch(wrapped)
    try:
        sealed = base64.urlsafe_b64decode(match[2]) if match else b""
    except (binascii.Error, ValueError):
        sealed = b""
    if match is None or len(sealed) <= _NONCE_BYTES:
        raise _corrupt("a key that a file of keys wrapped", wrapped[:12])
    return match[1], sealed


def _bound_to(key_id: str, context: str) -> bytes:
    return f"mainspring/keyring/1\0{key_id}\0{context}".encode()


def _new_line() -> str:
    return f"{secrets.token_hex(4)} {secrets.token_hex(_KEY_BYTES)}\n"


def _corrupt(expected: str, got: str) -> errors.CorruptArtifact:
    return errors.CorruptArtifact(
        "a wrapped data key was changed, or is of another ring or context; restore the keyset that it is from",
        artifact="data key",
        expected=expected,
        got=got,
    )


def _bad(why: str) -> errors.InvalidSettings:
    return errors.InvalidSettings(f"ring of keys: {why}", problems=("protection.keyring_file",))
