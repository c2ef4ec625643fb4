"""How much each caller may ask of each endpoint: one account for all who answer, the native front and other processes included.

Token buckets for requests and rows, and quotas of a day of UTC. A request is taken whole or not at all; its rows are
charged once they are known and may overdraw a bucket, and then the next requests wait longer. Times are passed in:
`monotonic` of `time.monotonic`, `wall` of `time.time`, both in seconds. What each step means is written as plain Python in
`mainspring.native.reference_limits`.

    >>> accounts = Limits()
    >>> accounts.set_rules([Rule(requests_per_second=2.0, burst_requests=1)])
    >>> accounts.admit("team-a", "flights", 0.0, 0.0)
    >>> accounts.admit("team-a", "flights", 0.1, 0.1)
    Refusal(limit='requests_per_second', allowed=2.0, seconds=0.4)
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Final, NamedTuple, final

from mainspring.native import _native

__all__ = ["Limits", "Refusal", "Rule"]


class Rule(NamedTuple):
    """What each caller it is for may ask of each endpoint it is for; `*` is every one, each for itself. None: no limit."""

    caller: str = "*"
    endpoint: str = "*"
    requests_per_second: float | None = None
    burst_requests: float | None = None
    """Requests at once after a pause; None: those of one second, at least 1."""
    rows_per_second: float | None = None
    burst_rows: float | None = None
    """As `burst_requests`."""
    requests_per_day: int | None = None
    rows_per_day: int | None = None


class Refusal(NamedTuple):
    """Why a request was not taken."""

    limit: str
    """The field of the rule."""
    allowed: float
    seconds: float
    """Until it may be taken; at least 0.001."""


@final
class Limits:
    """Thread-safe. Memory: an account for each pair of caller and endpoint that asked under a rule.

    `native` is what a front takes from, too.
    """

    def __init__(self, shared: str | os.PathLike[str] | None = None) -> None:
        """`shared`: the path of a file, of some 30 MB, whose accounts all processes of this host have that open it; the first
        one makes it. Rules are each process's own, so they should be the same. A process may end at any instant, killed
        or not: no account is held up by that, and each step was taken whole or not at all. Of more than 65,536 pairs each
        process counts the later ones for itself.
        Errors: NativeError `io`, `corrupt` for another version's file.
        """
        self.native: Final = _native.Limits(None if shared is None else os.fspath(shared))

    def set_rules(self, rules: Iterable[Rule]) -> None:
        """From now on, all at once; of those for a pair the one that names more counts, the caller first.

        What was used up stays used up. Errors: NativeError `bad_spec`; nothing changes then.
        """
        self.native.set_rules([tuple(rule) for rule in rules])

    def throttle(self, caller: str, endpoint: str, rule: Rule | None) -> None:
        """Put one pair under a rule of its own in place of those, in this process; None: under them again.

        Errors: NativeError `bad_spec`.
        """
        self.native.throttle(caller, endpoint, None if rule is None else tuple(rule))

    @property
    def is_on(self) -> bool:
        """Whether anybody is limited."""
        return self.native.is_on

    def admit(self, caller: str, endpoint: str, monotonic: float, wall: float) -> Refusal | None:
        """Take one request; or nothing, count the refusal and say why."""
        refused = self.native.admit(caller, endpoint, monotonic, wall)
        return None if refused is None else Refusal(*refused)

    def give_back(self, caller: str, endpoint: str, monotonic: float, wall: float) -> None:
        """Take back that a request was taken."""
        self.native.give_back(caller, endpoint, monotonic, wall)

    def charge(self, caller: str, endpoint: str, rows: int, monotonic: float, wall: float) -> None:
        """Take the rows of a request that was taken. Never refuses."""
        self.native.charge(caller, endpoint, rows, monotonic, wall)

    def refused(self) -> list[tuple[str, str, int]]:
        """Caller, endpoint and refusals since the beginning, of those that were ever refused, by whichever process."""
        return self.native.refused()
