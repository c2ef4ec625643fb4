"""Work that is no run: what is kept free for it, when it must end, and how long it goes on while nobody answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from mainspring.core import errors
from mainspring.core.client import allowance
from mainspring.core.contracts import budgets

WORK = allowance.Work("notebook_1", "alpha", "dev")
HOUR = 1.0


@dataclass
class Ledger:
    """A control API of one project: a core hour costs 1, a month has `limit`."""

    limit: float | None = 10.0
    spent: float = 0.0
    day_in_prod: float | None = None
    kept: float = 0.0
    answers: bool = True
    renewals: list[float] = field(default_factory=list)
    ends: int = 0

    def standing(self, *, runs: Sequence[str] = (), projects: Sequence[str] = ()) -> budgets.Standing:
        self._reach()
        days = () if self.day_in_prod is None else (
            budgets.PeriodSpending(project="alpha", environment="prod", period=budgets.Period.DAY, limit=self.day_in_prod, spent=self.spent),
        )  # fmt: skip
        month = budgets.Spending(limit=self.limit, spent=self.spent)
        return budgets.Standing(
            currency="USD", prices={"cpu_core_hour": 1.0}, projects={"alpha": month}, budgets=days
        )

    def renew_reservation(self, project: str, wanted: budgets.ReservationRenewal) -> budgets.Reservation:
        self._reach()
        amount = wanted.ahead["cpu_core_hour"]
        if self.limit is not None and self.spent + amount > self.limit:
            raise errors.BudgetExceeded("ask for less", project=project)
        self.kept = amount
        self.renewals.append(amount)
        return budgets.Reservation(project=project, work_id=wanted.work_id, amount=amount)

    def end_reservation(self, project: str, ended: budgets.ReservationEnd) -> budgets.Reservation:
        self._reach()
        self.ends += 1
        return budgets.Reservation(project=project, work_id=ended.work_id, amount=0.0)

    def _reach(self) -> None:
        if not self.answers:
            raise errors.DependencyDown("nobody is there", name="control")


@dataclass
class Clock:
    at: float = 0.0

    def __call__(self) -> float:
        return self.at


def use(total: float, unrecorded: float = 0.0, ahead: float = HOUR, last: float = 0.05) -> allowance.Use:
    sku = "cpu_core_hour"
    return allowance.Use({sku: total}, {sku: unrecorded}, {sku: ahead}, {sku: last})


def of(
    ledger: Ledger, clock: Clock, work: allowance.Work = WORK, patience: float = 600.0
) -> allowance.Allowance:
    return allowance.Allowance(ledger, work, patience_seconds=patience, now=clock)


def hours(one: allowance.Allowance, ledger: Ledger, clock: Clock, until: float) -> allowance.Stop | None:
    """Work at one core; a record each tenth of an hour. Why it ended, at the latest after `until` hours."""
    recorded, begun, first = 0.0, clock.at, ledger.spent
    while (total := (clock.at - begun) / 3600) < until:
        if total - recorded >= 0.1 and ledger.answers:
            recorded, ledger.spent = total, first + total
        if (stop := one.look(use(total, total - recorded))) is not None:
            return stop
        clock.at += 10
    return None


def test_an_hour_is_kept_ahead_and_renewed_as_it_is_used() -> None:
    ledger, clock = Ledger(), Clock()
    one = of(ledger, clock)
    one.begin({"cpu_core_hour": HOUR})
    assert hours(one, ledger, clock, 3.0) is None
    assert 12 <= len(ledger.renewals) <= 16 and all(1.0 <= n <= 1.11 for n in ledger.renewals)
    one.end()
    assert ledger.ends == 1


def test_what_cannot_be_paid_does_not_begin() -> None:
    with pytest.raises(errors.BudgetExceeded):
        of(Ledger(limit=0.5), Clock()).begin({"cpu_core_hour": HOUR})


def test_it_ends_before_more_is_spent_than_there_is() -> None:
    ledger, clock = Ledger(limit=2.0), Clock()
    one = of(ledger, clock)
    one.begin({"cpu_core_hour": HOUR})
    stop = hours(one, ledger, clock, 5.0)
    assert stop is not None and stop.scope == "project"
    used = clock.at / 3600
    assert 1.85 <= used <= 2.0 - 0.05  # the last of it as well, and its end can be paid
    error = stop.error(WORK, "its files stay")
    assert error.run_id == "notebook_1" and error.message.endswith("; its files stay")


def test_a_budget_that_others_have_spent_ends_it_whatever_is_kept_for_it() -> None:
    ledger, clock = Ledger(limit=None, day_in_prod=4.0), Clock()
    one, other = of(ledger, clock, allowance.Work("stream/1", "alpha", "prod")), of(ledger, clock)
    assert one.look(use(0.0)) is None
    ledger.spent, clock.at = 3.99, 6.0
    stop = one.look(use(0.0))
    assert stop is not None and (stop.scope, stop.limit, stop.spent) == ("budget", 4.0, 3.99)
    assert "`prod/day` of `alpha` has 3.99 of 4 USD spent" in stop.message
    assert other.look(use(0.0)) is None  # of dev, which has no limit
    ledger.day_in_prod, clock.at = 40.0, 12.0
    assert one.look(use(0.0)) is None  # raised in time


def test_what_has_no_limit_keeps_nothing_free_and_goes_on_while_nobody_answers() -> None:
    ledger, clock = Ledger(limit=None), Clock()
    one = of(ledger, clock)
    assert hours(one, ledger, clock, 1.0) is None and ledger.renewals == []
    ledger.answers = False
    assert hours(one, ledger, clock, 24.0) is None


def test_while_nobody_answers_it_goes_on_with_what_is_kept_and_at_least_for_its_patience() -> None:
    ledger, clock = Ledger(), Clock()
    one = of(ledger, clock)
    one.begin({"cpu_core_hour": HOUR})
    assert one.look(use(0.0)) is None
    ledger.answers = False
    stop = hours(one, ledger, clock, 5.0)
    assert stop is not None and stop.scope == "unknown" and "mainspring status" in stop.message
    assert 0.93 <= clock.at / 3600 <= 0.96  # the hour, less its end
    silent, clock = Ledger(answers=False), Clock()
    never = of(silent, clock)
    never.begin({"cpu_core_hour": HOUR})  # nobody refused it
    stop = hours(never, silent, clock, 5.0)
    assert stop is not None and stop.scope == "unknown" and 600 <= clock.at <= 620
    never.end()  # lapses by itself


def test_the_last_of_a_budget_is_kept_in_parts() -> None:
    ledger, clock = Ledger(limit=1.3), Clock()
    one = of(ledger, clock)
    one.begin({"cpu_core_hour": HOUR})
    clock.at = 3500
    assert one.look(use(0.97, 0.97)) is None
    assert ledger.renewals == [1.0, pytest.approx(0.97 + 0.1)]


def test_an_answer_in_time_lets_it_go_on() -> None:
    ledger, clock = Ledger(answers=False), Clock()
    one = of(ledger, clock)
    one.begin({"cpu_core_hour": HOUR})
    assert hours(one, ledger, clock, 500 / 3600) is None
    ledger.answers = True
    assert hours(one, ledger, clock, 1.0) is None and ledger.renewals


def test_a_refusal_counts_only_when_what_was_kept_is_used() -> None:
    ledger, clock = Ledger(limit=1.3), Clock()
    one = of(ledger, clock)
    one.begin({"cpu_core_hour": HOUR})
    clock.at = 1800
    assert one.look(use(0.5, 0.5)) is None  # refused, and half an hour is kept
    assert ledger.renewals == [1.0]  # a part would be less than that
    clock.at = 3500
    ledger.limit = 1.0
    stop = one.look(use(0.97, 0.94))
    assert stop is not None and stop.message == "nothing more is kept free for it: ask for less"
    ledger.limit, clock.at = 50.0, 3600
    assert one.look(use(1.0, 1.0)) is None  # raised
