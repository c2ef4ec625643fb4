"""The judge tells a breach from too little evidence, and never needs an absolute latency."""

import math
from typing import Any

import pytest
from workflows_doubles import bundle_stats, deploy_request

from mainspring.core.contracts import deployment
from mainspring.workflows.deployment import judge
from mainspring.workflows.deployment.judge import Verdict


def verdict(
    canary: dict[str, Any] | None, stable: dict[str, Any] | None, *, time_is_up: bool = False, **limits: Any
) -> judge.Judgement:
    bundles = [
        bundle_stats(role, **given)
        for role, given in (("canary", canary), ("stable", stable))
        if given is not None
    ]
    stats = deployment.EndpointStats(
        endpoint="flight-delay", traffic_version=4, window_seconds=1.0, bundles=bundles
    )
    return judge.judge(
        stats, deploy_request(min_samples=50, max_error_rate=0.01, **limits), time_is_up=time_is_up
    )


@pytest.mark.parametrize(
    ("canary", "stable", "time_is_up", "expected"),
    [
        ({"requests": 50}, {"requests": 50}, False, Verdict.PASS),
        ({"requests": 49}, {"requests": 50}, False, Verdict.INCONCLUSIVE),
        ({"requests": 49}, {"requests": 50}, True, Verdict.PASS),
        ({"requests": 50}, {"requests": 49}, False, Verdict.INCONCLUSIVE),
        ({"requests": 50}, None, False, Verdict.PASS),
        ({"requests": 0}, {"requests": 50}, True, Verdict.INCONCLUSIVE),
        (None, {"requests": 50}, True, Verdict.INCONCLUSIVE),
        ({"requests": 100, "failed": 1}, {"requests": 50}, False, Verdict.PASS),
        ({"requests": 100, "failed": 2}, {"requests": 50}, False, Verdict.BREACH),
        # One failure in three is no verdict while one in a hundred can still come out...
        ({"requests": 3, "failed": 1}, {"requests": 50}, True, Verdict.BREACH),
        ({"requests": 50, "p95": 30.0}, {"requests": 50, "p95": 10.0}, False, Verdict.PASS),
        ({"requests": 50, "p95": 30.1}, {"requests": 50, "p95": 10.0}, False, Verdict.BREACH),
        # A busy host slows both: 3 s beside 2 s is no reason to go back.
        ({"requests": 50, "p95": 3000.0}, {"requests": 50, "p95": 2000.0}, False, Verdict.PASS),
        ({"requests": 5, "p95": 900.0}, {"requests": 5, "p95": 10.0}, False, Verdict.INCONCLUSIVE),
        ({"requests": 5, "p95": 900.0}, {"requests": 5, "p95": 10.0}, True, Verdict.BREACH),
    ],
)
def test_verdicts(canary: Any, stable: Any, time_is_up: bool, expected: Verdict) -> None:
    assert verdict(canary, stable, time_is_up=time_is_up).verdict is expected


def test_a_spent_error_budget_is_called_before_the_samples_are_full() -> None:
    early = verdict({"requests": 2, "failed": 2}, {"requests": 2})
    assert early.verdict is Verdict.BREACH
    assert early.error_rate == 1.0


def test_one_early_failure_waits_where_the_budget_can_still_hold_it() -> None:
    stats = deployment.EndpointStats(
        endpoint="flight-delay",
        traffic_version=4,
        window_seconds=1.0,
        bundles=[bundle_stats("canary", requests=3, failed=1), bundle_stats("stable", requests=50)],
    )
    found = judge.judge(stats, deploy_request(min_samples=100, max_error_rate=0.01), time_is_up=False)
    assert found.verdict is Verdict.INCONCLUSIVE


def test_another_bundles_canary_is_not_ours() -> None:
    other = bundle_stats("canary", requests=500).model_copy(update={"bundle_digest": "sha256:" + "c" * 64})
    stats = deployment.EndpointStats(
        endpoint="flight-delay", traffic_version=4, window_seconds=1.0, bundles=[other]
    )
    assert judge.judge(stats, deploy_request(), time_is_up=False).verdict is Verdict.INCONCLUSIVE


