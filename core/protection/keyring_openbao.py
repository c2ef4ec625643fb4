"""OpenBao's transit engine as the ring of keys.

The transit key is `derived`, so that each context has a key of its own.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Final

import httpx

from mainspring.core import errors
from mainspring.core.protection import openbao

__all__ = ["OpenBaoKeyRing"]

_PREFIX: Final = "openbao:"
_GROUP: Final = "protection"


class OpenBaoKeyRing:
    """One transit key, `aes256-gcm96` with `derived=true`. Thread-safe."""

    def __init__(
        self,
        url: str,
        token_file: Path,
        *,
        mount: str = "transit",
        key: str = "mainspring",
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._key = key
        self._transit = openbao.Transit(
            url,
            token_file,
            mount=mount,
            key=key,
            made_by="type=aes256-gcm96 derived=true",
            settings_group=_GROUP,
            transport=transport,
        )

    def wrap(self, key: bytes, context: str) -> str:
        asked = {"plaintext": base64.b64encode(key).decode(), "context": _coded(context)}
        return _PREFIX + str(self._transit.ask("POST", f"encrypt/{self._key}", asked)["ciphertext"])

    def unwrap(self, wrapped: str, context: str) -> bytes:
        asked = {"ciphertext": _bare(wrapped), "context": _coded(context)}
        try:
            return base64.b64decode(
                self._transit.ask("POST", f"decrypt/{self._key}", asked)["plaintext"], validate=True
            )
        except (binascii.Error, ValueError) as error:
            raise openbao.no_answer(self._key, _GROUP) from error

    def rewrap(self, wrapped: str, context: str) -> str:
        bare = _bare(wrapped)
        if bare.startswith(f"vault:v{self._transit.newest()}:"):
            return wrapped
        asked = {"ciphertext": bare, "context": _coded(context)}
        return _PREFIX + str(self._transit.ask("POST", f"rewrap/{self._key}", asked)["ciphertext"])

    def rotate(self) -> str:
        return f"v{self._transit.rotate()}"


def _bare(wrapped: str) -> str:
    if not wrapped.startswith(_PREFIX):
        raise errors.CorruptArtifact(
            "a data key is not wrapped by OpenBao; use the ring that wrapped it (`protection.keyring`)",
            artifact="data key",
            expected=_PREFIX,
            got=wrapped[:12],
        )
    return wrapped.removeprefix(_PREFIX)


def _coded(context: str) -> str:
    return base64.b64encode(context.encode()).decode()
