"""`/metrics` for Prometheus. Nothing is counted here: a scrape reads the books that serving keeps anyway."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import prometheus_client
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.responses import Response

from mainspring.core import otlp
from mainspring.core.models import sanitise
from mainspring.serving import bundles, endpoints, native_front, response_cache, traffic, watchers
from mainspring.serving.access import guard
from mainspring.serving.http import payload
from mainspring.serving.models import book
from mainspring.serving.protocols.v2 import inference
from mainspring.serving.runtimes import metrics as candidates

_MODEL = ("model", "version")
_FRONT_NOW = (
    ("connections", "connections that are open"),
    ("held_bytes", "bytes of bodies that the native front collects"),
)
_FRONT = (
    ("accepted", "connections accepted by the native front"),
    ("answered", "requests that the native front answered itself"),
    ("passed", "requests that the native front passed on to the app"),
    ("refused", "requests and connections that the native front refused"),
    ("timed_out", "connections that waited too long"),
    ("upstream_failures", "requests that the app did not answer"),
)


@dataclass(frozen=True, eq=False)  # a registry keeps its collectors in a dict
class Books(Collector):
    """Reads every book at once. Labels are models, versions and codes that exist: callers cannot add any."""

    inference: inference.Inference
    endpoints: endpoints.Endpoints
    shelf: bundles.BundleShelf
    limits: payload.Limits
    guard: guard.Guard
    sanitiser: sanitise.Sanitiser
    watching: watchers.Watchers
    front: native_front.NativeFront | None = None
    spans: otlp.SpanSender | None = None
    cache: response_cache.ResponseCache | None = None

    def collect(self) -> Iterator[Metric]:
        yield from self._gate()
        yield from self._models()
        yield from self._bundles()
        yield from self._shelf()
        yield from candidates.families(self.shelf.views())
        yield from self._cache()
        yield from self._access()
        yield from self._inputs()
        yield from self._records()
        yield from self._front()

    def _gate(self) -> Iterator[Metric]:
        counts = self.inference.gate.counts
        for name, text, value in (
            ("running", "requests that a thread works on", counts.running),
            ("waiting", "requests that wait for a thread", counts.waiting),
        ):
            yield GaugeMetricFamily(f"mainspring_{name}_requests", text, value)
        yield GaugeMetricFamily(
            "mainspring_body_bytes_held",
            "bytes of large bodies being received, waiting or at work",
            self.limits.held,
        )
        for name, text, value in (
            ("inline", "requests run on the loop itself", counts.inline),
            ("threaded", "requests run in a thread", counts.threaded),
            ("shed", "requests refused because the queue was full", counts.shed),
            ("expired", "requests whose deadline passed before an answer", counts.expired),
            ("left", "requests whose caller left while they waited", counts.left),
        ):
            yield CounterMetricFamily(f"mainspring_{name}_requests", text, value)

    def _access(self) -> Iterator[Metric]:
        refused = CounterMetricFamily(
            "mainspring_callers_refused", "requests refused for who asked, or how much", labels=("code",)
        )
        for code, count in sorted(self.guard.refused.items()):
            refused.add_metric((code,), count)
        limited = CounterMetricFamily(
            "mainspring_caller_limited",
            "requests beyond a caller's limits",
            labels=("caller", "endpoint"),
        )
        for caller, endpoint, count in sorted(self.guard.limiter.refused()):
            limited.add_metric((caller, endpoint), count)
        yield from (refused, limited)
        yield GaugeMetricFamily(
            "mainspring_access_documents_stale",
            "documents of keys or limits that cannot be read: what they said before is in force",
            self.guard.callers.keys_are_stale + self.guard.limiter.is_stale,
        )

    def _inputs(self) -> Iterator[Metric]:
        found = CounterMetricFamily(
            "mainspring_input_values",
            "values that the bundle's policy did not take as they were, or warned of",
            labels=("bundle", "column", "action"),
        )
        for key, count in sorted(self.sanitiser.counts().items()):
            found.add_metric(key, count)
        yield found

    def _records(self) -> Iterator[Metric]:
        if self.watching.usage is not None:
            for name, text, value in (
                ("sent", "usage records that the control API received", self.watching.usage.sent_records),
                (
                    "lost",
                    "usage records that it refused, or that found no room",
                    self.watching.usage.lost_records,
                ),
            ):
                yield CounterMetricFamily(f"mainspring_usage_records_{name}", text, value)
        if self.watching.predictions is not None:
            for name, text, value in (
                ("written", "rows in the prediction log", self.watching.predictions.written_rows),
                (
                    "dropped",
                    "rows that the prediction log could not take",
                    self.watching.predictions.dropped_rows,
                ),
            ):
                yield CounterMetricFamily(f"mainspring_logged_predictions_{name}", text, value)

        if self.spans is not None:
            yield CounterMetricFamily("mainspring_spans_sent", "spans that were received", self.spans.sent)
            yield CounterMetricFamily(
                "mainspring_spans_dropped", "spans without room or receiver", self.spans.dropped
            )
        monitor = self.watching.extraction
        if monitor is not None:
            yield CounterMetricFamily(
                "mainspring_extraction_alerts",
                "callers that became suspected of copying a model",
                monitor.alerts,
            )
            yield CounterMetricFamily(
                "mainspring_extraction_unwatched_rows",
                "rows that came too fast to be looked at",
                monitor.unwatched_rows,
            )
            suspects = GaugeMetricFamily(
                "mainspring_extraction_suspected_rows",
                "rows that a caller asked in the window in which it last looked like one who copies the model",
                labels=("caller", "endpoint"),
            )
            for key, found in sorted(monitor.suspects().items()):
                suspects.add_metric(key, found.rows)
            yield suspects

    def _front(self) -> Iterator[Metric]:
        counts = {} if self.front is None else self.front.counts()
        for name, text in _FRONT_NOW:
            if name in counts:
                yield GaugeMetricFamily(f"mainspring_front_{name}", text, counts[name])
        for name, text in _FRONT:
            if name in counts:
                yield CounterMetricFamily(f"mainspring_front_{name}", text, counts[name])
        if self.front is not None:
            passed = CounterMetricFamily(
                "mainspring_front_model_passed",
                "infer requests for a model of the native front that it left to the app",
                labels=_MODEL,
            )
            for key, count in sorted(self.front.passed_on().items()):
                passed.add_metric(key, count)
            yield passed
            yield from self._front_predictions(self.front)
            yield from self._front_reads(self.front)

    def _front_predictions(self, front: native_front.NativeFront) -> Iterator[Metric]:
        answered = CounterMetricFamily(
            "mainspring_front_predictions",
            "predictions of an endpoint that the native front answered",
            labels=("endpoint",),
        )
        passed = CounterMetricFamily(
            "mainspring_front_predictions_passed",
            "predictions of an endpoint that the native front left to the app",
            labels=("endpoint",),
        )
        for counts in front.predictions():
            answered.add_metric([counts.name], counts.requests)
            passed.add_metric([counts.name], counts.passed_on)
        yield answered
        yield passed

    def _front_reads(self, front: native_front.NativeFront) -> Iterator[Metric]:
        counts = front.reads()
        if counts is None:
            return
        nanos = counts.input_nanos + counts.infer_nanos + counts.output_nanos
        seconds = HistogramMetricFamily(
            "mainspring_front_read_seconds",
            "reads of features that the native front answered, from body to answer",
        )
        seconds.add_metric((), _cumulative(book.EDGES, counts.latency), nanos / 1e9)
        sizes = HistogramMetricFamily("mainspring_front_read_rows", "rows of such a read")
        sizes.add_metric((), _cumulative(book.ROW_EDGES, counts.row_sizes), counts.rows)
        yield from (seconds, sizes)
        yield CounterMetricFamily(
            "mainspring_front_reads_passed",
            "reads of features that the native front left to the app",
            counts.passed_on,
        )

    def _models(self) -> Iterator[Metric]:
        rows = CounterMetricFamily("mainspring_model_rows", "rows answered", labels=_MODEL)
        failed = CounterMetricFamily(
            "mainspring_model_failures", "requests without an answer", labels=(*_MODEL, "code")
        )
        phases = CounterMetricFamily(
            "mainspring_model_phase_seconds", "time of answered requests by phase", labels=(*_MODEL, "phase")
        )
        seconds = HistogramMetricFamily(
            "mainspring_model_request_seconds", "whole requests, from body to answer", labels=_MODEL
        )
        sizes = HistogramMetricFamily("mainspring_model_request_rows", "rows in a request", labels=_MODEL)
        for key, entry in sorted(self.inference.book.entries().items()):
            rows.add_metric(key, entry.rows)
            for code, count in sorted(entry.failed.items()):
                failed.add_metric((*key, code), count)
            nanos = entry.nanos
            for phase in ("queue", "input", "infer", "output"):
                phases.add_metric((*key, phase), getattr(nanos, phase) / 1e9)
            seconds.add_metric(key, _cumulative(book.EDGES, entry.latency), nanos.total / 1e9)
            sizes.add_metric(key, _cumulative(book.ROW_EDGES, entry.row_sizes), entry.rows)
        yield from (rows, failed, phases, seconds, sizes)

    def _shelf(self) -> Iterator[Metric]:
        shelf = self.shelf
        resident = [view for view in shelf.views() if view.resident]
        yield GaugeMetricFamily("mainspring_bundles_resident", "bundles in memory", len(resident))
        yield GaugeMetricFamily("mainspring_bundle_memory_bytes", "what they take of it", shelf.memory_bytes)
        packed = GaugeMetricFamily(
            "mainspring_packed_weights_bytes",
            "weights of bundles in memory that the native kernels packed, of this process alone or shared with others",
            labels=("memory",),
        )
        packed.add_metric(("own",), sum(view.packed_own_bytes for view in resident))
        packed.add_metric(("shared",), sum(view.packed_shared_bytes for view in resident))
        yield packed
        for name, text, value in (
            ("loads", "bundles loaded, the same one again and again", shelf.counts.loads),
            ("let_go", "bundles that made room for another one", shelf.counts.let_go),
        ):
            yield CounterMetricFamily(f"mainspring_bundle_{name}", text, value)

    def _cache(self) -> Iterator[Metric]:
        if self.cache is None:
            return
        counts = self.cache.counts
        yield GaugeMetricFamily(
            "mainspring_response_cache_bytes", "memory of answers that are kept", self.cache.held_bytes
        )
        for name, text, value in (
            ("hits", "requests answered by scores that were kept", counts.hits),
            ("misses", "requests whose scores were not there", counts.misses),
            ("evicted", "answers that made room for others", counts.evicted),
        ):
            yield CounterMetricFamily(f"mainspring_response_cache_{name}", text, value)

    def _bundles(self) -> Iterator[Metric]:
        labels = ("endpoint", "bundle", "role", "traffic_version")
        families = {
            name: CounterMetricFamily(f"mainspring_endpoint_{name}", text, labels=labels)
            for name, text in (
                ("requests", "requests under the traffic in force"),
                ("rows", "rows under the traffic in force"),
                ("errors", "requests the bundle failed on under the traffic in force"),
                ("skipped", "requests that a shadow had no time for"),
                ("compared_rows", "rows whose shadow score was compared with the stable one"),
                ("differing_rows", "compared rows whose scores differ by more than serving.shadow_tolerance"),
                ("score_difference", "absolute score differences of the compared rows, summed"),
            )
        }
        largest = GaugeMetricFamily(
            "mainspring_endpoint_score_difference_max",
            "largest absolute score difference of a compared row",
            labels=labels,
        )
        for view in self.endpoints.views():
            stats = self.endpoints.stats(view.endpoint)
            for bundle in stats.bundles:
                key = (view.endpoint, bundle.bundle_digest, bundle.role, str(stats.traffic_version))
                for name in ("requests", "rows", "errors"):
                    families[name].add_metric(key, getattr(bundle, name))
                if bundle.role == traffic.SHADOW:
                    families["skipped"].add_metric(key, bundle.skipped)
                if (seen := bundle.difference) is not None:
                    families["compared_rows"].add_metric(key, seen.rows)
                    families["differing_rows"].add_metric(key, round(seen.share_above * seen.rows))
                    families["score_difference"].add_metric(key, seen.mean_absolute * seen.rows)
                    largest.add_metric(key, seen.max_absolute)
        yield from families.values()
        yield largest


def exposition(books: Books) -> Callable[[], Response]:
    """What answers a scrape. It needs no token, as scrapers expect."""
    registry = prometheus_client.CollectorRegistry()
    registry.register(books)
    prometheus_client.ProcessCollector(registry=registry)

    def scrape() -> Response:
        text = prometheus_client.generate_latest(registry)
        return Response(text, media_type=prometheus_client.CONTENT_TYPE_LATEST)

    return scrape


def _cumulative(edges: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    return [
        (label, float(total))
        for label, total in zip([*map(str, edges), "+Inf"], accumulate(counts), strict=True)
    ]
