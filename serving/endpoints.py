"""Endpoints: the bundles and the traffic that make them, at start and on change."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from mainspring.core import errors
from mainspring.core.contracts import base, deployment, prediction
from mainspring.core.models import signing, withdrawn
from mainspring.serving import admission, bundles, stats, traffic

_LOG: Final = logging.getLogger("mainspring.serving")


class Endpoints:
    """Puts traffic in force over loaded bundles. Thread-safe."""

    def __init__(
        self, tables: traffic.TrafficStore, shelf: bundles.BundleShelf, book: stats.StatsBook
    ) -> None:
        self._tables = tables
        self._shelf = shelf
        self._book = book
        self._changed: Callable[[], None] = lambda: None
        #: Traffic and what is withdrawn change one at a time: neither sees half of the other.
        self._changing = threading.Lock()

    def on_change(self, changed: Callable[[], None]) -> None:
        """Call `changed` now and after each change of traffic, before the one who asked is answered. One caller."""
        self._changed = changed
        changed()

    def restore(self) -> None:
        """Load every bundle that the tables in force name, but those that were revoked, or whose signer was: the others must
        answer.

        Errors: Misconfigured naming endpoint and bundle.
        """
        for table in self._tables.tables():
            for digest in traffic.digests(table):
                try:
                    self._shelf.load(digest)
                except errors.PolicyDenied as denial:
                    if denial.rule_id not in (withdrawn.RULE, signing.WITHDRAWN_RULE):
                        raise _not_restored(table.endpoint, digest, denial) from denial
                    _LOG.error(
                        "endpoint `%s` does not answer by `%s`: %s", table.endpoint, digest, denial.message
                    )
                except (errors.Rejected, errors.Denied) as error:
                    raise _not_restored(table.endpoint, digest, error) from error

    def apply(self, table: deployment.TrafficTable) -> deployment.EndpointView:
        """Put the table in force.

        Errors: NotFound for a bundle that is not loaded, Conflict for a version that is not next or for a canary or
        shadow that asks callers for other fields than the stable bundle does.
        """
        with self._changing:
            stable = self._shelf.get(table.stable)
            for role, digest in ((traffic.CANARY, table.canary), (traffic.SHADOW, table.shadow)):
                if digest is not None:
                    _check_same_request(table.endpoint, role, stable, self._shelf.get(digest))
            self._tables.apply(table)
            self._changed()
        self._book.view(table.endpoint, table.version)  # the window begins now, not with the first request
        return self.view(table.endpoint)

    def withdraw(
        self, root: Path, asked: prediction.BundleWithdraw, *, by: str
    ) -> prediction.BundleWithdrawal:
        """Mark the bundle in the store under `root`, and forget it; again is no change.

        A revocation first takes it out of traffic wherever another bundle answers: canaries and shadows.
        Errors: Conflict naming the endpoints that it serves, unless it is a revocation.
        """
        digest = asked.digest
        with self._changing:
            serving = [t for t in self._tables.tables() if digest in traffic.digests(t)]
            if serving and not asked.is_revocation:
                names = "`, `".join(t.endpoint for t in serving)
                raise errors.Conflict(
                    f"bundle `{digest}` is in the traffic of `{names}`; deploy another one there, or revoke it",
                    resource="bundle",
                    name=digest,
                )
            # The mark before anything else: a crash in the middle leaves a bundle that is denied at the next start.
            made = withdrawn.mark(root, _withdrawal(asked, by))
            for table in serving:
                if table.stable != digest:
                    self._tables.apply(_without(table, digest, by))
            self._forget(digest)
        return made

    def rest(self, endpoint: str) -> deployment.EndpointRested:
        """Let go of the weights that this endpoint alone answers by; its traffic stays, and the next request loads them again.

        Errors: NotFound with close names; Conflict for a pinned one.
        """
        with self._changing:
            own = self._own(self._tables.table(endpoint))
            freed = {digest: self._shelf.rest(digest) for digest in own if self._shelf.is_resident(digest)}
            self._changed()  # the front has the same weights
        return deployment.EndpointRested(
            endpoint=endpoint, bundles=sorted(freed), freed_bytes=sum(freed.values())
        )

    def release(self, endpoint: str, asked: deployment.EndpointRelease) -> deployment.EndpointReleased:
        """Take the endpoint out of service: it answers nobody, and what it alone answered by leaves memory. Again is no change.

        Errors: NotFound with close names; Conflict for other traffic than was looked at, while a canary is in it, and for a
        pinned one.
        """
        with self._changing:
            is_out = not self._tables.has(endpoint) and self._tables.released(endpoint) is not None
            # A name that nobody knows may be none: it is refused before anything is made of it.
            table = None if is_out else self._tables.table(endpoint)
            own = [] if table is None else self._own(table)
            if table is not None:
                _check_idle(table)
            for digest in own:
                self._shelf.require_free(digest)
            released = self._tables.release(
                deployment.EndpointReleased(
                    endpoint=endpoint,
                    version=asked.version,
                    bundles=[] if table is None else list(traffic.digests(table)),
                    reason=asked.reason,
                    by=asked.set_by,
                    at=base.utc_now(),
                )
            )
            for digest in own:
                self._shelf.drop(digest)
            self._changed()
        return released

    def released(self, endpoint: str) -> deployment.EndpointReleased:
        """Its last release, also where it is in service again. Errors: NotFound."""
        found = self._tables.released(endpoint)
        if found is None:
            raise errors.NotFound(
                f"endpoint `{endpoint}` was never released", resource="endpoint", name=endpoint
            )
        return found

    def _own(self, table: deployment.TrafficTable) -> list[str]:
        """What no other endpoint answers by."""
        others = {
            digest
            for other in self._tables.tables()
            if other.endpoint != table.endpoint
            for digest in traffic.digests(other)
        }
        return [digest for digest in traffic.digests(table) if digest not in others]

    def forget(self, digest: str) -> None:
        """Another process marked it: it answers here no more."""
        with self._changing:
            self._forget(digest)

    def _forget(self, digest: str) -> None:
        self._shelf.drop(digest)
        self._changed()

    def view(self, endpoint: str) -> deployment.EndpointView:
        """Errors: NotFound with close names."""
        table = self._tables.table(endpoint)
        loaded = [d for d in traffic.digests(table) if self._shelf.holds(d)]
        return deployment.EndpointView(endpoint=endpoint, traffic=table, loaded=loaded)

    def views(self) -> list[deployment.EndpointView]:
        return [self.view(table.endpoint) for table in self._tables.tables()]

    def stats(self, endpoint: str) -> deployment.EndpointStats:
        """What was seen under the traffic in force. Errors: NotFound with close names."""
        return self._book.view(endpoint, self._tables.table(endpoint).version)


def _check_idle(table: deployment.TrafficTable) -> None:
    if table.canary is not None:
        raise errors.Conflict(
            f"endpoint `{table.endpoint}` has a canary in flight, set by `{table.set_by}`; let it end or abort it first",
            resource="endpoint",
            name=table.endpoint,
        )


def _withdrawal(asked: prediction.BundleWithdraw, by: str) -> prediction.BundleWithdrawal:
    return prediction.BundleWithdrawal(**asked.model_dump(), by=by, at=base.utc_now())


def _without(table: deployment.TrafficTable, digest: str, by: str) -> deployment.TrafficTable:
    """The next version of a table, without a bundle that is not its stable one."""
    changes: dict[str, object] = {"version": table.version + 1, "set_by": by}
    if table.canary == digest:
        changes |= {"canary": None, "canary_percent": 0}
    if table.shadow == digest:
        changes["shadow"] = None
    return table.model_copy(update=changes)


def _not_restored(endpoint: str, digest: str, error: errors.MainspringError) -> errors.Misconfigured:
    return errors.Misconfigured(
        f"endpoint `{endpoint}` needs bundle `{digest}`, which does not load: {error.message};"
        f" put the bundle back or remove `{endpoint}.json` from the traffic directory"
    )


def _check_same_request(
    endpoint: str, role: str, stable: bundles.LoadedBundle, other: bundles.LoadedBundle
) -> None:
    # Callers do not know who answers: what one bundle accepts, the other must accept too.
    ours, theirs = admission.entity_columns(stable), admission.entity_columns(other)
    if ours != theirs:
        differing = sorted(n for n in ours.keys() | theirs.keys() if ours.get(n) != theirs.get(n))
        raise errors.Conflict(
            f"{role} `{other.digest}` of `{endpoint}` and the stable bundle ask for different fields:"
            f" {', '.join(f'`{n}`' for n in differing)}; give it an endpoint of its own",
            resource="traffic",
            name=endpoint,
        )
