"""Limits: buckets, quotas, which rule counts, and changes while they are in force."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mainspring.core import errors
from mainspring.core.contracts import access
from mainspring.serving.access import limits

NOON = 20_000 * 86_400 + 43_200.0


class House:
    """A limiter whose clocks stand still."""

    def __init__(self, folder: Path, *rules: dict[str, Any]) -> None:
        self.path = folder / "limits.json"
        self.now = 1000.0
        self.version = 0
        self.limiter = limits.Limiter(
            self.path,
            lambda name: name in ("flights", "hotels"),
            clock=lambda: self.now,
            wall=lambda: NOON + self.now - 1000.0,
        )
        if rules:
            self.set(*rules)

    def set(self, *rules: dict[str, Any]) -> None:
        self.version += 1
        self.limiter.apply(access.LimitsDocument.model_validate({"version": self.version, "rules": rules}))

    def admitted(self, times: int, caller: str = "a", endpoint: str = "flights") -> int:
        passed = 0
        for _ in range(times):
            try:
                self.limiter.admit(caller, endpoint)
                passed += 1
            except errors.RateLimited:
                pass
        return passed

    def refusal(self, caller: str = "a", endpoint: str = "flights") -> errors.RateLimited:
        with pytest.raises(errors.RateLimited) as refused:
            self.limiter.admit(caller, endpoint)
        return refused.value


def test_without_rules_nothing_is_limited(tmp_path: Path) -> None:
    assert House(tmp_path).admitted(10_000) == 10_000


def test_a_burst_then_the_rate(tmp_path: Path) -> None:
    house = House(tmp_path, {"requests_per_second": 2, "burst_requests": 5})
    assert house.admitted(9) == 5
    refused = house.refusal()
    assert (refused.limit, refused.retry_after_seconds) == ("requests_per_second", 0.5)
    assert "`a` has used up its 2 requests per second of `flights`; try again in 0.5 s" in refused.message
    house.now += refused.retry_after_seconds
    assert house.admitted(9) == 1
    house.now += 3600
    assert house.admitted(9) == 5, "no more than the burst is saved up"


def test_each_caller_and_each_endpoint_has_its_own(tmp_path: Path) -> None:
    house = House(tmp_path, {"requests_per_second": 3})
    for caller in ("a", "b"):
        for endpoint in ("flights", "hotels"):
            assert house.admitted(9, caller, endpoint) == 3


def test_names_that_are_not_here_count_together(tmp_path: Path) -> None:
    house = House(tmp_path, {"requests_per_second": 3})
    assert sum(house.admitted(1, "a", f"made-up-{i}") for i in range(100)) == 3
    assert house.admitted(9) == 3


def test_rows_are_charged_when_they_are_known_and_what_was_overdrawn_is_paid_back(tmp_path: Path) -> None:
    house = House(tmp_path, {"rows_per_second": 10, "burst_rows": 20})
    for rows in (15, 100):
        house.limiter.admit("a", "flights")
        house.limiter.charge("a", "flights", rows)
    refused = house.refusal()
    assert (refused.limit, refused.retry_after_seconds) == ("rows_per_second", pytest.approx(9.6))
    house.now += 9.7
    assert house.admitted(1) == 1


def test_over_a_long_time_no_more_rows_pass_than_the_rate_allows(tmp_path: Path) -> None:
    house = House(tmp_path, {"rows_per_second": 50, "burst_rows": 100})
    rows = 0
    for _ in range(6000):
        house.now += 0.01
        if house.admitted(1):
            house.limiter.charge("a", "flights", 64)
            rows += 64
    assert 60 * 50 <= rows <= 60 * 50 + 100 + 64


def test_a_daily_quota_ends_with_the_day(tmp_path: Path) -> None:
    house = House(tmp_path, {"requests_per_day": 4, "rows_per_day": 10})
    assert house.admitted(3) == 3
    house.limiter.charge("a", "flights", 10)
    refused = house.refusal()
    assert (refused.limit, refused.retry_after_seconds) == ("rows_per_day", 43_200.0)
    house.now += refused.retry_after_seconds
    assert house.admitted(9) == 4
    assert house.refusal().limit == "requests_per_day"


def test_what_one_limit_refuses_is_taken_from_no_other(tmp_path: Path) -> None:
    house = House(tmp_path, {"requests_per_second": 1000, "burst_requests": 5, "rows_per_second": 1})
    assert house.admitted(1) == 1
    house.limiter.charge("a", "flights", 1)
    assert house.admitted(100) == 0
    house.now += 1.0
    assert house.admitted(5) == 5, "rows are charged later"


def test_the_rule_that_names_more_counts(tmp_path: Path) -> None:
    house = House(
        tmp_path,
        {"requests_per_second": 1},
        {"endpoint": "flights", "requests_per_second": 2},
        {"caller": "a", "requests_per_second": 3},
        {"caller": "a", "endpoint": "flights", "requests_per_second": 4},
        {"caller": "free"},
    )
    seen = {(c, e): house.admitted(9, c, e) for c in ("a", "b", "free") for e in ("flights", "hotels")}
    assert list(seen.values()) == [4, 3, 2, 1, 9, 9]


def test_a_change_does_not_refill_what_was_used_up(tmp_path: Path) -> None:
    house = House(tmp_path, {"requests_per_second": 1, "burst_requests": 10, "requests_per_day": 15})
    assert house.admitted(99) == 10
    house.set({"requests_per_second": 1, "burst_requests": 100, "requests_per_day": 15})
    assert house.admitted(99) == 0
    house.now += 99
    assert house.admitted(99) == 5, "the day's five that were left"
    house.set()
    assert house.admitted(99) == 99


def test_versions_follow_each_other(tmp_path: Path) -> None:
    house = House(tmp_path, {"requests_per_second": 1})
    current = house.limiter.document
    assert house.limiter.apply(current) == current
    for version in (0, 1, 3):
        with pytest.raises(errors.Conflict, match="limits are at version 1"):
            house.limiter.apply(access.LimitsDocument(version=version))
    assert house.limiter.document == current
    assert House(tmp_path).limiter.document == current, "another process reads the same"


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({"version": 1, "rules": [{"requests_per_second": 0}]}, "greater than 0"),
        ({"version": 1, "rules": [{"burst_rows": 5}]}, "goes with `rows_per_second`"),
        ({"version": 1, "rules": [{"caler": "a"}]}, "caler"),
        ({"version": 1, "rules": [{}, {}]}, "two rules for caller"),
        ({"rules": []}, "version"),
        ("no document", "JSON"),
    ],
)
def test_a_document_that_is_wrong_is_refused_whole(tmp_path: Path, document: Any, problem: str) -> None:
    text = document if isinstance(document, str) else json.dumps(document)
    with pytest.raises(errors.InvalidSettings, match=problem):
        limits.read(text.encode())
    (tmp_path / "limits.json").write_text(text)
    with pytest.raises(errors.Misconfigured, match=r"`limits\.json` cannot be read"):
        House(tmp_path)


def test_refusals_are_counted_by_whom_they_met(tmp_path: Path) -> None:
    house = House(tmp_path, {"requests_per_second": 1})
    house.admitted(3, "a", "flights")
    house.admitted(6, "b", "nowhere")
    assert sorted(house.limiter.refused()) == [("a", "flights", 2), ("b", "unknown", 5)]
