"""Who pays for a Ray job while it runs, and how it ends when there is no more to spend."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from mainspring.core import errors, settings
from mainspring.core.contracts import training
from mainspring.core.contracts.base import Message
from mainspring.core.contracts.capacity import Capacity
from mainspring.workflows import budgets as run_budgets
from mainspring.workflows.ray_jobs import books, client, job_files, unbilled, usage

__all__ = ["Paying", "capacity_of", "of"]


class _Told(Message):
    """What was sent of a job that was stopped: the same again, whatever Ray says of it by then."""

    records: list[training.UsageRecord]


def of(
    budgets: run_budgets.Budgets | None,
    run: run_budgets.Limited,
    book: books.Book,
    base_id: str,
    service: str,
    checkpoint: str,
    ray: settings.RaySettings,
    *,
    gpus: float = 0.0,
) -> Paying | None:
    """None: nobody pays. What was written down when the first worker began to follow the jobs holds, whatever `ray` says of
    its capacity by then: a record that is sent again is the same."""
    if budgets is None:
        return None
    pays = Paying(budgets, run, book, base_id, service, checkpoint, gpus, ray.capacity)
    if budgets.claims is None:
        return pays
    return replace(pays, capacity=budgets.claims.open(pays.claim).capacity)


def capacity_of(pays: Paying | None, ray: settings.RaySettings) -> Capacity:
    """Of the nodes that its jobs run on."""
    return ray.capacity if pays is None else pays.capacity


@dataclass(frozen=True)
class Paying:
    """The jobs `base_id` of one execution of a run."""

    budgets: run_budgets.Budgets
    run: run_budgets.Limited
    book: books.Book
    base_id: str
    service: str
    """Of its usage records."""
    checkpoint: str
    """What a stopped run goes on from, in words."""
    gpus: float = 0.0
    """Of each process that keeps the book, for as long as it does."""
    capacity: Capacity = Capacity.ON_DEMAND
    """Of the nodes that the jobs run on."""

    @contextlib.contextmanager
    def watched(self) -> Iterator[run_budgets.Watched]:
        """Its use counts while the block runs, and is owed until its run has ended."""
        if self.budgets.claims is not None:
            self.budgets.claims.open(self.claim)
        with self.budgets.watching(self.run, self._used, self.capacity) as watched:
            yield watched

    @property
    def claim(self) -> unbilled.Claim:
        """What is owed for the jobs until their run has ended."""
        run = self.run
        return unbilled.Claim(
            run_id=run.run_id,
            project=run.project,
            environment=run.environment,
            book=self.book,
            base_id=self.base_id,
            service=self.service,
            gpus=self.gpus,
            capacity=self.capacity,
        )

    async def must_stop(self, watched: run_budgets.Watched) -> bool:
        """Whether its jobs are to end; they are told by their book. Errors: CorruptArtifact."""
        if await asyncio.to_thread(lambda: self.book.is_to_stop):
            return True
        stop = await self.budgets.exhausted(watched)
        if stop is None:
            return False
        await asyncio.to_thread(self.book.ask_to_stop, stop)
        return True

    async def end(self, job: client.Job | None) -> errors.BudgetExhausted:
        """What the run ends with, once what its jobs used is on record. `job` is the last one, None without any.

        Errors: DependencyDown, to be called again later; CorruptArtifact.
        """
        stop, records = await asyncio.to_thread(self._stopped, job)
        await self.budgets.record(records)
        run = self.run.run_id
        return errors.BudgetExhausted(
            f"run `{run}` was stopped at work: {stop.message}, then `mainspring run resume {run}` goes on from"
            f" {self.checkpoint}",
            run_id=run,
            scope=stop.scope,
            limit=stop.limit,
            spent=stop.spent,
            currency=stop.currency,
            checkpoint=self.checkpoint,
        )

    def _stopped(self, job: client.Job | None) -> tuple[books.Stop, list[training.UsageRecord]]:
        stop = self.book.stop()
        assert stop is not None, "asked after must_stop"
        path = self.book.root / f"stopped-{self.base_id}.json"
        if path.exists():
            return stop, _Told.model_validate_json(path.read_bytes()).records
        # A cluster that was lost knows nothing of a job that has used something.
        of = job or client.Job(submission_id=self.base_id, status=client.STOPPED)
        records = [one for one in self.records(of, f"{self.base_id}/stopped") if one.consumed_quantity]
        job_files.write_file(path, _Told(records=records).model_dump_json(indent=1).encode())
        return stop, records

    def records(self, job: client.Job, key: str, cpu_seconds: float = 0.0) -> list[training.UsageRecord]:
        """Of what no record has but those of `key`, core-hours first; `cpu_seconds` where the jobs have no books, being of an
        older release."""
        owed = self.book.owed(key) or books.Used(cpu_seconds=cpu_seconds)
        record = usage.core_hours(
            self.run,
            job,
            key=key,
            service=self.service,
            cpu_seconds=owed.cpu_seconds,
            capacity=self.capacity,
        )
        records = usage.with_memory(record, owed.memory_byte_seconds)
        return usage.with_gpus(records, self.gpus * owed.wall_seconds)

    def _used(self) -> Mapping[str, float]:
        used = self.book.unpaid()
        return {
            usage.CORE_HOUR: used.cpu_seconds / 3600,
            usage.MEMORY_HOUR: usage.gib_hours(used.memory_byte_seconds),
            usage.GPU_HOUR: self.gpus * used.wall_seconds / 3600,
        }
