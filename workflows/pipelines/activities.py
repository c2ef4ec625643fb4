"""A pipeline's side effects: its pack is read, the cache asked, and a step run as a Ray job."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx
from temporalio import activity

from mainspring.core import errors, job_logs, settings
from mainspring.core.contracts import pipelines, secrets
from mainspring.core.contracts.base import utc_now
from mainspring.core.contracts.capacity import Capacity
from mainspring.core.pipelines import cache
from mainspring.core.pipelines.store import PipelineStore
from mainspring.workflows import budgets, heartbeat
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows.exchange import exchange
from mainspring.workflows.pipelines import messages
from mainspring.workflows.ray_jobs import attach, books, client, job_files, paying, step_messages, usage

__all__ = ["PipelineActivities"]

T = TypeVar("T")

#: So long a job may wait for what it needs; Ray's head gives up on it by itself then (`RAY_JOB_START_TIMEOUT_SECONDS`).
PLACE_SECONDS: Final = 3600.0
#: What nodes have, in Ray's words, that may be taken away (`platform/deploy/kubernetes`, `platform/stack`).
SPOT_RESOURCE: Final = "spot"


class PipelineActivities:
    """`control` is a client with its base URL and the service's credentials set."""

    def __init__(
        self,
        in_force: settings.Settings,
        control: httpx.AsyncClient,
        *,
        poll_seconds: float = 0.5,
        budget: budgets.Budgets | None = None,
    ) -> None:
        """`poll_seconds`: between two looks at a Ray job. `budget` None: nothing ends a job for its cost."""
        self._settings, self._control, self._poll_seconds = in_force, control, poll_seconds
        self._budget = budget

    def all(self) -> list[Callable[..., Any]]:
        """What a worker registers."""
        return [self.load, self.find, self.run]

    @activity.defn(name=messages.LOAD)
    async def load(self, request: pipelines.PipelineRequest) -> messages.Graph:
        def work() -> messages.Graph:
            pack = self._store(request).pack(request.pack)
            for name in request.again_from:
                _node(pack, name)
            return messages.Graph(graph=pack.graph.model_dump_json(exclude_defaults=True))

        return await _in_thread(work)

    @activity.defn(name=messages.FIND)
    async def find(self, asked: messages.Find) -> messages.Found:
        def work() -> messages.Found:
            store = self._store(asked.request)
            pack = store.pack(asked.request.pack)
            node = _node(pack, asked.node)
            basis = cache.basis(store, pack, node)
            items = asked.inputs[node.each].items if node.each else (None,)
            found = []
            for index, item in enumerate(items):
                inputs = asked.inputs if item is None else {**asked.inputs, node.each: item}
                made = basis.of(inputs)
                place = _place(pack, node, index if node.each else None)
                seen = cache.find(
                    store,
                    made,
                    place=place,
                    is_cached=node.is_cached,
                    resume_of=asked.request.resume_of,
                    is_again=asked.is_again,
                )
                if seen.value is not None:
                    self._keep(store, asked.request, made, seen.value, place, is_cached=False)
                found.append(messages.Seen(value=seen.value, why=seen.why))
            return messages.Found(items=found)

        return await _in_thread(work)

    @activity.defn(name=messages.RUN)
    async def run(self, asked: messages.RunStep) -> messages.Ran:
        """Submit the job, or attach to the one that a worker before us submitted."""
        request, family = asked.request, attach.family()
        with temporal_errors.typed():
            store = self._store(request)
            pack = await asyncio.to_thread(store.pack, request.pack)
            node = _node(pack, asked.node)
            place = _place(pack, node, asked.index)
            item = node.name if asked.index is None else f"{node.name}-{asked.index}"
            base_id = f"{request.run_id}-{item}-{asked.attempt}-{family}"
            folder = store.run(request.run_id) / "jobs" / base_id
            # A step's own: another step's jobs are metered by themselves.
            book = books.Book(root=folder / "books", family=family)
            more = {"book": book, **(await self._secrets(request, node, base_id))}
            spec = _spec(store, asked, node, folder).model_copy(update=more)
            told = spec.model_dump_json(indent=1).encode()
            await asyncio.to_thread(job_files.write_file, folder / "spec.json", told)

            def output(k: int) -> Path:
                return folder / f"output-{k}.json"

            ray = self._settings.ray
            if node.resources.spot:
                ray = ray.model_copy(update={"capacity": Capacity.SPOT})
            pays = paying.of(
                self._budget,
                request,
                book,
                base_id,
                "ray-pipeline",
                "the steps that are done",
                ray,
                gpus=node.resources.gpus,
            )
            work = attach.Work(
                base_id=base_id,
                entrypoint=lambda k: shlex.join(
                    (
                        *(sys.executable, "-m", step_messages.MODULE),
                        *("--spec", str(folder / "spec.json"), "--out", str(output(k))),
                    )
                ),
                answer=lambda k: step_messages.read_output(output(k)),
                metadata={"run_id": request.run_id, "project": request.project, "step": item},
                # The job watches the step's own time. Ray counts from the submission, so that the wait for a place is in it.
                timeout_seconds=node.timeout_seconds + PLACE_SECONDS + 60.0,
                resources=_resources(node, asked.memory_gib),
                step=item,
                kept=job_logs.JobLogs.of(self._settings.stack.state_dir, request.project),
                paying=pays,
            )
            async with client.RayJobs.connect(ray.dashboard_url, ray.token_file) as ray_jobs:
                done = await attach.run_to_end(ray_jobs, work, poll_seconds=self._poll_seconds)
            value = done.answer.value
            if value is not None:

                def keep() -> None:
                    made = cache.basis(store, pack, node).of(asked.inputs)
                    self._keep(store, request, made, value, place, is_cached=node.is_cached)

                async with heartbeat.beating():
                    await asyncio.to_thread(keep)
            await self._meter(request, node, done, book, base_id, paying.capacity_of(pays, ray))
        return _ran(done)

    def _keep(
        self,
        store: PipelineStore,
        request: pipelines.PipelineRequest,
        made: cache.Made,
        value: pipelines.Value,
        place: str,
        *,
        is_cached: bool,
    ) -> None:
        cache.keep(store, made, value, place=place, run_id=request.run_id, at=utc_now(), is_cached=is_cached)

    async def _secrets(
        self, request: pipelines.PipelineRequest, node: pipelines.Node, step: str
    ) -> dict[str, Any]:
        """Where the step's secrets lie, once the control API said that it may read them. Errors: its refusals."""
        if not node.secrets:
            return {}
        asked = secrets.SecretUse(run_id=request.run_id, step=step[:100]).model_dump_json()
        places = {}
        for name in node.secrets:
            path = f"/api/v1/projects/{request.project}/secrets/{name}/use"
            found = await exchange(self._control, "control", "POST", path, asked)
            places[name] = secrets.SecretUsed.model_validate(found).place
        return {"project": request.project, "secrets": places, "keeper": self._settings.secrets}

    async def _meter(
        self,
        request: pipelines.PipelineRequest,
        node: pipelines.Node,
        done: attach.Done[step_messages.StepOutput],
        book: books.Book,
        base_id: str,
        capacity: Capacity,
    ) -> None:
        """What the job used goes to the ledger before its answer counts; the same job again is the same record."""
        key = f"{base_id}-{done.attempts - 1}"
        owed = await asyncio.to_thread(book.owed, key) or books.Used(cpu_seconds=done.answer.cpu_seconds)
        record = usage.core_hours(
            request,
            done.job,
            key=key,
            service="ray-pipeline",
            cpu_seconds=owed.cpu_seconds,
            capacity=capacity,
        )
        records = usage.with_memory(record, owed.memory_byte_seconds)
        records = usage.with_gpus(records, node.resources.gpus * done.answer.wall_seconds)
        async with heartbeat.beating():
            for one in records:
                await exchange(self._control, "control", "POST", "/api/v1/usage", one.model_dump_json())

    def _store(self, request: pipelines.PipelineRequest) -> PipelineStore:
        return PipelineStore.of(self._settings.stack.state_dir.absolute(), request.project)


