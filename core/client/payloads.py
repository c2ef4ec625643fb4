"""What workflows are told and answer, encrypted before it leaves the process: Temporal keeps only ciphertext.

Encrypted are the payloads: arguments, results, heartbeats, queries, updates, schedules' requests, and the words and traces
of failures. What is large is kept beside Temporal then (`claims.py`). Not encrypted, because Temporal itself works by them: workflow ids, types, task queues and times.
"""

from __future__ import annotations

import dataclasses
import re
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf import json_format
from temporalio import converter
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.contrib.pydantic import pydantic_data_converter

from mainspring.core import durable, errors, watched
from mainspring.core.client import claims

if TYPE_CHECKING:
    from mainspring.core import settings

__all__ = ["Keys", "SealedPayloads", "codec_of", "converter_of", "ensure_keys", "rotate", "store_of"]

_ENCODING: Final = b"binary/encrypted"
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_LINE: Final = re.compile(r"([a-z0-9-]{1,40}) ([0-9a-f]{64})")


@dataclasses.dataclass(frozen=True)
class Keys:
    """Keys by id, AES-256. The first of the file encrypts; all of them decrypt."""

    by_id: Mapping[str, AESGCM]
    text: str
    """The file as it was read."""

    @property
    def current(self) -> str:
        return next(iter(self.by_id))

    @classmethod
    def parse(cls, content: bytes) -> Keys:
        """Lines of `<id> <64 hex digits>`; empty ones and those after `#` say nothing. Errors: InvalidSettings."""
        found: dict[str, AESGCM] = {}
        text = content.decode(errors="replace")
        for number, raw in enumerate(text.splitlines(), 1):
            line = raw.partition("#")[0].strip()
            if not line:
                continue
            match = _LINE.fullmatch(line)
            if match is None or match[1] in found:
                # The line itself is a secret.
                raise _bad(f"line {number} is no new key; write `<id> <64 hex digits>`, each id once")
            found[match[1]] = AESGCM(bytes.fromhex(match[2]))
        if not found:
            raise _bad("it has no key; restore it: without its keys nobody can read the runs that used them")
        return cls(MappingProxyType(found), text)


class SealedPayloads(converter.PayloadCodec):
    """AES-256-GCM with a key id beside each payload. Thread-safe.

    A file of keys that changes is in force within a second, so a rotation needs no restart. A payload that is not
    encrypted passes through as it is: those of before encryption, and what people give to the `temporal` command.
    A key's nonces are random: rotate it before four billion payloads.
    """

    def __init__(self, path: Path, *, encrypts: bool = True, store: claims.ClaimStore | None = None) -> None:
        """`encrypts` false: what is encrypted can be read, and nothing more is. `store`: where large payloads are; without
        it all of them are in the history, and Temporal refuses those above 2 MB. Errors: Misconfigured."""
        self._path, self._encrypts, self._store = path, encrypts, store
        self._keys = watched.Watched(path, Keys.parse, Keys(MappingProxyType({}), ""))
        if encrypts and not self._keys.get().by_id:
            raise errors.Misconfigured(
                f"no keys of payloads in `{path.name}`; put the workers' file there, or set"
                " `workflow.encrypt_payloads = false`"
            )

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Errors: DependencyDown, PermissionDenied where a large payload cannot be kept."""
        sealed = list(payloads)
        if self._encrypts:
            keys = self._keys.get()
            sealed = [_seal(keys, payload) for payload in payloads]
        if self._store is None:
            return sealed
        return [await self._store.keep(one) for one in sealed]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Errors: Misconfigured for a key or a store that this process has not; CorruptArtifact for changed bytes;
        NotFound for a large payload that is gone; DependencyDown."""
        found = [await self._fetch(one) for one in payloads]
        return [self._open(p) if p.metadata.get("encoding") == _ENCODING else p for p in found]

    async def decode_json(self, body: bytes) -> bytes:
        """`Payloads` in protobuf's JSON, as the `temporal` command and Temporal's UI ask a codec server.

        Errors: InvalidRequest for a body of another form; those of :meth:`decode`.
        """
        try:
            asked = json_format.Parse(body, Payloads())
        except (json_format.ParseError, UnicodeDecodeError) as error:
            raise errors.InvalidRequest(
                f"the body is no `Payloads` of Temporal: {error}; send what `--codec-endpoint` sends",
                field="body",
            ) from error
        answer = Payloads(payloads=await self.decode(asked.payloads))
        return json_format.MessageToJson(answer, indent=None).encode()

    async def _fetch(self, payload: Payload) -> Payload:
        if self._store is not None:
            return await self._store.fetch(payload)
        if claims.is_reference(payload):
            raise errors.Misconfigured(
                "a payload is kept beside Temporal, and this process does not know where; name the workers' place in"
                " `workflow.claims`, or give the codec its `ClaimStore`"
            )
        return payload

    def _open(self, payload: Payload) -> Payload:
        key_id = payload.metadata.get("encryption-key-id", b"").decode(errors="replace")
        key = self._keys.get().by_id.get(key_id) or self._fresh(key_id)
        nonce, sealed = payload.data[:_NONCE_BYTES], payload.data[_NONCE_BYTES:]
        try:
            return Payload.FromString(key.decrypt(nonce, sealed, _bound_to(key_id)))
        except (InvalidTag, ValueError) as error:
            raise errors.CorruptArtifact(
                f"a payload was changed after key `{key_id}` encrypted it, or another key has that id; compare the"
                " files of keys of client and worker",
                artifact="payload",
                expected=f"encrypted by `{key_id}`",
                got="another content",
            ) from error

    def _fresh(self, key_id: str) -> AESGCM:
        """A key that another process has begun to use within the last second."""
        try:
            return Keys.parse(self._path.read_bytes()).by_id[key_id]
        except (KeyError, FileNotFoundError) as error:
            raise errors.Misconfigured(
                f"no key `{key_id}` in `{self._path.name}`, and a payload is encrypted by it; add its line from the"
                " process that wrote it, old keys stay for as long as their runs are kept"
            ) from error


