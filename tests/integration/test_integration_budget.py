"""A budget ends a real training on a real Ray, and the resumed run goes on from its checkpoint: every second is paid, once."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from integration_training import SPEC, data, spec_for
from litestar.testing import AsyncTestClient

from mainspring.core import errors, identity, settings
from mainspring.core.contracts import control, training
from mainspring.core.contracts.capacity import Capacity
from mainspring.platform import app as control_app
from mainspring.platform.costs import focus
from mainspring.platform.runs import launcher
from mainspring.platform.stack import parts, processes, stack
from mainspring.workflows import budgets
from mainspring.workflows.ray_jobs import attach, books, client, paying, train_messages, usage

__all__ = ["data"]  # a fixture

pytestmark = [pytest.mark.soak, pytest.mark.integration, pytest.mark.timeout(280)]

#: On spot nodes.
CORE_HOUR, MEMORY_HOUR = 0.013, 0.0017
#: Sixteen seconds of one core, of which half are imports of the two workers.
LIMIT = 16.0 / 3600 * CORE_HOUR
NODES = settings.RaySettings(capacity=Capacity.SPOT)
#: It learns slowly, so that it is not at its best before.
SLOW = SPEC.model_copy(update={"learning_rate": 2e-5, "batch_rows": 50})


@pytest.fixture(scope="module")
def ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[settings.Settings]:
    base = str(20_000 + os.getpid() % 50 * 200)
    s = settings.load({"MAINSPRING_STACK_PORT_BASE": base}, directory=tmp_path_factory.mktemp("ray"))
    processes.check_port_free(int(base), "x")
    try:
        stack.up(s, [parts.ray(s)])
        yield s
    finally:
        stack.down(s)


def work(
    folder: Path, data: Path, run: training.TrainRequest, family: str, ours: budgets.Budgets
) -> attach.Work[train_messages.TrainOutput]:
    """The training job of one execution, as the activity submits it; it would take minutes."""
    book = books.Book(root=folder / "books", family=family)
    base_id = f"{run.run_id}-train-{family}"
    spec = spec_for(data, folder, epochs=run.epochs, model_spec=SLOW).model_copy(update={"book": book})
    (folder / "spec.json").write_text(spec.model_dump_json())
    return attach.Work(
        base_id=base_id,
        entrypoint=lambda k: shlex.join(
            (
                *(sys.executable, "-m", train_messages.MODULE),
                *("--spec", str(folder / "spec.json"), "--out", str(folder / f"out-{family}-{k}.json")),
            )
        ),
        answer=lambda k: train_messages.read_output(folder / f"out-{family}-{k}.json"),
        metadata={},
        timeout_seconds=200.0,
        paying=paying.of(ours, run, book, base_id, "ray-train", "the last checkpoint", NODES),
    )


def test_a_training_is_stopped_at_its_limit_and_goes_on_with_more(
    tmp_path: Path, data: Path, ray: settings.Settings
) -> None:
    folder, engine = tmp_path / "run", launcher.MemoryLauncher()
    folder.mkdir()
    s = settings.load({}, directory=tmp_path)
    issuer = identity.ensure_token_file(s.control.tokens_file)

    async def story() -> None:
        app = control_app.create_app(s, issuer=issuer, launcher=engine)
        async with (
            AsyncTestClient(app) as api,
            client.RayJobs.connect(ray.ray.dashboard_url, ray.ray.token_file) as jobs,
        ):

            async def ask(who: str, method: str, path: str, body: Any = None) -> Any:
                bearer = {"Authorization": f"Bearer {issuer.token_of(who)}"}
                answer = await api.request(method, f"/api/v1{path}", json=body, headers=bearer)
                assert answer.is_success, answer.text
                return answer.json()

            await ask("developer@local", "POST", "/projects", {"name": "alpha", "owner": "team"})
            asked = {"project": "alpha", "max_cost": LIMIT, "epochs": 30}
            run_id = (await ask("developer@local", "POST", "/runs", asked))["run_id"]
            api.headers["Authorization"] = f"Bearer {issuer.token_of('service@local')}"
            ours = budgets.Budgets(api, patience_seconds=600.0)
            first = work(folder, data, engine.started[run_id], "first", ours)
            assert first.paying is not None
            passed = asyncio.create_task(_passed(first.paying.book, LIMIT))
            with pytest.raises(errors.BudgetExhausted) as caught:
                await attach.run_to_end(jobs, first, poll_seconds=1.0)
            late = time.monotonic() - await passed
            assert late < 15.0, "the limit, the look, three seconds of grace, Ray's own, and the record"
            assert LIMIT <= caught.value.spent < 2 * LIMIT and caught.value.limit == LIMIT
            stopped = await jobs.find(f"{run_id}-train-first-0")
            assert stopped is not None and stopped.is_ended
            told = folder / "books" / "first" / "stop.json"
            assert told.exists()
            engine.fail(run_id)
            end = {"stage": "failed", "message": caught.value.message}
            event = {"event_key": "end", "run_id": run_id, "action": "run.end", "actor": "w", "detail": end}
            await ask("service@local", "POST", f"/runs/{run_id}/events", event)
            more = {"max_cost": 100 * LIMIT}
            view = await ask("developer@local", "POST", f"/runs/{run_id}/resume", more)
            assert view["run_id"] == run_id and view["cost"] >= LIMIT

            resumed = engine.started[run_id]
            assert resumed.max_cost == pytest.approx(100 * LIMIT)
            second = work(folder, data, resumed, "second", ours)
            done = await attach.run_to_end(jobs, second, poll_seconds=1.0)
            assert done.answer.resumed_epochs > 0
            assert second.paying is not None
            owed = second.paying.book.owed(f"{run_id}/second")
            assert owed is not None and owed.cpu_seconds > 0
            record = usage.core_hours(
                resumed,
                done.job,
                key=f"{run_id}/second",
                service="ray-train",
                cpu_seconds=owed.cpu_seconds,
                capacity=second.paying.capacity,
            )
            records = usage.with_memory(record, owed.memory_byte_seconds)
            await ours.record(records)
            await ours.record(records)
            page = await ask("service@local", "GET", "/costs:records?project=alpha")
            paid = quantity(page, "cpu_core_hour") * 3600
            entries = [
                books.Used.model_validate_json(entry.read_bytes())
                for entry in (folder / "books").glob("*/*.json")
                if entry != told
            ]
            written = sum(one.cpu_seconds for one in entries)
            assert len(page["items"]) == 4 and paid == pytest.approx(written, abs=1e-6)
            held = sum(one.memory_byte_seconds for one in entries)
            assert round(quantity(page, "memory_gib_hour") * (3600 << 30)) == held
            rows = [focus.row(control.CostView.model_validate(item)) for item in page["items"]]
            assert {one["PricingCategory"] for one in rows} == {"Dynamic"}
            total = sum(one["BilledCost"] for one in rows)
            assert float(total) == pytest.approx(sum(spent(one) for one in entries), abs=4e-9)
            assert sum(one["ListCost"] for one in rows) > 2 * total, "what it would have been on demand"
            assert held > 2 * (64 << 20) * 10, "two workers with torch in them, for ten seconds at the least"
            print(
                f"stopped {late:.1f} s after the limit with {caught.value.spent / LIMIT:.2f} of it spent;"
                f" {done.answer.resumed_epochs} epochs were kept; {paid:.2f} s paid of {written:.2f} s written"
            )

    asyncio.run(story())


def quantity(page: Any, sku: str) -> float:
    return float(sum(item["consumed_quantity"] for item in page["items"] if item["sku_id"] == sku))


async def _passed(book: books.Book, limit: float) -> float:
    """When the books first said that the limit was reached."""
    while spent(book.unpaid()) < limit:
        await asyncio.sleep(0.1)
    return time.monotonic()


def spent(used: books.Used) -> float:
    return used.cpu_seconds / 3600 * CORE_HOUR + usage.gib_hours(used.memory_byte_seconds) * MEMORY_HOUR