async def _in_thread(work: Callable[[], T]) -> T:
    with temporal_errors.typed():
        async with heartbeat.beating():
            return await asyncio.to_thread(work)


def _node(pack: pipelines.Pack, name: str) -> pipelines.Node:
    try:
        return pack.graph.node(name)
    except KeyError as error:
        known = ", ".join(f"`{node.name}`" for node in pack.graph.nodes)
        raise errors.NotFound(
            f"pipeline `{pack.graph.name}` has no step `{name}`; it has {known}", resource="step", name=name
        ) from error


def _place(pack: pipelines.Pack, node: pipelines.Node, index: int | None) -> str:
    return f"{pack.graph.name}/{node.name}" + ("" if index is None else f"-{index}")


def _spec(
    store: PipelineStore, asked: messages.RunStep, node: pipelines.Node, folder: Path
) -> step_messages.StepSpec:
    return step_messages.StepSpec(
        store=store.root,
        pack=asked.request.pack,
        node=node.name,
        inputs=asked.inputs,
        folder=folder,
        cpus=node.resources.cpus,
        memory_gib=asked.memory_gib,
        timeout_seconds=node.timeout_seconds,
    )


def _resources(node: pipelines.Node, memory_gib: float) -> dict[str, Any]:
    found: dict[str, Any] = {
        "entrypoint_num_cpus": node.resources.cpus,
        "entrypoint_memory": int(memory_gib * (1 << 30)),
    }
    if node.resources.gpus:
        found["entrypoint_num_gpus"] = node.resources.gpus
    if node.resources.spot:
        # As the nodes of the cluster's spot group have it, which are tainted for all else.
        found["entrypoint_resources"] = {SPOT_RESOURCE: 1}
    return found


def _ran(done: attach.Done[step_messages.StepOutput]) -> messages.Ran:
    answer, failure = done.answer, done.answer.failure
    return messages.Ran(
        value=answer.value,
        failure="" if failure is None else str(failure.kind),
        message="" if failure is None else failure.message,
        classes=() if failure is None else failure.classes,
        error=json.dumps(failure.error) if failure is not None and failure.error else "",
        job=done.job.submission_id,
        seconds=answer.wall_seconds,
        cpu_seconds=answer.cpu_seconds,
        peak_memory_gib=answer.peak_memory_gib,
    )
