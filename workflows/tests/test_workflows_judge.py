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
