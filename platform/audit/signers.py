"""Who signs checkpoints of the audit log: a key file of this machine, or OpenBao, which does not give its key away."""

from __future__ import annotations

import base64
import binascii
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from mainspring.core import durable, errors, settings
from mainspring.core.protection import openbao

__all__ = ["FileSigner", "OpenBaoSigner", "Signer", "chosen"]

_GROUP: Final = "audit"


class Signer(Protocol):
    """Signs by Ed25519. May ask another process: not for an event loop."""

    @property
    def public(self) -> ed25519.Ed25519PublicKey:
        """By which it signs."""
        ...

    @property
    def publics(self) -> tuple[ed25519.Ed25519PublicKey, ...]:
        """All whose signatures count, oldest first."""
        ...

    def refresh(self) -> None:
        """See whether the key was replaced. Errors: DependencyDown, Misconfigured, PermissionDenied."""
        ...

    def sign(self, data: bytes) -> bytes: ...


class FileSigner:
    """A private key in a PEM file of mode 0600, made on first use. Thread-safe."""

    def __init__(self, path: Path, replaced: Sequence[ed25519.Ed25519PublicKey] = ()) -> None:
        """`replaced`: public halves of the keys before, oldest first.

        Errors: Misconfigured if the file is readable by others or holds no Ed25519 key.
        """
        durable.ensure_secret(path, _new_key)
        if path.stat().st_mode & 0o077:
            raise errors.Misconfigured(
                f"audit key `{path.name}` may be read by others; run `chmod 600` on it"
            )
        try:
            private = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except ValueError as error:
            raise errors.Misconfigured(
                f"audit key `{path.name}` is no PEM private key; replace it"
            ) from error
        if not isinstance(private, ed25519.Ed25519PrivateKey):
            raise errors.Misconfigured(f"audit key `{path.name}` is not Ed25519; replace it")
        self._private = private
        self.public = private.public_key()
        mine = self.public.public_bytes_raw()
        self.publics = (*(key for key in replaced if key.public_bytes_raw() != mine), self.public)

    def refresh(self) -> None:
        """Nothing: the file is read at the start."""

    def sign(self, data: bytes) -> bytes:
        return self._private.sign(data)


def _new_key() -> bytes:
    return ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@dataclass(frozen=True)
class _Versions:
    """Of one key, oldest first; the last one signs."""

    numbers: tuple[int, ...]
    publics: tuple[ed25519.Ed25519PublicKey, ...]


class OpenBaoSigner:
    """A transit key of type `ed25519`; each of its versions is a key. Thread-safe."""

    def __init__(self, transit: openbao.Transit) -> None:
        self._transit = transit
        self._lock = threading.Lock()
        self._found: _Versions | None = None

    @property
    def public(self) -> ed25519.Ed25519PublicKey:
        return self._versions().publics[-1]

    @property
    def publics(self) -> tuple[ed25519.Ed25519PublicKey, ...]:
        return self._versions().publics

    def refresh(self) -> None:
        info = self._transit.key_info()
        if info.get("type") != "ed25519":
            raise errors.Misconfigured(
                f"key `{self._transit.key}` of OpenBao is of type `{info.get('type')}`, checkpoints need `ed25519`; make"
                " another one and name it in `audit.openbao_key`"
            )
        try:
            numbers = tuple(sorted(map(int, info["keys"])))
            raws = [base64.b64decode(info["keys"][str(n)]["public_key"], validate=True) for n in numbers]
            publics = tuple(map(ed25519.Ed25519PublicKey.from_public_bytes, raws))
        except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
            raise openbao.no_answer(self._transit.key, _GROUP) from error
        with self._lock:
            self._found = _Versions(numbers, publics)

    def sign(self, data: bytes) -> bytes:
        """By the version that `public` shows, whatever was made since. What comes back is verified."""
        found = self._versions()
        asked = {"input": base64.b64encode(data).decode(), "key_version": found.numbers[-1]}
        answer = self._transit.ask("POST", "sign/" + self._transit.key, asked)
        try:
            signature = base64.b64decode(str(answer["signature"]).rpartition(":")[2], validate=True)
            found.publics[-1].verify(signature, data)
        except (KeyError, ValueError, binascii.Error, InvalidSignature) as error:
            raise openbao.no_answer(self._transit.key, _GROUP) from error
        return signature

    def _versions(self) -> _Versions:
        if self._found is None:
            self.refresh()
        assert self._found is not None
        return self._found


def chosen(s: settings.AuditSettings, key: Path, replaced: Sequence[ed25519.Ed25519PublicKey]) -> Signer:
    """By settings: `key` and its predecessors' public halves are for the file. Errors: Misconfigured."""
    if s.signer == "file":
        return FileSigner(key, replaced)
    if not s.openbao_url:
        raise errors.Misconfigured("`audit.signer` is `openbao` and `audit.openbao_url` is empty; set it")
    transit = openbao.Transit(
        s.openbao_url,
        s.openbao_token_file,
        mount=s.openbao_mount,
        key=s.openbao_key,
        made_by="type=ed25519",
        settings_group=_GROUP,
    )
    return OpenBaoSigner(transit)
