"""Whether runs that are at work may go on: one question to the control API for all jobs that a worker follows.

What is on record the control API says, with limits and prices; what is at work the jobs' own books say. A decision to stop
is the books' from then on (`ray_jobs/books.py`): it does not waver with the next answer (ADR 0049).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import httpx
from pydantic import ValidationError

from mainspring.core import errors
from mainspring.core.contracts import budgets, training
from mainspring.core.contracts.capacity import Capacity
from mainspring.workflows.exchange import exchange
from mainspring.workflows.ray_jobs import books, unbilled

__all__ = ["ASK_SECONDS", "Budgets", "Limited", "Watched"]

_LOG: Final = logging.getLogger(__name__)

#: The control API is asked at most so often, but for a job that is new.
ASK_SECONDS: Final = 2.0
#: An answer that takes longer is none; a job's end is looked for meanwhile by nobody.
_ANSWER_SECONDS: Final = 3.0
#: Runs in one question, which is an address.
_MAX_RUNS: Final = 200


class Limited(Protocol):
    """Whose job it is; the requests of workflows are such."""

    @property
    def run_id(self) -> str: ...
    @property
    def project(self) -> str: ...
    @property
    def environment(self) -> str: ...
    @property
    def max_cost(self) -> float | None: ...


@dataclass(eq=False)
class Watched:
    """One job. `used` is what no record has, in units of the price book by SKU."""

    run: Limited
    used: Callable[[], Mapping[str, float]]
    capacity: Capacity = Capacity.ON_DEMAND
    last: Mapping[str, float] = field(default_factory=dict)


class Budgets:
    """Of one worker, for the tasks of one event loop. `control` has its base URL and the service's credentials set."""

    def __init__(
        self,
        control: httpx.AsyncClient,
        *,
        patience_seconds: float,
        ask_seconds: float = ASK_SECONDS,
        now: Callable[[], float] = time.monotonic,
        claims: unbilled.Unbilled | None = None,
    ) -> None:
        """`patience_seconds`: what has a limit goes on for so long while nobody can say what is left of it. `claims`: where jobs
        are written down whose run may end without their record; None: it pays for no such job."""
        self.claims = claims
        self._control, self._patience, self._ask_seconds, self._now = (
            control,
            patience_seconds,
            ask_seconds,
            now,
        )
        self._jobs: list[Watched] = []
        self._standing: budgets.Standing | None = None
        self._known: frozenset[str] = frozenset()
        self._asked_at: float | None = None
        self._silent_since: float | None = None
        self._turn = asyncio.Lock()

    @contextlib.contextmanager
    def watching(
        self,
        run: Limited,
        used: Callable[[], Mapping[str, float]],
        capacity: Capacity = Capacity.ON_DEMAND,
    ) -> Iterator[Watched]:
        """Count the job while the block runs. End it before its record is sent: what it used would count twice."""
        job = Watched(run, used, capacity)
        self._jobs.append(job)
        try:
            yield job
        finally:
            self._jobs.remove(job)

    async def exhausted(self, job: Watched) -> books.Stop | None:
        """Why `job` must stop; None: it may go on. Errors: CorruptArtifact of its books."""
        job.last = await asyncio.to_thread(job.used)
        await self._ask(job.run.run_id)
        run, project = job.run.run_id, job.run.project
        standing = self._standing
        if standing is not None:
            known = standing.runs.get(run, budgets.Spending(limit=job.run.max_cost))
            own = [one for one in self._jobs if one.run.run_id == run]
            if (stop := self._over("run", run, known, own, standing)) is not None:
                return stop
            month = standing.projects.get(project, budgets.Spending())
            of_project = [one for one in self._jobs if one.run.project == project]
            if (stop := self._over("project", project, month, of_project, standing)) is not None:
                return stop
            hard = [
                one for one in standing.budgets if one.project == project and one.is_for(job.run.environment)
            ]
            for one in hard:
                jobs = [other for other in of_project if one.is_for(other.run.environment)]
                if (stop := self._over_period(one, jobs, standing)) is not None:
                    return stop
            if known.limit is None and month.limit is None and not hard:
                return None
        return self._unheard(run, standing)

    async def record(self, usage: Sequence[training.UsageRecord]) -> None:
        """Put what ran on record, once. Errors: DependencyDown, and what the control API refuses with."""
        for one in usage:
            await exchange(self._control, "control", "POST", "/api/v1/usage", one.model_dump_json())

    def _over_period(
        self, known: budgets.PeriodSpending, jobs: Sequence[Watched], standing: budgets.Standing
    ) -> books.Stop | None:
        spent = known.spent + _at_work(jobs, standing)
        if spent < known.limit:
            return None
        where = "" if known.environment == budgets.ALL else f" in `{known.environment}`"
        return books.Stop(
            scope="budget",
            limit=known.limit,
            spent=spent,
            currency=standing.currency,
            message=f"project `{known.project}`, all its runs of this {known.period}{where} together, has cost {spent:.6g} of"
            f" {known.limit:.6g} {standing.currency}; wait for the next {known.period}, or raise its budget `{known.environment}/{known.period}`",
        )

    def _over(
        self,
        scope: str,
        name: str,
        known: budgets.Spending,
        jobs: Sequence[Watched],
        standing: budgets.Standing,
    ) -> books.Stop | None:
        if known.limit is None:
            return None
        spent = known.spent + _at_work(jobs, standing)
        if spent < known.limit:
            return None
        whose = "it" if scope == "run" else f"project `{name}`, all its runs of this month together,"
        raised = "give it a higher `--max-cost`" if scope == "run" else f"raise the budget of `{name}`"
        return books.Stop(
            scope=scope,
            limit=known.limit,
            spent=spent,
            currency=standing.currency,
            message=f"{whose} has cost {spent:.6g} of {known.limit:.6g} {standing.currency}; {raised}",
        )

    def _unheard(self, run: str, standing: budgets.Standing | None) -> books.Stop | None:
        """Nobody has said for too long what is left of a limit."""
        if self._silent_since is None or self._now() - self._silent_since < self._patience:
            return None
        known = None if standing is None else standing.runs.get(run)
        return books.Stop(
            scope="unknown",
            limit=0.0 if known is None or known.limit is None else known.limit,
            spent=0.0 if known is None else known.spent,
            currency="" if standing is None else standing.currency,
            message=f"the control API has not said for {self._patience:.0f} s what is left of its budget; see `mainspring"
            " status`",
        )

    async def _ask(self, run: str) -> None:
        async with self._turn:
            # Whoever is new is not in the last answer, and was perhaps in a question that somebody else has asked meanwhile.
            since = None if self._asked_at is None else self._now() - self._asked_at
            if since is not None and since < self._ask_seconds and run in self._known:
                return
            runs = sorted({(one.run.run_id, one.run.project) for one in self._jobs})
            self._asked_at, self._known = self._now(), frozenset(name for name, _ in runs)
            try:
                self._standing = await self._answer(runs)
                self._silent_since = None
            except errors.MainspringError as error:
                if self._silent_since is None:
                    self._silent_since = self._now()
                    _LOG.warning("budgets are not known, work goes on meanwhile: %s", error.message)

    async def _answer(self, runs: Sequence[tuple[str, str]]) -> budgets.Standing:
        """Of runs, each with its project. Errors: DependencyDown, and what the control API refuses with."""
        found: budgets.Standing | None = None
        for start in range(0, len(runs), _MAX_RUNS):
            some = runs[start : start + _MAX_RUNS]
            params: list[tuple[str, str | int | float | bool | None]] = [("run", run) for run, _ in some]
            params += [("project", name) for name in sorted({p for _, p in some})]
            path = f"/api/v1/costs:standing?{httpx.QueryParams(params)}"
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    told = await exchange(self._control, "control", "GET", path)
                one = budgets.Standing.model_validate(told)
            except (TimeoutError, ValidationError) as error:
                raise errors.DependencyDown(
                    f"`control` gave no standing of budgets: {error!r}; see its log", name="control"
                ) from error
            if found is not None:
                both = {
                    "runs": {**found.runs, **one.runs},
                    "projects": {**found.projects, **one.projects},
                    # A project may have been in both questions.
                    "budgets": tuple({_key(b): b for b in (*found.budgets, *one.budgets)}.values()),
                }
                one = one.model_copy(update=both)
            found = one
        assert found is not None, "asked by a job"
        return found


def _at_work(jobs: Sequence[Watched], standing: budgets.Standing) -> float:
    """What the jobs have used that is not on record, in money."""
    return sum(_cost(one, standing) for one in jobs)


def _cost(job: Watched, standing: budgets.Standing) -> float:
    """What it used, by the rate that its record will have."""
    prices = {**standing.prices, **standing.rates.get(job.capacity, {})}
    return sum(prices.get(sku, 0.0) * n for sku, n in job.last.items())


def _key(one: budgets.PeriodSpending) -> tuple[str, str, str]:
    return one.project, one.environment, one.period
