"""OpenBao's transit engine: keys that never leave it. The only file that speaks to it.

Plain httpx: of its API we need a few calls, and the client libraries bring a second HTTP stack.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import httpx

from mainspring.core import errors

__all__ = ["Transit", "no_answer"]

_TIMEOUT_SECONDS: Final = 5.0


class Transit:
    """One transit key of one server. Thread-safe."""

    def __init__(
        self,
        url: str,
        token_file: Path,
        *,
        mount: str,
        key: str,
        made_by: str,
        settings_group: str,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`made_by` are the words that make such a key (`type=...`), `settings_group` whose `openbao_*` a message names."""
        self._token_file, self._mount, self.key = token_file, mount, key
        self._url, self._transport = url, transport
        self._made_by, self._group = made_by, settings_group

    def key_info(self) -> dict[str, Any]:
        """What the server says of the key: versions, and their public halves. Errors: those of `ask`."""
        return self.ask("GET", f"keys/{self.key}")

    def newest(self) -> int:
        return int(self.key_info()["latest_version"])

    def rotate(self) -> int:
        """Make a new version and return its number."""
        self.ask("POST", f"keys/{self.key}/rotate", {})
        return self.newest()

    def ask(self, method: str, what: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The answer's data; what was sent is in no message.

        Errors: Misconfigured for no token, or no such key; PermissionDenied; DependencyDown; CorruptArtifact for what the key
        did not make.
        """
        try:
            headers = {"X-Vault-Token": self._token_file.read_text().strip()}
        except OSError as error:
            raise errors.Misconfigured(
                f"no token for OpenBao in `{self._token_file.name}`: {error.strerror}; put one there"
                f" (`{self._group}.openbao_token_file`)"
            ) from error
        try:
            with self._client() as client:
                answer = client.request(method, f"/v1/{self._mount}/{what}", json=body, headers=headers)
        except httpx.HTTPError as error:
            raise errors.DependencyDown(
                f"OpenBao does not answer: {type(error).__name__}; start it, or correct `{self._group}.openbao_url`",
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
            raise no_answer(self.key, self._group) from error
        return found if isinstance(found, dict) else {}

    def _client(self) -> httpx.Client:
        """For one call: nothing is left open for the rest of the process."""
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
        if is_missing or what.startswith(("keys/", "encrypt/", "sign/")):
            return errors.Misconfigured(
                f"OpenBao has no key `{self.key}` of ours at `{self._mount}`; make it: `bao write -f"
                f" {self._mount}/keys/{self.key} {self._made_by}`"
            )
        return errors.CorruptArtifact(
            "OpenBao cannot unwrap a data key: it was changed, or is of another ring or context, or of a version below"
            " the key's `min_decryption_version`; restore the keyset that it is from",
            artifact="data key",
            expected=f"wrapped by `{self._mount}/{self.key}`",
            got=str(answer.status_code),
        )


def no_answer(key: str, settings_group: str) -> errors.DependencyDown:
    return errors.DependencyDown(
        f"what answered for key `{key}` is no OpenBao; correct `{settings_group}.openbao_url`", name="openbao"
    )