def codec_of(where: settings.WorkflowSettings) -> SealedPayloads:
    """The codec that is in force; with encryption on, the file of keys is made on first use. Errors: Misconfigured."""
    if where.encrypt_payloads:
        ensure_keys(where.payload_keys)
    return SealedPayloads(where.payload_keys, encrypts=where.encrypt_payloads, store=store_of(where))


def store_of(where: settings.WorkflowSettings) -> claims.ClaimStore | None:
    """Where large payloads are; None where nothing says so."""
    return claims.ClaimStore(where.claims) if where.claims else None


def converter_of(codec: converter.PayloadCodec | None) -> converter.DataConverter:
    """How contracts become payloads; with a codec also what failures say goes through it."""
    if codec is None:
        return pydantic_data_converter
    return dataclasses.replace(
        pydantic_data_converter,
        payload_codec=codec,
        failure_converter_class=converter.DefaultFailureConverterWithEncodedAttributes,
    )


def ensure_keys(path: Path) -> None:
    """One new key where there is no file, mode 0600; of processes that start together one makes it. Errors: OSError."""
    durable.ensure_secret(path, lambda: _new_line().encode())


def rotate(path: Path) -> str:
    """A new key encrypts from now on, all earlier ones decrypt. Returns its id.

    Where processes have copies of the file: add the new line at the end of each first, then make it the first line.
    Errors: Misconfigured without a readable file; Overloaded while another process rotates.
    """
    file = watched.Watched(path, Keys.parse, Keys(MappingProxyType({}), ""))

    def edit(keys: Keys) -> tuple[Keys, bytes]:
        if not keys.by_id:
            raise errors.Misconfigured(f"no keys in `{path.name}` to rotate; the first worker makes the file")
        written = (_new_line() + keys.text).encode()
        return Keys.parse(written), written

    return file.change(edit).current


def _seal(keys: Keys, payload: Payload) -> Payload:
    key_id, nonce = keys.current, secrets.token_bytes(_NONCE_BYTES)
    sealed = keys.by_id[key_id].encrypt(nonce, payload.SerializeToString(), _bound_to(key_id))
    metadata = {"encoding": _ENCODING, "encryption-key-id": key_id.encode()}
    return Payload(metadata=metadata, data=nonce + sealed)


def _bound_to(key_id: str) -> bytes:
    return b"mainspring/payload/1/" + key_id.encode()


def _new_line() -> str:
    return f"{secrets.token_hex(4)} {secrets.token_hex(_KEY_BYTES)}\n"


def _bad(why: str) -> errors.InvalidSettings:
    return errors.InvalidSettings(f"file of payload keys: {why}", problems=("workflow.payload_keys",))
