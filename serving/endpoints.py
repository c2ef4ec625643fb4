"""Endpoints: the bundles and the traffic that make them, at start and on change."""

from __future__ import annotations

from collections.abc import Callable

from mainspring.core import errors
from mainspring.core.contracts import deployment
from mainspring.serving import admission, bundles, stats, traffic


class Endpoints:
    """Puts traffic in force over loaded bundles. Thread-safe."""

    def __init__(
        self, tables: traffic.TrafficStore, shelf: bundles.BundleShelf, book: stats.StatsBook
    ) -> None:
        self._tables = tables
        self._shelf = shelf
        self._book = book
        self._changed: Callable[[], None] = lambda: None

    def on_change(self, changed: Callable[[], None]) -> None:
        """Call `changed` now and after each change of traffic, before the one who asked is answered. One caller."""
        self._changed = changed
        changed()

    def restore(self) -> None:
        """Load every bundle that the tables in force name. Errors: Misconfigured naming endpoint and bundle."""
        for table in self._tables.tables():
            for digest in traffic.digests(table):
                try:
                    self._shelf.load(digest)
                except (errors.Rejected, errors.Denied) as error:
                    raise errors.Misconfigured(
                        f"endpoint `{table.endpoint}` needs bundle `{digest}`, which does not load: {error.message};"
                        f" put the bundle back or remove `{table.endpoint}.json` from the traffic directory"
                    ) from error

    def apply(self, table: deployment.TrafficTable) -> deployment.EndpointView:
        """Put the table in force.

        Errors: NotFound for a bundle that is not loaded, Conflict for a version that is not next or for a canary or
        shadow that asks callers for other fields than the stable bundle does.
        """
        stable = self._shelf.get(table.stable)
        for role, digest in ((traffic.CANARY, table.canary), (traffic.SHADOW, table.shadow)):
            if digest is not None:
                _check_same_request(table.endpoint, role, stable, self._shelf.get(digest))
        self._tables.apply(table)
        self._changed()
        self._book.view(table.endpoint, table.version)  # the window begins now, not with the first request
        return self.view(table.endpoint)

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
