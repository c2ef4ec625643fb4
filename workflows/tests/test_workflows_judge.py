"""The judge tells a breach from too little evidence, and never needs an absolute latency."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from workflows_doubles import bundle_stats, deploy_request

from mainspring.core.contracts import deployment
from mainspring.workflows.deployment import judge, scores
from mainspring.workflows.deployment.judge import Verdict

Counts = Sequence[int]
EDGES = deployment.SCORE_EDGES


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


def scored(candidate: Counts, stable: Counts, **more: Any) -> judge.Judgement:
    """Of so many scores by bin, where nothing else is wrong."""
    limits = {"max_score_psi": 0.1, "time_is_up": False} | more
    time_is_up, role = limits.pop("time_is_up"), limits.pop("role", "canary")
    bundles = [
        bundle_stats(one, requests=1000).model_copy(update={"score_counts": tuple(counts)})
        for one, counts in ((role, candidate), ("stable", stable))
    ]
    stats = deployment.EndpointStats(
        endpoint="flight-delay", traffic_version=4, window_seconds=1.0, bundles=bundles
    )
    return judge.judge(stats, deploy_request(**limits), time_is_up=time_is_up, role=role)


def by_bin(shares: NDArray[np.float64], n: int, rng: np.random.Generator) -> list[int]:
    return [int(one) for one in rng.multinomial(n, shares)]


def at_bin(place: int, n: int) -> list[int]:
    return [n if one == place else 0 for one in range(len(EDGES) + 1)]


def beta(a: float, b: float) -> NDArray[np.float64]:
    """Shares of the bins, of probabilities that are distributed so."""
    drawn = np.random.default_rng(5).beta(a, b, 200_000)
    counted = np.bincount(np.searchsorted(EDGES, drawn, side="right"), minlength=len(EDGES) + 1)
    return counted / counted.sum()


@pytest.mark.parametrize("shape", [(2, 5), (0.3, 3), (1, 1), (20, 30)], ids=str)
def test_scores_of_one_distribution_send_less_than_one_candidate_in_a_hundred_back(
    shape: tuple[float, float],
) -> None:
    """500 deployments of each shape, 2,000 in all, each looked at 12 times from 200 scores to 20,000, with as many on stable and with 19 times as many."""
    shares, rng, wrong = beta(*shape), np.random.default_rng(11), 0
    looks = (200, 300, 450, 700, 1000, 1500, 2500, 4000, 6000, 9000, 13_000, 20_000)
    for times in (1, 19):
        for _ in range(250):
            candidate, stable = (np.zeros(len(shares), np.int64) for _ in range(2))
            for before, now in itertools.pairwise((0, *looks)):
                candidate += rng.multinomial(now - before, shares)
                stable += rng.multinomial(times * (now - before), shares)
                if scores.compare(candidate.tolist(), stable.tolist(), 0.1).is_sure:
                    wrong += 1
                    break
    assert wrong < 0.01 * 500


def test_scores_that_moved_are_found_and_said() -> None:
    rng = np.random.default_rng(3)
    before, after = beta(2, 5), beta(3, 4)
    for _ in range(200):
        found = scored(by_bin(after, 300, rng), by_bin(before, 3000, rng))
        assert found.verdict is Verdict.BREACH
    assert "population stability index of 300 keys and 3000, above 0.1" in found.reason
    assert found.figures["score_psi"] == pytest.approx(0.73, abs=0.35)
    assert found.samples == 1000


def test_scores_that_are_a_little_apart_stay_within_their_limit() -> None:
    """As far apart as the limit: of 200 that are looked at twice, next to none goes back."""
    rng, before, after = np.random.default_rng(3), beta(2, 5), beta(2.3, 5)
    wrong = 0
    for _ in range(200):
        looks = [
            scored(by_bin(after, n, rng), by_bin(before, n, rng), max_score_psi=0.04) for n in (100, 500)
        ]
        wrong += any(one.verdict is Verdict.BREACH for one in looks)
    assert wrong <= 2


def test_too_few_scores_wait_and_none_at_all_are_no_reason_to_go_on() -> None:
    nothing, few, many = (), at_bin(20, 30), at_bin(20, 500)
    assert scored(nothing, many).verdict is Verdict.INCONCLUSIVE
    assert "of 30 keys to compare with those of 500 on stable, 50 of each" in scored(few, many).reason
    assert scored(few, many, time_is_up=True).verdict is Verdict.PASS
    for candidate, stable in ((nothing, many), (many, nothing)):
        assert scored(candidate, stable, time_is_up=True).verdict is Verdict.INCONCLUSIVE
    # Nobody asked for it: nothing is judged, and nothing is told.
    told = scored(nothing, nothing, max_score_psi=None)
    assert told.verdict is Verdict.PASS and "score_psi" not in told.figures


def test_a_distance_that_chance_explains_waits_and_goes_on_in_the_end() -> None:
    candidate, stable = at_bin(20, 50), [0] * 47
    stable[20], stable[21] = 45, 5
    assert scored(candidate, stable).verdict is Verdict.INCONCLUSIVE
    late = scored(candidate, stable, time_is_up=True)
    assert (late.verdict, "do not tell from chance" in late.reason) == (Verdict.PASS, True)


def test_scores_of_one_bin_are_not_apart_and_of_two_are() -> None:
    assert scored(at_bin(40, 500), at_bin(40, 500)).figures["score_psi"] == 0.0
    assert scored(at_bin(40, 500), at_bin(41, 500)).verdict is Verdict.BREACH


def test_a_shadow_is_judged_as_a_canary_and_not_for_one() -> None:
    moved = at_bin(40, 500), at_bin(20, 500)
    assert scored(*moved, role="shadow").verdict is Verdict.BREACH
    as_shadow = [bundle_stats("shadow", requests=500), bundle_stats("stable", requests=500)]
    stats = deployment.EndpointStats(
        endpoint="flight-delay", traffic_version=4, window_seconds=1.0, bundles=as_shadow
    )
    assert judge.judge(stats, deploy_request(), time_is_up=True).verdict is Verdict.INCONCLUSIVE
    assert judge.judge(stats, deploy_request(), time_is_up=True, role="shadow").verdict is Verdict.PASS
