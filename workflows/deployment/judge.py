"""May a canary go on? A pure function of one window's statistics and the limits of the request."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from mainspring.core.contracts.deployment import BundleStats, DeployRequest, EndpointStats


class Verdict(StrEnum):
    PASS = "pass"
    BREACH = "breach"
    INCONCLUSIVE = "inconclusive"
    """Too few samples to say; wait, or, when time is up with none at all, go back."""


@dataclass(frozen=True)
class Judgement:
    """The verdict and what it rests on. `latency_ratio` is NaN where stable gave nothing to compare with."""

    verdict: Verdict
    reason: str
    samples: int = 0
    error_rate: float = 0.0
    latency_ratio: float = math.nan


def judge(stats: EndpointStats, request: DeployRequest, *, time_is_up: bool) -> Judgement:
    """Compare the candidate with the limits, and its p95 with stable's in the same window.

    A breach of the error budget is called as soon as no later success could mend it within `min_samples`.
    Latency is compared only where both sides have `min_samples`, or time is up and both have some: a ratio in one
    window, because absolute limits roll good models back on busy hosts. When time is up the candidate is judged on
    what it has; on nothing it is INCONCLUSIVE, and the caller must not promote it.
    """
    candidate = _find(stats, "canary", request.bundle_digest)
    if candidate is None or candidate.requests == 0:
        return Judgement(Verdict.INCONCLUSIVE, "no request reached the canary")
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
            Verdict.INCONCLUSIVE, f"{candidate.requests} of {needed} requests seen on the canary", *found
        )
    if stable is not None and 0 < stable.requests < needed:
        return Judgement(
            Verdict.INCONCLUSIVE, f"{stable.requests} of {needed} requests seen on stable", *found
        )
    if ratio > request.max_latency_ratio:
        return Judgement(
            Verdict.BREACH,
            f"p95 is {ratio:.2f} times stable's in the same window, above {request.max_latency_ratio:.2f}",
            *found,
        )
    return Judgement(
        Verdict.PASS,
        f"error rate {rate:.4f}, p95 ratio {ratio:.2f} over {candidate.requests} requests",
        *found,
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
