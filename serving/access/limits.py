"""How much each caller may ask of each endpoint: token buckets and daily quotas, in memory, by one document.

Own code rather than a library: what exists counts hits by fixed or sliding windows; here rows are charged after a request
was read, a bucket may be overdrawn by one request, and nothing is taken unless every limit allows it.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from mainspring.core import errors, watched
from mainspring.core.contracts import access

_DAY_SECONDS: Final = 86_400
_ANY: Final = "*"

#: What requests for names that are not here count as: otherwise callers could make buckets without end.
UNKNOWN: Final = "unknown"


@dataclass(slots=True)
class _Bucket:
    """Fills by `rate` a second up to `burst`. `level` below 0 is what was overdrawn."""

    rate: float
    burst: float
    level: float
    at: float

    def fill(self, now: float) -> None:
        self.level = min(self.burst, self.level + (now - self.at) * self.rate)
        self.at = now

    def seconds_until(self, level: float) -> float:
        return (level - self.level) / self.rate


@dataclass(slots=True)
class _Account:
    """What one caller has left at one endpoint."""

    rule: access.LimitRule
    requests: _Bucket | None
    rows: _Bucket | None
    day: int = 0
    requests_today: int = 0
    rows_today: int = 0
    refused: int = 0


class Limiter:
    """Thread-safe. A change of the document does not refill what was used up."""

    def __init__(
        self,
        path: Path,
        is_known: Callable[[str], bool],
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`is_known`: whether an endpoint or model has that name. Errors: Misconfigured for a malformed document."""
        self._is_known, self._clock, self._wall = is_known, clock, wall
        self._document = watched.Watched(path, read, access.LimitsDocument(version=0), clock=clock)
        self._lock = threading.Lock()
        self._rules: dict[tuple[str, str], access.LimitRule] = {}
        self._of: access.LimitsDocument | None = None
        self._accounts: dict[tuple[str, str], _Account | None] = {}
        self._throttles: dict[tuple[str, str], access.LimitRule] = {}
        #: Of those who have not asked since the document changed.
        self._before: dict[tuple[str, str], _Account | None] = {}

    @property
    def document(self) -> access.LimitsDocument:
        return self._document.get()

    @property
    def is_stale(self) -> bool:
        return self._document.is_stale

    def apply(self, document: access.LimitsDocument) -> access.LimitsDocument:
        """Put the next version in force; the same again changes nothing. Errors: Conflict, Overloaded, OSError."""

        def edit(current: access.LimitsDocument) -> tuple[access.LimitsDocument, bytes]:
            if document.version != current.version + 1 and document != current:
                raise errors.Conflict(
                    f"limits are at version {current.version}, got version {document.version}; read those in force and"
                    f" send version {current.version + 1}",
                    resource="limits",
                    name="limits",
                )
            return document, document.model_dump_json(indent=1).encode()

        return self._document.change(edit)

    @property
    def is_on(self) -> bool:
        """Whether anybody is limited."""
        return bool(self._document.get().rules or self._throttles)

    def throttle(self, caller: str, endpoint: str, rule: access.LimitRule | None) -> None:
        """Put one pair under a rule of its own in place of the document's; None: under the document again."""
        with self._lock:
            throttles = {key: r for key, r in self._throttles.items() if key != (caller, endpoint)}
            self._throttles = throttles if rule is None else {**throttles, (caller, endpoint): rule}
            self._before[caller, endpoint] = self._accounts.pop((caller, endpoint), None)

    def admit(self, caller: str, endpoint: str) -> str:
        """Take one request; what to charge its rows to. Errors: RateLimited, and then nothing was taken."""
        document = self._document.get()
        if not document.rules and not self._throttles:
            return endpoint
        if not self._is_known(endpoint):
            endpoint = UNKNOWN
        with self._lock:
            account = self._account(document, caller, endpoint)
            if account is not None:
                self._take(account, caller, endpoint)
        return endpoint

    def charge(self, caller: str, endpoint: str, rows: int) -> None:
        """Take the rows of an admitted request, now that they are known. Never refuses."""
        document = self._document.get()
        if not document.rules and not self._throttles:
            return
        with self._lock:
            account = self._account(document, caller, endpoint)
            if account is not None:
                account.rows_today += rows
                if account.rows is not None:
                    account.rows.level -= rows

    def refused(self) -> Iterator[tuple[str, str, int]]:
        """Caller, endpoint and refusals since the process began."""
        with self._lock:
            accounts = {**self._before, **self._accounts}
            counted = [(*key, a.refused) for key, a in accounts.items() if a is not None and a.refused]
        yield from counted

    def _account(self, document: access.LimitsDocument, caller: str, endpoint: str) -> _Account | None:
        if document is not self._of:
            self._rules = {(r.caller, r.endpoint): r for r in document.rules}
            self._before, self._accounts = {**self._before, **self._accounts}, {}
            self._of = document
        key = (caller, endpoint)
        try:
            return self._accounts[key]
        except KeyError:
            rule, before = self._rule(caller, endpoint), self._before.pop(key, None)
            account = None if rule is None else self._opened(rule, before)
            self._accounts[key] = account
            return account

    def _rule(self, caller: str, endpoint: str) -> access.LimitRule | None:
        throttle = self._throttles.get((caller, endpoint))
        if throttle is not None:
            return throttle
        pairs = ((caller, endpoint), (caller, _ANY), (_ANY, endpoint), (_ANY, _ANY))
        return next((self._rules[pair] for pair in pairs if pair in self._rules), None)

    def _opened(self, rule: access.LimitRule, before: _Account | None) -> _Account:
        now = self._clock()
        opened = _Account(
            rule,
            _bucket(rule.requests_per_second, rule.burst_requests, now, before and before.requests),
            _bucket(rule.rows_per_second, rule.burst_rows, now, before and before.rows),
        )
        if before is not None:
            opened.day, opened.refused = before.day, before.refused
            opened.requests_today, opened.rows_today = before.requests_today, before.rows_today
        return opened

    def _take(self, account: _Account, caller: str, endpoint: str) -> None:
        now, wall = self._clock(), self._wall()
        day = int(wall // _DAY_SECONDS)
        if account.day != day:
            account.day, account.requests_today, account.rows_today = day, 0, 0
        until_tomorrow = (day + 1) * _DAY_SECONDS - wall
        rule = account.rule
        for limit, bucket in (("requests_per_second", account.requests), ("rows_per_second", account.rows)):
            if bucket is None:
                continue
            bucket.fill(now)
            # A row above an empty bucket is enough: the request's own rows are not known yet.
            if bucket.level < 1.0:
                raise self._refusal(account, caller, endpoint, limit, bucket.seconds_until(1.0))
        for limit, used in (
            ("requests_per_day", account.requests_today),
            ("rows_per_day", account.rows_today),
        ):
            allowed = getattr(rule, limit)
            if allowed is not None and used >= allowed:
                raise self._refusal(account, caller, endpoint, limit, until_tomorrow)
        if account.requests is not None:
            account.requests.level -= 1.0
        account.requests_today += 1

    def _refusal(
        self, account: _Account, caller: str, endpoint: str, limit: str, seconds: float
    ) -> errors.RateLimited:
        account.refused += 1
        seconds = max(seconds, 0.001)
        return errors.RateLimited(
            f"`{caller}` has used up its {getattr(account.rule, limit):g} {limit.replace('_', ' ')} of `{endpoint}`; try"
            f" again in {seconds:.3g} s, or ask an admin for more",
            retry_after_seconds=seconds,
            limit=limit,
        )


def read(content: bytes) -> access.LimitsDocument:
    """Errors: InvalidSettings with every problem."""
    try:
        return access.LimitsDocument.model_validate_json(content)
    except ValidationError as error:
        problems = tuple(f"`{'.'.join(map(str, e['loc']))}`: {e['msg']}" for e in error.errors())
        raise errors.InvalidSettings(
            "limits are not usable: " + "; ".join(problems[:5]), problems=problems
        ) from error


def _bucket(rate: float | None, burst: int | None, now: float, before: _Bucket | None) -> _Bucket | None:
    if rate is None:
        return None
    size = max(1.0, math.ceil(rate)) if burst is None else float(burst)
    if before is None:
        return _Bucket(rate, size, size, now)
    before.fill(now)
    return _Bucket(rate, size, min(size, before.level), now)
