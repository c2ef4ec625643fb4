"""How streams stand, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from mainspring.core.features.streams.consumer import StreamStatus

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["registry", "serve"]

_COUNTERS: Final[Sequence[tuple[str, str, Callable[[StreamStatus], float]]]] = (
    ("records", "Records read.", lambda s: s.counts.seen),
    ("events_accepted", "Events that count.", lambda s: s.counts.accepted),
    ("events_duplicate", "Events dropped because their id had counted.", lambda s: s.counts.duplicate),
    ("events_dead", "Events sent to the dead-letter topic.", lambda s: s.counts.dead),
    ("events_late", "Dead letters of events that came too late.", lambda s: s.counts.late),
    ("records_repeated", "Records that the broker gave twice.", lambda s: s.counts.repeated),
    ("rows_pushed", "Rows pushed since the process began.", lambda s: s.rows),
    ("snapshots", "State files written since the process began.", lambda s: s.snapshots),
)
_GAUGES: Final[Sequence[tuple[str, str, Callable[[StreamStatus], float]]]] = (
    ("lag_records", "Records that wait, as was last known.", lambda s: s.lag),
    ("records_per_second", "Records a second, of the last batches.", lambda s: s.records_per_second),
    ("freshness_seconds", "Age of the oldest record of the last batch when it was readable.", lambda s: s.freshness_seconds),
    ("watermark_seconds", "Newest event time of the partition that is furthest behind.", lambda s: s.watermark_us / 1e6),
    ("snapshot_bytes", "Size of the last state file.", lambda s: s.snapshot_bytes),
    ("untold_events", "Events that the control API has not received yet, to charge them.", lambda s: s.untold),
    ("problem", "1 while something is being tried again.", lambda s: bool(s.problem)),
)  # fmt: skip


def registry(statuses: Callable[[], Iterable[StreamStatus]]) -> CollectorRegistry:
    """A registry whose metrics, labelled `stream`, are those of `statuses` whenever it is read."""
    from prometheus_client import CollectorRegistry, core

    class Statuses:
        def collect(self) -> Iterable[Any]:
            found = list(statuses())
            for name, what, of in _COUNTERS:
                counter = core.CounterMetricFamily(f"mainspring_stream_{name}", what, labels=["stream"])
                for status in found:
                    counter.add_metric([status.stream], of(status))
                yield counter
            for name, what, of in _GAUGES:
                gauge = core.GaugeMetricFamily(f"mainspring_stream_{name}", what, labels=["stream"])
                for status in found:
                    gauge.add_metric([status.stream], of(status))
                yield gauge

    made = CollectorRegistry()
    made.register(Statuses())
    return made


def serve(port: int, statuses: Callable[[], Iterable[StreamStatus]]) -> Callable[[], None]:
    """Answer `/metrics` on loopback `port`; what is returned ends that. Errors: OSError if the port is taken."""
    from prometheus_client import start_http_server

    server, thread = start_http_server(port, addr="127.0.0.1", registry=registry(statuses))

    def end() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return end
