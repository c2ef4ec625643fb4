"""What serving saw of each bundle since its traffic version came into force: what a canary is judged by."""

from __future__ import annotations

import bisect
import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mainspring.core.contracts import deployment

#: Latencies kept per bundle: the newest, so that a warm-up is forgotten and memory is bounded (32 KiB).
LATENCY_WINDOW: Final = 4096

#: Keys of requests whose score is kept per bundle where traffic says so: the newest.
SCORE_WINDOW: Final = 4096

#: A shadow's score this far from the answered one, a probability as a rule, is another score.
SHADOW_TOLERANCE: Final = 1e-3


@dataclass
class _Tally:
    requests: int = 0
    rows: int = 0
    errors: int = 0
    score_sum: float = 0.0
    scored_rows: int = 0
    latency_seconds: deque[float] = field(default_factory=lambda: deque(maxlen=LATENCY_WINDOW))
    skipped: int = 0
    compared_rows: int = 0
    difference_sum: float = 0.0
    difference_max: float = 0.0
    rows_above: int = 0
    newest_bins: dict[str, int] = field(default_factory=dict)
    """Key of a request -> bin of its first score. Who asks the same again, or many rows at once, is no distribution of his own."""


@dataclass
class _Window:
    version: int
    began: float
    tallies: dict[tuple[str, str], _Tally] = field(default_factory=dict)


class StatsBook:
    """One window per endpoint, begun anew with each traffic version. Thread-safe."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, *, shadow_tolerance: float = SHADOW_TOLERANCE
    ) -> None:
        """`shadow_tolerance`: score differences above it are counted apart."""
        self._clock = clock
        self._tolerance = shadow_tolerance
        self._lock = threading.Lock()
        self._windows: dict[str, _Window] = {}
        self._bring: Callable[[], None] = lambda: None
        self._others: Callable[[], Iterable[Any]] = tuple

    def brings(self, bring: Callable[[], None]) -> None:
        """Call `bring` before each view: it adds what others answered. One caller."""
        self._bring = bring

    def add_from(self, others: Callable[[], Iterable[Any]]) -> None:
        """Add to every view what other books have :meth:`exported`. Before the first view."""
        self._others = others

    def exported(self) -> dict[str, Any]:
        """Everything, as JSON has it."""
        with self._lock:
            return {
                endpoint: {
                    "version": window.version,
                    "tallies": [
                        [digest, role, _told(tally)] for (digest, role), tally in window.tallies.items()
                    ],
                }
                for endpoint, window in self._windows.items()
            }

    def record(
        self,
        endpoint: str,
        version: int,
        digest: str,
        role: str,
        *,
        scores_sum: float,
        rows: int,
        seconds: float | None,
        keyed_score: tuple[str, float] | None = None,
    ) -> None:
        """One answered request of `rows` rows, `seconds` long; None: it was not computed, and has no part in latencies.

        `keyed_score`: the key of the request and its first score, where the distribution is kept.
        """
        binned = None if keyed_score is None else (_hashed(keyed_score[0]), _bin(keyed_score[1]))
        with self._lock:
            if (tally := self._tally(endpoint, version, digest, role)) is not None:
                tally.requests += 1
                tally.rows += rows
                tally.score_sum += scores_sum
                tally.scored_rows += rows
                if seconds is not None:
                    tally.latency_seconds.append(seconds)
                if binned is not None:
                    _keep(tally.newest_bins, *binned)

    def add(
        self,
        endpoint: str,
        version: int,
        digest: str,
        role: str,
        *,
        requests: int,
        rows: int,
        scores_sum: float,
        latency_seconds: Sequence[float],
    ) -> None:
        """Answered requests, summed up elsewhere; `latency_seconds` of the newest of them."""
        with self._lock:
            if (tally := self._tally(endpoint, version, digest, role)) is not None:
                tally.requests += requests
                tally.rows += rows
                tally.score_sum += scores_sum
                tally.scored_rows += rows
                tally.latency_seconds.extend(latency_seconds)

    def record_error(self, endpoint: str, version: int, digest: str, role: str, *, rows: int) -> None:
        """One request the bundle failed on. Requests refused before the bundle saw them are the caller's."""
        with self._lock:
            if (tally := self._tally(endpoint, version, digest, role)) is not None:
                tally.requests += 1
                tally.rows += rows
                tally.errors += 1

    def record_skipped(self, endpoint: str, version: int, digest: str, role: str) -> None:
        """One request that the bundle should have seen and had no time for."""
        with self._lock:
            if (tally := self._tally(endpoint, version, digest, role)) is not None:
                tally.skipped += 1

    def record_differences(
        self, endpoint: str, version: int, digest: str, role: str, differences: NDArray[np.float64]
    ) -> None:
        """How far the bundle's scores were, row by row (n,), from those that were answered; absolute, finite."""
        total, largest = float(differences.sum()), float(differences.max(initial=0.0))
        above = int(np.count_nonzero(differences > self._tolerance))
        with self._lock:
            if (tally := self._tally(endpoint, version, digest, role)) is not None:
                tally.compared_rows += len(differences)
                tally.difference_sum += total
                tally.difference_max = max(tally.difference_max, largest)
                tally.rows_above += above

    def view(self, endpoint: str, version: int) -> deployment.EndpointStats:
        """The window of that traffic version; percentiles are of the newest LATENCY_WINDOW answers, 0 for none."""
        self._bring()
        others = [told[endpoint] for told in self._others() if endpoint in told]
        with self._lock:
            window = self._window(endpoint, version)
            if window is None:
                return deployment.EndpointStats(
                    endpoint=endpoint, traffic_version=version, window_seconds=0.0
                )
            tallies = {key: _copied(tally) for key, tally in window.tallies.items()}
            for other in others:
                if other["version"] == window.version:
                    for digest, role, told in other["tallies"]:
                        _add(tallies.setdefault((digest, role), _Tally()), told)
            return deployment.EndpointStats(
                endpoint=endpoint,
                traffic_version=window.version,
                window_seconds=self._clock() - window.began,
                bundles=[_view(digest, role, t, self._tolerance) for (digest, role), t in tallies.items()],
            )

    def _window(self, endpoint: str, version: int) -> _Window | None:
        """The window of `version`; a newer version begins one, an older one has none any more."""
        window = self._windows.get(endpoint)
        if window is None or window.version < version:
            window = self._windows[endpoint] = _Window(version, self._clock())
        return window if window.version == version else None

    def _tally(self, endpoint: str, version: int, digest: str, role: str) -> _Tally | None:
        window = self._window(endpoint, version)
        return None if window is None else window.tallies.setdefault((digest, role), _Tally())


