"""OpenBao's transit engine as the ring of keys: its keys never leave it. The only file that speaks to it.

The transit key is `derived`, so that each context has a key of its own. Plain httpx: of its API we need four calls, and the
client libraries bring a second HTTP stack.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Any, Final

import httpx

from mainspring.core import errors

__all__ = ["OpenBaoKeyRing"]

_PREFIX: Final = "openbao:"
_TIMEOUT_SECONDS: Final = 5.0


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
        self._token_file, self._mount, self._key = token_file, mount, key
        self._url, self._transport = url, transport

    def wrap(self, key: bytes, context: str) -> str:
        asked = {"plaintext": base64.b64encode(key).decode(), "context": _coded(context)}
        return _PREFIX + str(self._ask("POST", f"encrypt/{self._key}", asked)["ciphertext"])

    def unwrap(self, wrapped: str, context: str) -> bytes:
        asked = {"ciphertext": _bare(wrapped), "context": _coded(context)}
        try:
            return base64.b64decode(
                self._ask("POST", f"decrypt/{self._key}", asked)["plaintext"], validate=True
            )
        except (binascii.Error, ValueError) as error:
            raise _no_answer(self._key) from error

    def rewrap(self, wrapped: str, context: str) -> str:
        bare = _bare(wrapped)
        if bare.startswith(f"vault:v{self._newest()}:"):
            return wrapped
        asked = {"ciphertext": bare, "context": _coded(context)}
        return _PREFIX + str(self._ask("POST", f"rewrap/{self._key}", asked)["ciphertext"])

    def rotate(self) -> str:
        self._ask("POST", f"keys/{self._key}/rotate", {})
        return f"v{self._newest()}"

    def _newest(self) -> int:
        return int(self._ask("GET", f"keys/{self._key}")["latest_version"])

    def _ask(self, method: str, what: str, body: dict[str, str] | None = None) -> dict[str, Any]:
        """The answer's data. Errors: as the port says; what was sent is in no message."""
        try:
            headers = {"X-Vault-Token": self._token_file.read_text().strip()}
        except OSError as error:
            raise errors.Misconfigured(
                f"no token for OpenBao in `{self._token_file.name}`: {error.strerror}; put one there"
                " (`protection.openbao_token_file`)"
            ) from error
        try:
            with self._client() as client:
                answer = client.request(method, f"/v1/{self._mount}/{what}", json=body, headers=headers)
        except httpx.HTTPError as error:
            raise errors.DependencyDown(
                f"OpenBao does not answer: {type(error).__name__}; start it, or correct `protection.openbao_url`",
                name="openbao",
            ) from error
        if answer.status_code in (400, 404):
            raise self._refused(answer, what)
        if answer.status_code == 403:
            raise errors.PermissionDenied(
                f"the token in `{self._token_file.name}` has ended or may not use `{self._mount}/{what}`; renew it, or"
                " widen its policy",
                actor="openbao token",
                action=what,
            )
        if not answer.is_success:
            raise errors.DependencyDown(
                f"OpenBao answered {answer.status_code}, as when it is sealed; unseal it", name="openbao"
            )
        try:
            found = answer.json()["data"] if answer.content else {}
        except (ValueError, KeyError, TypeError) as error:
            raise _no_answer(self._key) from error
        return found if isinstance(found, dict) else {}

    def _client(self) -> httpx.Client:
        """For one call: keys are unwrapped once a process, and nothing is left open for the rest of it."""
        # Neither by a proxy of the environment nor to where an answer redirects: data keys go with it.
        return httpx.Client(
            base_url=self._url,
            timeout=_TIMEOUT_SECONDS,
            trust_env=False,
            transport=self._transport,
            follow_redirects=False,
        )

    def _refused(self, answer: httpx.Response, what: str) -> errors.MainspringError:
        """An unknown key and an unmounted engine are the operator's; what cannot be decrypted is the caller's."""
        said = answer.text[:500]
        is_missing = answer.status_code == 404 or "not found" in said or "no handler" in said
        if is_missing or what.startswith(("keys/", "encrypt/")):
            return errors.Misconfigured(
                f"OpenBao has no key `{self._key}` of ours at `{self._mount}`; make it: `bao write -f"
                f" {self._mount}/keys/{self._key} type=aes256-gcm96 derived=true`"
            )
        return errors.CorruptArtifact(
            "OpenBao cannot unwrap a data key: it was changed, or is of another ring or context, or of a version below"
            " the key's `min_decryption_version`; restore the keyset that it is from",
            artifact="data key",
            expected=f"wrapped by `{self._mount}/{self._key}`",
            got=str(answer.status_code),
        )


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


def _no_answer(key: str) -> errors.DependencyDown:
    return errors.DependencyDown(
        f"what answered for key `{key}` is no OpenBao; correct `protection.openbao_url`", name="openbao"
    )
