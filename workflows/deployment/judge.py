"""May a canary go on? A pure function of one window's statistics and the limits of the request."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from mainspring.core.contracts.deployment import LATENCY_SHARES, BundleStats, DeployRequest, EndpointStats
from mainspring.workflows.deployment import scores

#: How many standard deviations a quantile may be off its place by chance before that is no excuse any more. Over latencies
#: measured at load 10, of 600 deployments of a good candidate a look at the ratio alone sent 1.0 % back (4.3 % where others' bursts
#: were rare, 37 % where just one request in sixteen waits), this 0.2 % (0, 0.5 %); of ones five times slower both sent as many back.
_DEVIATIONS: Final = 2.33

#: In milliseconds: what has a logarithm in the place of 0.
_SHORTEST: Final = 1e-6


class Verdict(StrEnum):
    PASS = "pass"
    BREACH = "breach"
    INCONCLUSIVE = "inconclusive"
    """Too few samples to say; wait, or, when time is up with none at all, go back."""
    SKIPPED = "skipped"
    """Nobody judged to the end: somebody who may ordered to go on."""
    ABORTED = "aborted"
    """Somebody ordered to go back."""


#: After these the candidate gets more traffic.
GO_ON: Final = (Verdict.PASS, Verdict.SKIPPED)


@dataclass(frozen=True)
class Judgement:
    """The verdict and what it rests on. `latency_ratio` is NaN where stable gave nothing to compare with."""

    verdict: Verdict
    reason: str
    samples: int = 0
    error_rate: float = 0.0
    latency_ratio: float = math.nan
    score_psi: float | None = None
    """None where the distribution of scores is not judged, or there was nothing to compare."""

    @property
    def figures(self) -> dict[str, Any]:
        """For the report of a step."""
        ratio = None if math.isnan(self.latency_ratio) else round(self.latency_ratio, 3)
        told = {"requests": self.samples, "error_rate": round(self.error_rate, 5), "latency_ratio": ratio}
        return told if self.score_psi is None else {**told, "score_psi": round(self.score_psi, 4)}


#: Of a step that nobody has looked at.
NOT_YET: Final = Judgement(Verdict.INCONCLUSIVE, "not looked at yet")


def judge(
    stats: EndpointStats, request: DeployRequest, *, time_is_up: bool, role: str = "canary"
) -> Judgement:
    """Compare the candidate, which is there as `role`, with the limits, and its p95 and its scores with stable's in the same window.

    A breach of the error budget is called as soon as no later success could mend it within `min_samples`.
    Latency is compared only where both sides have `min_samples`, or time is up and both have some: a ratio in one
    window, because absolute limits roll good models back on busy hosts. A ratio above the limit is a breach where chance
    does not explain it (:func:`_is_slower`); else more samples must tell. So it is with scores, where the request has a
    limit for them. When time is up the candidate is judged on what it has; on nothing it is INCONCLUSIVE, and the caller must
    not promote it.
    """
    candidate = _find(stats, role, request.bundle_digest)
    if candidate is None or candidate.requests == 0:
        return Judgement(Verdict.INCONCLUSIVE, f"no request reached the {role}")
    stable = _find(stats, "stable")
    rate = candidate.errors / candidate.requests
    ratio = _ratio(candidate, stable)
    needed = 1 if time_is_up else request.min_samples
    found = (candidate.requests, rate, ratio)

    if candidate.errors > request.max_error_rate * max(candidate.requests, needed):
        return Judgement(
            Verdict.BREACH,
            f"error rate {rate:.4f} of {candidate.requests} requests is above {request.max_error_rate:.4f}",
            *found,
        )
    if candidate.requests < needed:
        return Judgement(
            Verdict.INCONCLUSIVE, f"{candidate.requests} of {needed} requests seen on the {role}", *found
        )
    if stable is not None and 0 < stable.requests < needed:
        return Judgement(
            Verdict.INCONCLUSIVE, f"{stable.requests} of {needed} requests seen on stable", *found
        )
    gates = [
        _by_latency(candidate, stable, request, ratio, time_is_up=time_is_up),
        _by_scores(candidate, stable, request, time_is_up=time_is_up),
    ]
    index = gates[1].score_psi if gates[1] is not None else None
    decisive = next(
        (
            one
            for verdict in (Verdict.BREACH, Verdict.INCONCLUSIVE, Verdict.PASS)
            for one in gates
            if one is not None and one.verdict is verdict
        ),
        None,
    )
    if decisive is not None:
        return Judgement(decisive.verdict, decisive.reason, *found, index)
    return Judgement(
        Verdict.PASS,
        f"error rate {rate:.4f}, p95 ratio {ratio:.2f} over {candidate.requests} requests",
        *found,
    )


def _by_latency(
    candidate: BundleStats,
    stable: BundleStats | None,
    request: DeployRequest,
    ratio: float,
    *,
    time_is_up: bool,
) -> Judgement | None:
    """None where the ratio is not above its limit."""
    if not ratio > request.max_latency_ratio or stable is None:
        return None
    said = f"p95 is {ratio:.2f} times stable's in the same window, above {request.max_latency_ratio:.2f}"
    if _is_slower(candidate, stable, request.max_latency_ratio):
        return Judgement(Verdict.BREACH, said)
    return Judgement(
        Verdict.PASS if time_is_up else Verdict.INCONCLUSIVE,
        f"{said}, which {candidate.requests} requests do not tell from chance",
    )


def _by_scores(
    candidate: BundleStats, stable: BundleStats | None, request: DeployRequest, *, time_is_up: bool
) -> Judgement | None:
    """None where the request has no limit for how they are distributed. Counted is what has a key of its own, so that may be few."""
    limit, needed = request.max_score_psi, 1 if time_is_up else request.min_samples
    if limit is None:
        return None
    counted = [0 if one is None else sum(one.score_counts) for one in (candidate, stable)]
    if stable is None or min(counted) < needed:
        return Judgement(
            Verdict.INCONCLUSIVE,
            f"scores of {counted[0]} keys to compare with those of {counted[1]} on stable, {needed} of each are needed",
        )
    apart = scores.compare(candidate.score_counts, stable.score_counts, limit)
    said = (
        f"scores are distributed {apart.index:.3f} apart from stable's in the same window, by the population stability index of"
        f" {counted[0]} keys and {counted[1]}"
    )
    if apart.is_sure:
        return Judgement(Verdict.BREACH, f"{said}, above {limit:g}", score_psi=apart.index)
    if apart.index <= limit:
        return Judgement(Verdict.PASS, said, score_psi=apart.index)
    return Judgement(
        Verdict.PASS if time_is_up else Verdict.INCONCLUSIVE,
        f"{said}, above {limit:g}, which so few do not tell from chance",
        score_psi=apart.index,
    )


def _find(stats: EndpointStats, role: str, digest: str | None = None) -> BundleStats | None:
    for bundle in stats.bundles:
        if bundle.role == role and digest in (None, bundle.bundle_digest):
            return bundle
    return None


def _ratio(candidate: BundleStats, stable: BundleStats | None) -> float:
    if stable is None or stable.requests == 0 or not stable.latency_p95_ms > 0:
        return math.nan
    return candidate.latency_p95_ms / stable.latency_p95_ms


def _is_slower(candidate: BundleStats, stable: BundleStats, limit: float) -> bool:
    """Whether more than chance is behind a p95 above `limit` times stable's: of the p95 itself, or of the median.

    On a busy host a request that waits for a core takes hundreds of times as long as one that does not, and some fifty requests
    have their p95 now on this side of the gap and now on that. Then the median tells whether the work itself is slower.
    """
    is_typical = candidate.latency_p50_ms > limit * stable.latency_p50_ms
    return _is_apart(0.95, candidate, stable) or (is_typical and _is_apart(0.5, candidate, stable))


def _is_apart(share: float, candidate: BundleStats, stable: BundleStats) -> bool:
    """Whether the candidate's quantile is above stable's even if chance was against the one and for the other.

    Of n requests the share below a quantile q is q within sqrt(q (1 - q) / n): so far down, or up, it is looked for.
    """
    low, high = (
        share + sign * _DEVIATIONS * math.sqrt(share * (1 - share) / side.requests)
        for sign, side in ((-1, candidate), (1, stable))
    )
    return _latency(candidate, low) > _latency(stable, high)


def _latency(side: BundleStats, share: float) -> float:
    """Milliseconds that `share` of the requests stay below, between those that are known by their logarithms."""
    known: Sequence[tuple[float, float]] = (
        (0.50, side.latency_p50_ms),
        (0.95, side.latency_p95_ms),
        (0.99, side.latency_p99_ms),
    )
    if len(side.latency_quantiles_ms) == len(LATENCY_SHARES):
        known = tuple(zip(LATENCY_SHARES, side.latency_quantiles_ms, strict=True))
    if share <= known[0][0]:
        return known[0][1]
    for (below, fast), (above, slow) in itertools.pairwise(known):
        if share <= above:
            part = (share - below) / (above - below)
            return math.exp(
                (1 - part) * math.log(max(fast, _SHORTEST)) + part * math.log(max(slow, _SHORTEST))
            )
    return known[-1][1]
