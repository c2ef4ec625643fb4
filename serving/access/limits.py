"""How much each caller may ask of each endpoint: token buckets and daily quotas, in memory of all processes, by one document.

Own code rather than a library: what exists counts hits by fixed or sliding windows; here rows are charged after a request
was read, a bucket may be overdrawn by one request, and nothing is taken unless every limit allows it. The accounts are
native (`mainspring.native.limits`): the front takes from the same ones without Python.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from mainspring.core import errors, watched
from mainspring.core.contracts import access
from mainspring.native import limits, status

#: What requests for names that are not here count as: otherwise callers could make accounts without end.
UNKNOWN: Final = "unknown"


class Limiter:
    """Thread-safe. Neither a change of the document nor the end of one of several processes refills what was used up.

    `accounts` are those that the native front takes from, too.
    """

    def __init__(
        self,
        path: Path,
        is_known: Callable[[str], bool],
        *,
        shared: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`is_known`: whether an endpoint or model has that name. `shared`: a file that all processes of this host take from
        which name it; None: this one counts alone.
        Errors: Misconfigured for a malformed document, or for no room for the file.
        """
        self._is_known, self._clock, self._wall = is_known, clock, wall
        self._document = watched.Watched(path, read, access.LimitsDocument(version=0), clock=clock)
        self.accounts: Final = _accounts(shared)
        #: Held while rules are looked up and set, so that the last ones set are the newest.
        self._setting = threading.Lock()
        self._set_rules()
        self._document.on_change(self._set_rules)

    @property
    def document(self) -> access.LimitsDocument:
        return self._document.get()

    @property
    def is_stale(self) -> bool:
        return self._document.is_stale

    def look(self) -> None:
        """See now what other processes changed: the front does not look."""
        self._document.look()

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
        self._document.get()  # it may have changed
        return self.accounts.is_on

    def throttle(self, caller: str, endpoint: str, rule: access.LimitRule | None) -> None:
        """Put one pair under a rule of its own in place of the document's; None: under the document again."""
        self.accounts.throttle(caller, endpoint, None if rule is None else _rule(rule))

    def admit(self, caller: str, endpoint: str) -> str:
        """Take one request; what to charge its rows to. Errors: RateLimited, and then nothing was taken."""
        if not self.is_on:
            return endpoint
        if not self._is_known(endpoint):
            endpoint = UNKNOWN
        refused = self.accounts.admit(caller, endpoint, self._clock(), self._wall())
        if refused is not None:
            raise errors.RateLimited(
                f"`{caller}` has used up its {refused.allowed:g} {refused.limit.replace('_', ' ')} of `{endpoint}`; try"
                f" again in {refused.seconds:.3g} s, or ask an admin for more",
                retry_after_seconds=refused.seconds,
                limit=refused.limit,
            )
        return endpoint

    def charge(self, caller: str, endpoint: str, rows: int) -> None:
        """Take the rows of an admitted request, now that they are known. Never refuses."""
        if self.accounts.is_on:
            self.accounts.charge(caller, endpoint, rows, self._clock(), self._wall())

    def refused(self) -> list[tuple[str, str, int]]:
        """Caller, endpoint and refusals since the accounts began, by all who share them."""
        return self.accounts.refused()

    def _set_rules(self) -> None:
        with self._setting:
            self.accounts.set_rules([_rule(rule) for rule in self._document.content.rules])


def _accounts(shared: Path | None) -> limits.Limits:
    try:
        return limits.Limits(shared)
    except status.NativeError as error:
        raise errors.Misconfigured(
            f"the accounts of callers that all processes share cannot be made: {error}; give the temporary directory room,"
            " or serve by one process"
        ) from error


def _rule(rule: access.LimitRule) -> limits.Rule:
    return limits.Rule(
        rule.caller,
        rule.endpoint,
        rule.requests_per_second,
        rule.burst_requests,
        rule.rows_per_second,
        rule.burst_rows,
        rule.requests_per_day,
        rule.rows_per_day,
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
