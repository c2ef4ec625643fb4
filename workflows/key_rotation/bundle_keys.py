"""Keys that sign bundles: files of a producer, a folder of who is trusted, and the signatures of a store. Blocking."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Final

from mainspring.core import errors, settings
from mainspring.core.contracts import base, deployment, keys
from mainspring.core.models import bundle, key_files, signing, withdrawn_keys
from mainspring.workflows.key_rotation import messages

__all__ = ["BundleKeys", "digests"]

#: So many bundles are looked at in one step: what comes of it must fit a payload, and is on record before the next.
PAGE: Final = 100


def digests(table: deployment.TrafficTable) -> list[str]:
    """The bundles that a table names."""
    return [digest for digest in (table.stable, table.canary, table.shadow) if digest is not None]


class BundleKeys:
    """Reads files at each call. One caller at a time changes something."""

    def __init__(self, in_force: settings.Settings) -> None:
        self._key = in_force.models.signing_key
        self._trusted = in_force.serving.trusted_keys_dir
        self._store = bundle.BundleStore(in_force.serving.bundle_dir)

    def prepare(self, request: keys.KeyRequest, mark: str) -> messages.Turn:
        """`mark` is not needed: the files say whether a rotation is under way."""
        turn = key_files.begin(self._key, self._trusted)
        return messages.Turn(request=request, old=turn.old, new=turn.new)

    def trust(self) -> keys.TrustView:
        return keys.TrustView(
            trusted=list(signing.TrustedKeys.load(self._trusted).key_ids),
            withdrawn=sorted(withdrawn_keys.marked(self._trusted)),
        )

    def switch(self, turn: messages.Turn) -> bool:
        return key_files.switch(self._key, key_files.Turn(turn.old, turn.new))

    def sign_again(self, asked: messages.SignAgain) -> messages.SignedAgain:
        """A page of what `old` signed, or all that the request names. The named ones may be a denied key's."""
        key = signing.SigningKey.load(self._key)
        named = asked.request.bundles if not asked.old else []
        trust = signing.TrustedKeys.load(self._trusted, even_withdrawn=bool(named))
        if named:
            for digest in named:
                self._check_there(digest)
        page = named or [d for d in self._store.list() if d > asked.after][:PAGE]
        signed: list[messages.Signed] = []
        damaged: list[keys.DamagedBundle] = []
        for digest in page:
            try:
                before = self._store.signature(digest)
                if (
                    before is None
                    or before.key_id == key.key_id
                    or (not named and before.key_id != asked.old)
                ):
                    continue
                found, before = self._store.sign_again(digest, key, trust)
            except (errors.CorruptArtifact, errors.PolicyDenied) as error:
                damaged.append(keys.DamagedBundle(digest=digest, why=error.message))
                continue
            one = messages.Signed(
                digest=digest,
                project=found.manifest.project,
                key_id=before.key_id,
                signature=before.value.hex(),
            )
            signed.append(one)
        more = page[-1] if not named and len(page) == PAGE else ""
        return messages.SignedAgain(signer=key.key_id, signed=signed, damaged=damaged, next=more)

    def withdraw(self, turn: messages.Turn, tables: Sequence[deployment.TrafficTable]) -> messages.Withdrawn:
        """Errors: Conflict for a bundle that answers and that only the old key signed."""
        for table in tables:
            for digest in digests(table):
                signature = self._store.signature(digest)
                if signature is not None and signature.key_id == turn.old:
                    raise errors.Conflict(
                        f"bundle `{digest}` of endpoint `{table.endpoint}` could not be signed again, and only the old key"
                        " signed it; deploy another one there and start the rotation again, which goes on with these keys",
                        resource="bundle",
                        name=digest,
                    )
        key_files.forget_previous(self._key)
        self._mark(turn.request, turn.old, is_compromised=False)
        return messages.Withdrawn(key_ids=[turn.old])

    def deny(self, request: keys.KeyRequest) -> messages.Denied:
        denied = request.key_id or ""
        known = signing.TrustedKeys.load(self._trusted, even_withdrawn=True).key_ids
        if denied not in known:
            raise errors.NotFound(
                f"key `{denied}` was never trusted here; known are {', '.join(f'`{k}`' for k in known) or 'none'}",
                resource="key",
                name=denied,
            )
        self._mark(request, denied, is_compromised=True)
        return messages.Denied(signer=key_files.replace(self._key, denied, self._trusted))

    def unsigned(
        self, request: keys.KeyRequest, tables: Sequence[deployment.TrafficTable]
    ) -> list[keys.UnsignedBundle]:
        """Those that answer for an endpoint first."""
        found = [self._unsigned(digest, tables) for digest in self._of(request.key_id or "")]
        return sorted(found, key=lambda one: (not one.endpoints, one.digest))

    def _of(self, key_id: str) -> Iterator[str]:
        for digest in self._store.list():
            try:
                signature = self._store.signature(digest)
            except errors.CorruptArtifact:
                continue  # nobody opens it, whoever signed it
            if signature is not None and signature.key_id == key_id:
                yield digest

    def _unsigned(self, digest: str, tables: Sequence[deployment.TrafficTable]) -> keys.UnsignedBundle:
        """What it says of itself is not believed, and helps a person to find it."""
        path = self._store.root / digest.removeprefix("sha256:") / bundle.MANIFEST
        try:
            said = json.loads(path.read_bytes())
            name, project = str(said["name"]), str(said["project"])
            return keys.UnsignedBundle(
                digest=digest, name=name, project=project, endpoints=_names(digest, tables)
            )
        except (OSError, KeyError, TypeError, ValueError):
            return keys.UnsignedBundle(digest=digest, endpoints=_names(digest, tables))

    def _check_there(self, digest: str) -> None:
        if self._store.signature(digest) is None:
            raise errors.NotFound(
                f"no bundle `{digest}` in the store; a denial's result lists those that need a signature",
                resource="bundle",
                name=digest,
            )

    def _mark(self, request: keys.KeyRequest, key_id: str, *, is_compromised: bool) -> None:
        withdrawn_keys.mark(
            self._trusted,
            keys.KeyWithdrawal(
                key_id=key_id,
                reason=f"{request.reason} ({request.change_id})",
                by=request.requested_by,
                at=base.utc_now(),
                is_compromised=is_compromised,
            ),
        )


def _names(digest: str, tables: Sequence[deployment.TrafficTable]) -> list[str]:
    return [table.endpoint for table in tables if digest in digests(table)]