def _copied(tally: _Tally) -> _Tally:
    return replace(tally, latency_seconds=deque(tally.latency_seconds), newest_bins=dict(tally.newest_bins))


def _told(tally: _Tally) -> dict[str, Any]:
    """As JSON has it, and nobody changes any more."""
    kept = {"latency_seconds": list(tally.latency_seconds), "newest_bins": dict(tally.newest_bins)}
    return vars(tally) | kept


def _hashed(key: str) -> str:
    """The same in every process: their books are added up."""
    return hashlib.blake2b(key.encode(), digest_size=8).hexdigest()


def _bin(score: float) -> int:
    return bisect.bisect_right(deployment.SCORE_EDGES, score)


def _keep(bins: dict[str, int], key: str, found: int) -> None:
    bins.pop(key, None)
    if len(bins) >= SCORE_WINDOW:
        del bins[next(iter(bins))]
    bins[key] = found


def _score_counts(bins: dict[str, int]) -> tuple[int, ...]:
    if not bins:
        return ()
    return tuple(np.bincount(list(bins.values()), minlength=len(deployment.SCORE_EDGES) + 1).tolist())


def _add(tally: _Tally, told: Mapping[str, Any]) -> None:
    """Add another book's tally; latencies of both, each book's newest."""
    tally.latency_seconds = deque((*tally.latency_seconds, *told["latency_seconds"]))
    tally.difference_max = max(tally.difference_max, told["difference_max"])
    tally.newest_bins |= told["newest_bins"]
    for name in told.keys() - {"latency_seconds", "difference_max", "newest_bins"}:
        setattr(tally, name, getattr(tally, name) + told[name])


def _view(digest: str, role: str, tally: _Tally, tolerance: float) -> deployment.BundleStats:
    latencies = np.array(tally.latency_seconds or [0.0])
    p50, p95, p99, *quantiles = (
        np.quantile(latencies, (0.5, 0.95, 0.99, *deployment.LATENCY_SHARES)) * 1000.0
    ).tolist()
    return deployment.BundleStats(
        bundle_digest=digest,
        role=role,
        requests=tally.requests,
        rows=tally.rows,
        errors=tally.errors,
        latency_p50_ms=p50,
        latency_p95_ms=p95,
        latency_p99_ms=p99,
        mean_score=tally.score_sum / tally.scored_rows if tally.scored_rows else 0.0,
        latency_quantiles_ms=tuple(quantiles) if tally.latency_seconds else (),
        skipped=tally.skipped,
        difference=_difference(tally, tolerance),
        score_counts=_score_counts(tally.newest_bins),
    )


def _difference(tally: _Tally, tolerance: float) -> deployment.ScoreDifference | None:
    rows = tally.compared_rows
    if not rows:
        return None
    return deployment.ScoreDifference(
        rows=rows,
        mean_absolute=tally.difference_sum / rows,
        max_absolute=tally.difference_max,
        tolerance=tolerance,
        share_above=tally.rows_above / rows,
    )
