"""What `/metrics` tells of candidates; read from the runtimes that count it anyway."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from mainspring.core.contracts import prediction

_LABELS = ("bundle", "candidate")


def families(bundles: Sequence[prediction.BundleView]) -> Iterator[Metric]:
    """Of the bundles in memory that were measured: labels are bundles and candidates that exist, no caller adds any."""
    batches = CounterMetricFamily(
        "mainspring_candidate_batches",
        "batches that a way to run a bundle's model has run",
        labels=_LABELS,
    )
    seconds = GaugeMetricFamily(
        "mainspring_candidate_seconds",
        "what a batch of so many rows took when the bundle was loaded",
        labels=(*_LABELS, "rows"),
    )
    out = GaugeMetricFamily(
        "mainspring_candidate_failed",
        "whether it failed where another one answered, and is asked no more",
        labels=_LABELS,
    )
    for bundle in bundles:
        for candidate in bundle.candidates if bundle.resident else ():
            key = (bundle.digest, candidate.name)
            if candidate.state in ("used", "failed"):
                batches.add_metric(key, candidate.batches)
                out.add_metric(key, candidate.state == "failed")
            for rows, taken in sorted(candidate.seconds.items()):
                seconds.add_metric((*key, str(rows)), taken)
    yield from (batches, seconds, out)
