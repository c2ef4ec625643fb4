"""Whether work that is no run may begin and go on: a workspace, a reader of a stream.

Money for a part of it is kept free ahead of it, so that what starts meanwhile cannot count on it, and renewed while it works; what
limits there are, and what is spent of them, is asked again and again, as for runs (ADR 0049). Where the control API does
not answer, work goes on with what is kept for it, and in any case for as long as it is patient: what is kept for long enough nobody
else can spend. What is known to have no limit goes on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from mainspring.core import errors
from mainspring.core.contracts import budgets

__all__ = ["ASK_SECONDS", "Allowance", "Stop", "Use", "Work"]

_LOG: Final = logging.getLogger(__name__)

#: The control API is asked at most so often.
ASK_SECONDS: Final = 5.0
#: After a refusal: others end, and budgets are raised.
_REFUSED_SECONDS: Final = 60.0
#: Less than this of what is to be kept ahead, and it is renewed.
_LOW: Final = 0.8
#: Where there is no money for all of it, there may be for a part: the last of a budget is used as well.
_PART: Final = 0.1


class Control(Protocol):
    """What is asked of the control API, as a service."""

    def standing(self, *, runs: Sequence[str] = (), projects: Sequence[str] = ()) -> budgets.Standing: ...
    def renew_reservation(self, project: str, wanted: budgets.ReservationRenewal) -> budgets.Reservation: ...
    def end_reservation(self, project: str, ended: budgets.ReservationEnd) -> budgets.Reservation: ...


@dataclass(frozen=True)
class Work:
    """Who pays for what. The keys of its usage begin with `work_id`."""

    work_id: str
    project: str
    environment: str


@dataclass(frozen=True)
class Use:
    """Units by SKU of the price book, at one moment."""

    total: Mapping[str, float]
    """Since the process began."""
    unrecorded: Mapping[str, float]
    """That the control API has not received."""
    ahead: Mapping[str, float]
    """To be kept free beyond that."""
    last: Mapping[str, float]
    """What it uses after it was told to end: that has to be paid as well."""


@dataclass(frozen=True)
class Stop:
    """Why it is to end. `scope`: as of `errors.BudgetExhausted`."""

    scope: str
    message: str
    limit: float = 0.0
    spent: float = 0.0
    currency: str = ""

    def error(self, work: Work, then: str) -> errors.BudgetExhausted:
        """`then`: what has become of it, and how it goes on."""
        return errors.BudgetExhausted(
            f"{self.message}; {then}",
            run_id=work.work_id,
            scope=self.scope,
            limit=self.limit,
            spent=self.spent,
            currency=self.currency,
        )


class Allowance:
    """Of one piece of work, for one thread."""

    def __init__(
        self,
        control: Control,
        work: Work,
        *,
        patience_seconds: float,
        kept: Mapping[str, float] | None = None,
        ask_seconds: float = ASK_SECONDS,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`kept`: was kept free before it began, by whoever let it."""
        self._control, self._work, self._patience, self._now = control, work, patience_seconds, now
        self._ask_seconds = ask_seconds
        self._kept = dict(kept or {})
        self._standing: budgets.Standing | None = None
        self._asked_at = self._tried_at = float("-inf")
        self._is_whole = True
        self._refusal: errors.MainspringError | None = None
        self._unanswered_since: float | None = None

    def begin(self, ahead: Mapping[str, float], unrecorded: Mapping[str, float] | None = None) -> None:
        """Before anything is done. `unrecorded`: of a time before. Errors: BudgetExceeded and other refusals; none where nobody answers."""
        self._tried_at = self._now()
        self._renew(Use({}, unrecorded or {}, ahead, {}), 1.0)
        if self._refusal is not None:
            raise self._refusal

    def look(self, use: Use) -> Stop | None:
        """Why it is to end; None: it may go on."""
        self._ask()
        if self._standing is not None:
            limits = list(self._limits(self._standing))
            if not limits:
                return None
            for name, scope, limit, spent in limits:
                cost = spent + _price(self._standing, use.unrecorded)
                if cost + _price(self._standing, use.last) >= limit:
                    return self._spent(name, scope, limit, cost, self._standing.currency)
        if self._is_due(use):
            self._tried_at = self._now()
            self._renew(use, 1.0)
            if self._refusal is not None and self._is_more(use, _PART):
                self._renew(use, _PART)
        if all(self._kept.get(sku, 0.0) - use.total.get(sku, 0.0) > n for sku, n in use.last.items()):
            return None
        if self._refusal is not None:
            return Stop("project", f"nothing more is kept free for it: {self._refusal.message}")
        return self._unheard()

    def end(self) -> None:
        """What it used is on record. What nobody receives lapses by itself."""
        try:
            self._control.end_reservation(
                self._work.project, budgets.ReservationEnd(work_id=self._work.work_id)
            )
        except errors.MainspringError as error:
            _LOG.warning("that nothing needs to be kept free any more was not received: %s", error.message)

    def _ask(self) -> None:
        if self._now() - self._asked_at < self._ask_seconds:
            return
        self._asked_at = self._now()
        try:
            self._standing = self._control.standing(projects=[self._work.project])
        except errors.MainspringError as error:
            _LOG.warning("what is left of its budgets is not known: %s", error.message)

    def _is_due(self, use: Use) -> bool:
        wait = self._ask_seconds if self._refusal is None and self._is_whole else _REFUSED_SECONDS
        if self._now() - self._tried_at < wait:
            return False
        left = {sku: self._kept.get(sku, 0.0) - use.total.get(sku, 0.0) for sku in use.ahead}
        return any(left[sku] < _LOW * units for sku, units in use.ahead.items())

    def _is_more(self, use: Use, part: float) -> bool:
        """Whether a part of what is to be kept ahead is more than what is kept."""
        return any(
            use.total.get(sku, 0.0) + part * n > self._kept.get(sku, 0.0) for sku, n in use.ahead.items()
        )

    def _renew(self, use: Use, part: float) -> None:
        """What is kept stays as it is where that fails."""
        skus = {*use.unrecorded, *use.ahead}
        wanted = budgets.ReservationRenewal(
            work_id=self._work.work_id,
            environment=self._work.environment,
            ahead={sku: use.unrecorded.get(sku, 0.0) + part * use.ahead.get(sku, 0.0) for sku in skus},
        )
        try:
            self._control.renew_reservation(self._work.project, wanted)
        except (errors.Busy, errors.Unavailable) as error:
            if self._unanswered_since is None:
                self._unanswered_since = self._now()
                _LOG.warning("it goes on with what is kept free for it: %s", error.message)
        except errors.MainspringError as refusal:
            if self._refusal is None:
                _LOG.warning("no more is kept free for it: %s", refusal.message)
            self._refusal, self._unanswered_since = refusal, None
        else:
            self._kept = {sku: use.total.get(sku, 0.0) + part * units for sku, units in use.ahead.items()}
            self._is_whole = part == 1.0
            self._refusal = self._unanswered_since = None

    def _limits(self, standing: budgets.Standing) -> Iterator[tuple[str, str, float, float]]:
        """What to raise, the scope, the limit and what is spent of it."""
        project = self._work.project
        month = standing.projects.get(project, budgets.Spending())
        if month.limit is not None:
            yield f"the monthly budget of `{project}`", "project", month.limit, month.spent
        for one in standing.budgets:
            if one.project == project and one.is_for(self._work.environment):
                name = f"budget `{one.environment}/{one.period}` of `{project}`"
                yield name, "budget", one.limit, one.spent

    def _spent(self, name: str, scope: str, limit: float, spent: float, currency: str) -> Stop:
        message = (
            f"{name} has {spent:.6g} of {limit:.6g} {currency} spent; wait for the next period, or raise it"
        )
        return Stop(scope, message, limit, spent, currency)

    def _unheard(self) -> Stop | None:
        since = self._unanswered_since
        if since is None or self._now() - since < self._patience:
            return None
        message = f"the control API has not kept anything free for it for {self._now() - since:.0f} s; see `mainspring status`"
        return Stop("unknown", message)


def _price(standing: budgets.Standing, units: Mapping[str, float]) -> float:
    return sum(standing.prices.get(sku, 0.0) * n for sku, n in units.items())
