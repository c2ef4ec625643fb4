"""The slow, obvious truth about limits, in one thread and with the clocks passed in. The specification of `limits.py`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from mainspring.native.limits import Refusal, Rule

__all__ = ["ReferenceLimits"]

_DAY_SECONDS = 86_400


@dataclass
class _Bucket:
    """Fills by `rate` a second up to `burst`. `level` below 0 is what was overdrawn."""

    rate: float
    burst: float
    level: float
    at: float

    def fill(self, now: float) -> None:
        if now > self.at:
            self.level = min(self.burst, self.level + (now - self.at) * self.rate)
            self.at = now


@dataclass
class _Account:
    """What one pair has left. It outlives the rules, and each bucket its rate, so that a change refills nothing."""

    rule: Rule | None = None
    requests: _Bucket | None = None
    rows: _Bucket | None = None
    day: int = 0
    requests_today: int = 0
    rows_today: int = 0
    refused: int = 0


class ReferenceLimits:
    """As `Limits`. Not thread-safe."""

    def __init__(self) -> None:
        self._rules: dict[tuple[str, str], Rule] = {}
        self._throttles: dict[tuple[str, str], Rule] = {}
        self._accounts: dict[tuple[str, str], _Account] = {}
        self._opened: set[tuple[str, str]] = set()

    def set_rules(self, rules: Iterable[Rule]) -> None:
        self._rules = {(rule.caller, rule.endpoint): rule for rule in rules}
        self._opened.clear()

    def throttle(self, caller: str, endpoint: str, rule: Rule | None) -> None:
        self._throttles.pop((caller, endpoint), None)
        if rule is not None:
            self._throttles[caller, endpoint] = rule
        self._opened.clear()

    @property
    def is_on(self) -> bool:
        return bool(self._rules or self._throttles)

    def admit(self, caller: str, endpoint: str, monotonic: float, wall: float) -> Refusal | None:
        account = self._account(caller, endpoint, monotonic)
        if account is None or account.rule is None:
            return None
        rule, day = account.rule, math.floor(wall / _DAY_SECONDS)
        if account.day != day:
            account.day, account.requests_today, account.rows_today = day, 0, 0
        refusal = self._refusal(account, rule, monotonic, (day + 1) * _DAY_SECONDS - wall)
        if refusal is not None:
            account.refused += 1
            return refusal
        if rule.requests_per_second is not None and account.requests is not None:
            account.requests.level -= 1.0
        account.requests_today += 1
        return None

    def give_back(self, caller: str, endpoint: str, monotonic: float, wall: float) -> None:
        account = self._account(caller, endpoint, monotonic)
        if account is None or account.rule is None:
            return
        if account.rule.requests_per_second is not None and account.requests is not None:
            account.requests.level = min(account.requests.burst, account.requests.level + 1.0)
        account.requests_today = max(0, account.requests_today - 1)

    def charge(self, caller: str, endpoint: str, rows: int, monotonic: float, wall: float) -> None:
        account = self._account(caller, endpoint, monotonic)
        if account is None or account.rule is None:
            return
        account.rows_today += rows
        if account.rule.rows_per_second is not None and account.rows is not None:
            account.rows.level -= rows

    def refused(self) -> list[tuple[str, str, int]]:
        return [(*pair, account.refused) for pair, account in self._accounts.items() if account.refused]

    def _account(self, caller: str, endpoint: str, now: float) -> _Account | None:
        if not self.is_on:
            return None
        pair = caller, endpoint
        account = self._accounts.setdefault(pair, _Account())
        if pair not in self._opened:
            self._opened.add(pair)
            account.rule = rule = self._rule(caller, endpoint)
            if rule is not None:
                account.requests = _opened(
                    account.requests, rule.requests_per_second, rule.burst_requests, now
                )
                account.rows = _opened(account.rows, rule.rows_per_second, rule.burst_rows, now)
        return account

    def _rule(self, caller: str, endpoint: str) -> Rule | None:
        if (caller, endpoint) in self._throttles:
            return self._throttles[caller, endpoint]
        pairs = ((caller, endpoint), (caller, "*"), ("*", endpoint), ("*", "*"))
        return next((self._rules[pair] for pair in pairs if pair in self._rules), None)

    def _refusal(
        self, account: _Account, rule: Rule, monotonic: float, until_tomorrow: float
    ) -> Refusal | None:
        for limit, rate, bucket in (
            ("requests_per_second", rule.requests_per_second, account.requests),
            ("rows_per_second", rule.rows_per_second, account.rows),
        ):
            if rate is None or bucket is None:
                continue
            bucket.fill(monotonic)
            # A row above an empty bucket is enough: the request's own rows are not known yet.
            if bucket.level < 1.0:
                return _told(limit, bucket.rate, (1.0 - bucket.level) / bucket.rate)
        for limit, used, allowed in (
            ("requests_per_day", account.requests_today, rule.requests_per_day),
            ("rows_per_day", account.rows_today, rule.rows_per_day),
        ):
            if allowed is not None and used >= allowed:
                return _told(limit, allowed, until_tomorrow)
        return None


def _opened(before: _Bucket | None, rate: float | None, burst: float | None, now: float) -> _Bucket | None:
    if rate is None:
        return before  # it fills on, as it did
    size = float(max(1, math.ceil(rate)) if burst is None else burst)
    if before is None:
        return _Bucket(rate, size, size, now)
    if (before.rate, before.burst) == (rate, size):
        return before
    before.fill(now)
    return _Bucket(rate, size, min(size, before.level), before.at)


def _told(limit: str, allowed: float, seconds: float) -> Refusal:
    return Refusal(limit, float(allowed), max(seconds, 0.001))
