"""Keys that are withdrawn while serving runs: what only they signed is denied, in memory as well, within a second."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from mainspring.core import errors
from mainspring.core.contracts import keys
from mainspring.core.models import bundle, signing, withdrawn_keys

_LOG: Final = logging.getLogger("mainspring.serving")


def view(trusted: Path) -> keys.TrustView:
    """Whose signatures this process believes now. Errors: InvalidSettings for a file that is no public key."""
    return keys.TrustView(
        trusted=list(signing.TrustedKeys.load(trusted).key_ids),
        withdrawn=sorted(withdrawn_keys.marked(trusted)),
    )


class Trust:
    """The signatures of one store and the marks of one trust directory. One caller of `look` at a time.

    What counts is the signature that a bundle has now, not the one that it was loaded with: a rotation signs again what is
    in memory, and that goes on answering.
    """

    def __init__(
        self, store: Path, trusted: Path, held: Callable[[], Iterable[str]], told: Callable[[str], None]
    ) -> None:
        """`told` is called with each of the digests in `held()` that is not to be used any more."""
        self._store = bundle.BundleStore(store)
        self._trusted = trusted
        self._held = held
        self._told = told
        self._seen = withdrawn_keys.marked(trusted)

    def check(self, digest: str) -> None:
        """Errors: PolicyDenied for a bundle that a withdrawn key signed. Whether others are trusted, its load looks."""
        if not (marked := withdrawn_keys.marked(self._trusted)):
            return
        signature = self._store.signature(digest)
        if signature is not None and signature.key_id in marked:
            signing.TrustedKeys.load(self._trusted).verify(digest, signature)

    def look(self) -> None:
        """See which keys were withdrawn; a failure is tried again at the next look."""
        marked = withdrawn_keys.marked(self._trusted)
        if marked <= self._seen:
            return
        for digest in list(self._held()):
            try:
                self.check(digest)
            except errors.MainspringError as error:  # a signature that cannot be read is no signature
                _LOG.error("bundle `%s` is not used any more: %s", digest, error.message)
                self._told(digest)
        self._seen = marked
