"""OpenBao: its transit engine, whose keys never leave it, and its key-value engine. The only file that speaks to it.

Plain httpx: of its API we need a few calls, and the client libraries bring a second HTTP stack.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import httpx

from mainspring.core import errors

__all__ = ["KeyValue", "Transit", "no_answer"]

_TIMEOUT_SECONDS: Final = 5.0


class _Server:
    """One server, and whose token it is shown. Thread-safe."""

    def __init__(
        self, url: str, token_file: Path, settings_group: str, transport: httpx.BaseTransport | None
    ) -> None:
        self._url, self._token_file, self._group, self._transport = url, token_file, settings_group, transport

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        """A success, or a refusal that is the engine's own (400, 404); what was sent is in no message.

        Errors: Misconfigured for no token; PermissionDenied; DependencyDown.
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
                answer = client.request(method, f"/v1/{path}", json=body, headers=headers)
        except httpx.HTTPError as error:
            raise errors.DependencyDown(
                f"OpenBao does not answer: {type(error).__name__}; start it, or correct `{self._group}.openbao_url`",
                name="openbao",
            ) from error
        if answer.status_code == 403:
            raise errors.PermissionDenied(
                f"the token in `{self._token_file.name}` has ended or may not use `{path}`; renew it, or widen its policy",
                actor="openbao token",
                action=path,
            )
        if not answer.is_success and answer.status_code not in (400, 404):
            raise errors.DependencyDown(
                f"OpenBao answered {answer.status_code}, as when it is sealed; unseal it", name="openbao"
            )
        return answer

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
        self._server = _Server(url, token_file, settings_group, transport)
        self._mount, self.key = mount, key
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
        answer = self._server.ask(method, f"{self._mount}/{what}", body)
        if not answer.is_success:
            raise self._refused(answer, what)
        try:
            found = answer.json()["data"] if answer.content else {}
        except (ValueError, KeyError, TypeError) as error:
            raise no_answer(self.key, self._group) from error
        return found if isinstance(found, dict) else {}

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


class KeyValue:
    """Secrets of one server's key-value engines, of either version. Thread-safe."""

    def __init__(
        self,
        url: str,
        token_file: Path,
        *,
        settings_group: str,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._server, self._group = _Server(url, token_file, settings_group, transport), settings_group

    def read(self, path: str, field: str) -> str:
        """One field of what lies at `path`, which begins with the mount, as it is at this moment.

        Errors: NotFound where nothing, or no text, lies there; those of the server.
        """
        where, is_versioned = self._where(path)
        answer = self._server.ask("GET", where)
        found = self._data(answer) if answer.is_success else {}
        if is_versioned:
            found = found.get("data") or {}
        value = found.get(field)
        if not isinstance(value, str):
            raise errors.NotFound(
                f"OpenBao has no text `{field}` at `{path}`; write it there (`bao kv put`), or correct the reference",
                resource="secret",
                name=f"openbao:{path}#{field}",
            )
        return value

    def _where(self, path: str) -> tuple[str, bool]:
        """As the engine's version has it: the second keeps versions, and has its data apart."""
        answer = self._server.ask("GET", f"sys/internal/ui/mounts/{path}")
        mount = self._data(answer) if answer.is_success else {}
        place, options = str(mount.get("path", "")), mount.get("options") or {}
        if place and path.startswith(place) and options.get("version") == "2":
            return f"{place}data/{path.removeprefix(place)}", True
        return path, False

    def _data(self, answer: httpx.Response) -> dict[str, Any]:
        try:
            return dict(answer.json()["data"])
        except (ValueError, KeyError, TypeError) as error:
            raise no_answer("a secret", self._group) from error