def test_without_a_stable_there_is_no_ratio() -> None:
    assert math.isnan(verdict({"requests": 50}, None).latency_ratio)


def windows(
    canary: tuple[float, float, float], stable: tuple[float, float, float], requests: int
) -> deployment.EndpointStats:
    """p50, p95 and p99 of both, which saw as many requests."""
    bundles = []
    for role, (p50, p95, p99) in (("canary", canary), ("stable", stable)):
        known = {"latency_p50_ms": p50, "latency_p95_ms": p95, "latency_p99_ms": p99}
        bundles.append(bundle_stats(role, requests=requests).model_copy(update=known))
    return deployment.EndpointStats(
        endpoint="flight-delay", traffic_version=4, window_seconds=1.0, bundles=bundles
    )


#: As measured beside ten busy loops: what waits for a core takes hundreds of times as long as what does not.
BUSY = (0.24, 58.0, 101.0)
LUCKY = (0.24, 12.0, 101.0)


def test_one_p95_on_each_side_of_a_busy_hosts_gap_is_chance() -> None:
    found = judge.judge(windows(BUSY, LUCKY, 50), deploy_request(), time_is_up=False)
    assert (found.verdict, round(found.latency_ratio, 1)) == (Verdict.INCONCLUSIVE, 4.8)
    assert "50 requests do not tell from chance" in found.reason
    # More of the same is no chance any more; and who has no more time goes on to a larger share.
    assert (
        judge.judge(windows(BUSY, LUCKY, 4000), deploy_request(), time_is_up=False).verdict is Verdict.BREACH
    )
    assert judge.judge(windows(BUSY, LUCKY, 50), deploy_request(), time_is_up=True).verdict is Verdict.PASS


def test_one_that_is_slower_all_along_is_seen_on_a_busy_host_and_on_a_quiet_one() -> None:
    slow = tuple(5 * ms for ms in BUSY)
    assert judge.judge(windows(slow, BUSY, 50), deploy_request(), time_is_up=False).verdict is Verdict.BREACH
    quiet, slower = (0.1, 0.12, 0.2), (0.4, 0.48, 0.8)
    assert (
        judge.judge(windows(slower, quiet, 50), deploy_request(), time_is_up=False).verdict is Verdict.BREACH
    )
    # Also where only its slowest requests are.
    tail = (0.1, 4.8, 6.0)
    assert (
        judge.judge(windows(tail, quiet, 1000), deploy_request(), time_is_up=False).verdict is Verdict.BREACH
    )


def test_latencies_of_nothing_are_compared_too() -> None:
    zero = (0.0, 0.5, 1.0)
    assert (
        judge.judge(windows(zero, (0.0, 0.1, 0.1), 5000), deploy_request(), time_is_up=False).verdict
        is Verdict.BREACH
    )


def test_more_quantiles_tell_where_the_gap_is_and_the_median_that_all_are_slower() -> None:
    """One request in sixteen waits for a core: the p95 is an accident, and everything below the gap is not."""
    shares = deployment.LATENCY_SHARES
    fast = tuple(0.3 if share < 0.95 else 60.0 for share in shares)
    lucky = tuple(0.3 if share < 0.975 else 60.0 for share in shares)
    stats = windows((0.3, 60.0, 60.0), (0.3, 0.3, 60.0), 100)

    def found(canary: tuple[float, ...], p50: float = 0.3) -> Verdict:
        told, stable = stats.bundles
        told = told.model_copy(update={"latency_quantiles_ms": canary, "latency_p50_ms": p50})
        stable = stable.model_copy(update={"latency_quantiles_ms": lucky})
        judged = stats.model_copy(update={"bundles": [told, stable]})
        return judge.judge(judged, deploy_request(), time_is_up=False).verdict

    assert found(fast) is Verdict.INCONCLUSIVE
    assert found(tuple(5 * ms for ms in fast), p50=1.5) is Verdict.BREACH
