"""A project's data keys: wrapped by a ring, in one small file. The first seals, all open; a forgotten one opens nothing more."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mainspring.core import canonical, errors, ids, ports, settings, watched
from mainspring.core.contracts import base
from mainspring.core.protection import keyring_file, keyring_openbao

if TYPE_CHECKING:
    from mainspring.core.protection import sealing  # polars, which the control API starts without

__all__ = ["DataKey", "Keyset", "keyring", "keyset"]

_VERSION: Final = 1
_KEY_BYTES: Final = 32
"""As `sealing.Cipher` takes them."""
_KEY_ID: Final = re.compile(r"[0-9a-f]{8}")


@dataclass(frozen=True)
class DataKey:
    """One data key as it is kept."""

    id: str
    wrapped: str
    made_at: str


@dataclass(frozen=True)
class _Keys:
    keys: tuple[DataKey, ...] = ()

    @classmethod
    def parse(cls, content: bytes) -> _Keys:
        """Errors: CorruptArtifact."""
        try:
            document = json.loads(content)
            if document["version"] != _VERSION:
                raise ValueError(f"version {document['version']}")
            keys = tuple(
                DataKey(str(k["id"]), str(k["wrapped"]), str(k["made_at"])) for k in document["keys"]
            )
            if (
                not keys
                or any(not _KEY_ID.fullmatch(k.id) for k in keys)
                or len({k.id for k in keys}) < len(keys)
            ):
                raise ValueError("no keys, or one twice")
        except (ValueError, KeyError, TypeError) as error:
            raise errors.CorruptArtifact(
                f"a keyset cannot be read: {error}; restore it: without it nobody can read what was sealed",
                artifact="keyset",
                expected=f"version {_VERSION}",
                got="another content",
            ) from error
        return cls(keys)

    def written(self) -> bytes:
        return canonical.dumps(
            {
                "version": _VERSION,
                "keys": [{"id": k.id, "wrapped": k.wrapped, "made_at": k.made_at} for k in self.keys],
            }
        )


class Keyset:
    """The data keys of one project. Thread-safe; of processes that change it one does at a time.

    Rotating the ring and `rewrap` change no sealed value and take one call a key. `add` makes a new data key: what is
    sealed from then on is sealed by it, what was sealed before opens as ever, and `tables.reseal` brings it over.
    """

    def __init__(self, path: Path, name: str, ring: ports.KeyRing) -> None:
        """Errors: Misconfigured for a file that cannot be read."""
        self.name, self.ring = name, ring
        self._file = watched.Watched(path, _Keys.parse, _Keys())
        self._made: tuple[tuple[str, ...], sealing.Cipher] | None = None

    def keys(self) -> tuple[DataKey, ...]:
        """The newest first; none before the first use."""
        return self._file.get().keys

    def cipher(self) -> sealing.Cipher:
        """What seals by the newest key and opens by all; a first key is made where there is none.

        Keys are unwrapped once for each state of the file. Errors: those of the ring.
        """
        if not self.keys():
            self._change(lambda keys: keys if keys else (self._fresh(),))
        keys = self.keys()
        state = tuple(k.id for k in keys)
        made = self._made
        if made is None or made[0] != state:
            from mainspring.core.protection import sealing

            opened = {k.id: self.ring.unwrap(k.wrapped, self._context(k.id)) for k in keys}
            made = self._made = (state, sealing.Cipher(opened, current=state[0]))
        return made[1]

    def add(self) -> str:
        """A new data key, which seals from now on. Returns its id."""
        return self._change(lambda keys: (self._fresh(), *keys))[0].id

    def rewrap(self) -> int:
        """Wrap every key by the ring's newest version; how many were not. Safe to repeat. Errors: those of the ring."""
        changed = 0

        def edit(keys: tuple[DataKey, ...]) -> tuple[DataKey, ...]:
            nonlocal changed
            after = tuple(replace(k, wrapped=self.ring.rewrap(k.wrapped, self._context(k.id))) for k in keys)
            changed = sum(a != b for a, b in zip(keys, after, strict=True))
            return after

        if self.keys():
            self._change(edit)
        return changed

    def forget(self, key_id: str) -> None:
        """Destroy a data key that seals nothing any more: what it still sealed can never be read again.

        Errors: NotFound; Conflict for the newest one.
        """

        def edit(keys: tuple[DataKey, ...]) -> tuple[DataKey, ...]:
            if key_id not in {k.id for k in keys}:
                raise errors.NotFound(
                    f"keyset `{self.name}` has no key `{key_id}`; see `mainspring keyring show`",
                    resource="data key",
                    name=key_id,
                )
            if keys[0].id == key_id:
                raise errors.Conflict(
                    f"key `{key_id}` is the one that seals; make another one first",
                    resource="data key",
                    name=key_id,
                )
            return tuple(k for k in keys if k.id != key_id)

        self._change(edit)

    def _fresh(self) -> DataKey:
        key_id = secrets.token_hex(4)
        key = secrets.token_bytes(_KEY_BYTES)
        return DataKey(key_id, self.ring.wrap(key, self._context(key_id)), base.utc_now().isoformat())

    def _context(self, key_id: str) -> str:
        return f"mainspring/keyset/1/{self.name}/{key_id}"

    def _change(self, edit: Callable[[tuple[DataKey, ...]], tuple[DataKey, ...]]) -> tuple[DataKey, ...]:
        def whole(found: _Keys) -> tuple[_Keys, bytes]:
            after = _Keys(edit(found.keys))
            return after, after.written()

        return self._file.change(whole).keys


def keyring(where: settings.ProtectionSettings) -> ports.KeyRing:
    """The ring that the settings name. Errors: Misconfigured."""
    if where.keyring == "file":
        return keyring_file.FileKeyRing(where.keyring_file)
    if not where.openbao_url:
        raise errors.Misconfigured(
            "`protection.keyring` is `openbao` and `protection.openbao_url` is empty; set it"
        )
    return keyring_openbao.OpenBaoKeyRing(
        where.openbao_url, where.openbao_token_file, mount=where.openbao_mount, key=where.openbao_key
    )


def keyset(where: settings.ProtectionSettings, project: str) -> Keyset:
    """A project's. Errors: InvalidRequest for what is no project's name, Misconfigured."""
    name = ids.check_slug(project, "project")
    return Keyset(where.keysets_dir / name / "keyset.json", name, keyring(where))
