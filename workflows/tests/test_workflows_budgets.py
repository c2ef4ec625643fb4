"""Work ends when its budget does: one question for all, the job stopped, what it used paid once, and a resumed run pays the rest."""

from __future__ import annotations

import asyncio
import json
import mmap
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from activity_calls import do
from ray_double import TOKEN, RayDouble, serve
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from training_doubles import Steps, all_activities, train_request
from workflows_doubles import QUEUE, Endpoint, run

from mainspring.core import errors
from mainspring.core.client.workflows import WorkflowClient
from mainspring.core.contracts import budgets as contracts
from mainspring.core.contracts import training
from mainspring.core.contracts.capacity import Capacity
from mainspring.core.contracts.training import Stage
from mainspring.workflows import budgets
from mainspring.workflows.ray_jobs import attach, books, client, memory, paying
from mainspring.workflows.training import messages
from mainspring.workflows.training.workflow import TrainModel

CORE_HOUR, GPU_HOUR, MEMORY_HOUR = 0.04, 2.5, 0.005
#: In byte-seconds.
GIB_HOUR = 3600 << 30


@dataclass
class Control:
    """A control API: what it says of runs and projects, and the usage that it was sent."""

    runs: dict[str, contracts.Spending] = field(default_factory=dict)
    projects: dict[str, contracts.Spending] = field(default_factory=dict)
    periods: tuple[contracts.PeriodSpending, ...] = ()
    rates: dict[str, dict[str, float]] = field(default_factory=dict)
    is_away: bool = False
    asked: list[httpx.QueryParams] = field(default_factory=list)
    usage: dict[str, training.UsageRecord] = field(default_factory=dict)
    now: float = 0.0

    def budgets(self, **options: Any) -> budgets.Budgets:
        http = httpx.AsyncClient(transport=httpx.MockTransport(self.answer), base_url="http://control")
        return budgets.Budgets(http, **{"patience_seconds": 600.0, "now": lambda: self.now, **options})

    def answer(self, asked: httpx.Request) -> httpx.Response:
        if self.is_away:
            raise httpx.ConnectError("nobody there")
        if asked.method == "POST":
            record = training.UsageRecord.model_validate_json(asked.content)
            known = self.usage.setdefault(record.usage_key, record)
            return httpx.Response(201 if known == record else 409, json={})
        self.asked.append(asked.url.params)
        answer = contracts.Standing(
            currency="USD",
            prices={"cpu_core_hour": CORE_HOUR, "gpu_hour": GPU_HOUR, "memory_gib_hour": MEMORY_HOUR},
            rates=self.rates,
            runs={k: v for k, v in self.runs.items() if k in asked.url.params.get_list("run")},
            projects={k: v for k, v in self.projects.items() if k in asked.url.params.get_list("project")},
            budgets=tuple(b for b in self.periods if b.project in asked.url.params.get_list("project")),
        )
        return httpx.Response(200, json=answer.model_dump(mode="json"))


def hours(n: float) -> Mapping[str, float]:
    return {"cpu_core_hour": n}


def limit(of: float | None, spent: float = 0.0) -> contracts.Spending:
    return contracts.Spending(limit=of, spent=spent)


def test_all_jobs_of_a_worker_are_one_question_every_two_seconds() -> None:
    control = Control(runs={"run_a": limit(1.0)}, projects={"flight-delay": limit(None)})
    ours = control.budgets()

    async def story() -> None:
        a, b = train_request(run_id="run_a"), train_request(run_id="run_b")
        with ours.watching(a, lambda: hours(1)) as one, ours.watching(b, lambda: hours(1)) as other:
            for _ in range(50):
                assert await ours.exhausted(one) is None
                assert await ours.exhausted(other) is None
            assert [q.get_list("run") for q in control.asked] == [["run_a", "run_b"]]
            control.now += 1.99
            await ours.exhausted(one)
            assert len(control.asked) == 1
            control.now += 0.02
            await asyncio.gather(*(ours.exhausted(job) for job in (one, other) * 20))
            assert len(control.asked) == 2

    asyncio.run(story())


def test_a_run_stops_at_its_own_limit_counting_what_is_on_record_and_what_is_at_work() -> None:
    control = Control(runs={"run_train": limit(1.0, spent=0.6)})
    ours, used = control.budgets(), [9.99]

    async def story() -> books.Stop | None:
        with ours.watching(train_request(), lambda: hours(used[0])) as job:
            assert await ours.exhausted(job) is None
            used[0] = 10.0  # 0.4 of the 1.0, in the same two seconds: no question is needed to know
            return await ours.exhausted(job)

    stop = asyncio.run(story())
    assert stop is not None and (stop.scope, stop.limit, stop.currency) == ("run", 1.0, "USD")
    assert stop.spent == pytest.approx(1.0) and "`--max-cost`" in stop.message
    assert len(control.asked) == 1


def test_a_project_stops_by_what_all_its_runs_use_together() -> None:
    control = Control(projects={"flight-delay": limit(1.0, spent=0.5), "other": limit(1.0)})
    ours = control.budgets()

    async def story() -> list[books.Stop | None]:
        requests = [train_request(run_id=f"run_{i}") for i in range(2)]
        foreign = train_request(run_id="run_9", project="other")
        with (
            ours.watching(requests[0], lambda: hours(6.25)) as one,
            ours.watching(requests[1], lambda: hours(6.25)) as two,
            ours.watching(foreign, lambda: hours(6.25)) as three,
        ):
            assert await ours.exhausted(one) is None, "the other's use is not known yet"
            return [await ours.exhausted(job) for job in (two, one, three)]

    two, one, three = asyncio.run(story())
    assert one == two and one is not None and three is None
    assert (one.scope, one.spent) == ("project", 1.0) and "raise the budget of `flight-delay`" in one.message


def of_period(environment: str, most: float, spent: float = 0.0) -> contracts.PeriodSpending:
    return contracts.PeriodSpending(
        project="flight-delay", environment=environment, period=contracts.Period.DAY, limit=most, spent=spent
    )


def test_a_budget_of_an_environment_stops_what_is_at_work_there() -> None:
    control = Control(
        periods=(of_period("dev", 1.0, spent=0.5), of_period("prod", 9.0), of_period("all", 2.0))
    )
    ours = control.budgets()

    async def story() -> list[books.Stop | None]:
        dev = [train_request(run_id=f"run_{i}", environment="dev") for i in range(2)]
        prod = train_request(run_id="run_9", environment="prod")
        with (
            ours.watching(dev[0], lambda: hours(6.25)) as one,
            ours.watching(dev[1], lambda: hours(6.25)) as two,
            ours.watching(prod, lambda: hours(20.0)) as three,
        ):
            for job in (one, two, three):
                await ours.exhausted(job)
            return [await ours.exhausted(job) for job in (one, two, three)]

    one, two, three = asyncio.run(story())
    assert one == two and one is not None and three is None
    assert (one.scope, one.limit, one.spent) == ("budget", 1.0, 1.0)
    assert "of this day in `dev` together" in one.message and "its budget `dev/day`" in one.message


def test_a_budget_of_all_environments_counts_what_is_at_work_in_each() -> None:
    control = Control(periods=(of_period("all", 1.0),))
    ours = control.budgets(patience_seconds=600.0)

    async def story() -> list[books.Stop | None]:
        dev, prod = (train_request(run_id=f"run_{e}", environment=e) for e in ("dev", "prod"))
        with ours.watching(dev, lambda: hours(12.5)) as one, ours.watching(prod, lambda: hours(12.5)) as two:
            await ours.exhausted(one)
            return [await ours.exhausted(job) for job in (two, one)]

    two, one = asyncio.run(story())
    assert one is not None and one == two and (one.limit, one.spent) == (1.0, 1.0)


def test_a_hard_budget_alone_is_a_limit_that_nobody_may_forget() -> None:
    """Where the control API is away for too long."""
    control = Control(periods=(of_period("dev", 9.0),))
    ours = control.budgets(patience_seconds=600.0)

    async def story() -> books.Stop | None:
        with ours.watching(train_request(environment="dev"), lambda: hours(1)) as job:
            assert await ours.exhausted(job) is None
            control.is_away = True
            for _ in range(302):
                control.now += 2.001
                stop = await ours.exhausted(job)
            return stop

    stop = asyncio.run(story())
    assert stop is not None and stop.scope == "unknown"


def test_a_gpu_counts_by_the_clock() -> None:
    control = Control(runs={"run_train": limit(2.5)})

    async def story() -> books.Stop | None:
        ours = control.budgets()
        with ours.watching(train_request(), lambda: {"cpu_core_hour": 0.0, "gpu_hour": 1.0}) as job:
            return await ours.exhausted(job)

    assert asyncio.run(story()) is not None


def test_jobs_count_by_the_rates_of_what_they_run_on() -> None:
    """One that began before the worker was told of other nodes, and one after; a release that knows one price bills both by it."""
    control = Control(
        projects={"flight-delay": limit(0.1)}, rates={"spot": {"cpu_core_hour": 0.01, "of tomorrow": 1.0}}
    )

    async def story() -> list[books.Stop | None]:
        ours = control.budgets()
        with (
            ours.watching(train_request(run_id="run_0"), lambda: {**hours(1.5), "gpu_hour": 0.008}) as one,
            ours.watching(train_request(run_id="run_1"), lambda: hours(1.9), Capacity.SPOT) as other,
        ):
            assert await ours.exhausted(one) is None
            before = await ours.exhausted(other)
            control.rates = {}
            control.now += 2.001
            return [before, await ours.exhausted(other)]

    before, after = asyncio.run(story())
    assert before is None, "0.06 and 0.02, and 0.019: 0.099"
    assert after is not None and after.spent == pytest.approx(0.06 + 0.02 + 1.9 * CORE_HOUR)


@pytest.mark.parametrize("max_cost", [None, 1.0])
def test_while_nobody_says_what_is_left_work_goes_on_for_a_time(max_cost: float | None) -> None:
    """Of a run without any limit for ever: there is nothing to keep to."""
    control = Control(runs={"run_train": limit(max_cost)}, projects={"flight-delay": limit(None)})
    ours = control.budgets(patience_seconds=600.0)

    async def story() -> books.Stop | None:
        with ours.watching(train_request(), lambda: hours(1)) as job:
            assert await ours.exhausted(job) is None
            control.is_away = True
            for _ in range(299):
                control.now += 2.001
                assert await ours.exhausted(job) is None
            control.is_away, control.now = False, control.now + 2.001
            assert await ours.exhausted(job) is None, "it was back in time, and the patience begins anew"
            control.is_away = True
            for _ in range(301):
                control.now += 2.001
                stop = await ours.exhausted(job)
            return stop

    stop = asyncio.run(story())
    assert (stop is None) == (max_cost is None)
    assert stop is None or (stop.scope == "unknown" and "600 s" in stop.message)


def test_its_own_limit_holds_where_the_control_api_has_not_started_the_run() -> None:
    """By the thin client, or by the `temporal` command."""
    control = Control()

    async def story() -> books.Stop | None:
        ours = control.budgets()
        with ours.watching(train_request(max_cost=0.04), lambda: hours(1)) as job:
            return await ours.exhausted(job)

    stop = asyncio.run(story())
    assert stop is not None and stop.scope == "run"


def test_a_process_writes_what_it_used_while_it_works_and_never_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(books, "WRITE_SECONDS", 0.01)
    book, told = books.Book(root=tmp_path, family="a"), [1.5]
    assert book.owed("early") is None, "nobody has written"
    with book.keeping(lambda: told[0], lambda: 7) as write:
        write()
        assert book.unpaid().cpu_seconds == 1.5 and book.unpaid().memory_byte_seconds == 7
        told[0] = 0.5  # those that it had started are gone
    used = book.unpaid()
    assert used.cpu_seconds == 1.5 and used.wall_seconds > 0
    assert not book.is_to_stop and book.stop() is None


def owed(book: books.Book, key: str) -> books.Used:
    """But for seconds by the clock, which are what they are."""
    found = book.owed(key)
    assert found is not None and found.wall_seconds >= 0
    return found.model_copy(update={"wall_seconds": 0.0})


def test_each_second_is_in_one_record_whatever_execution_pays_it(tmp_path: Path) -> None:
    first, second = (books.Book(root=tmp_path, family=f) for f in ("a", "b"))
    enter(first, 10.0, 3 * GIB_HOUR)
    enter(first, 2.0, 1)  # of a second process
    enter(second, 5.0, 5)  # before that, `first` had failed and paid nothing
    whole = books.Used(cpu_seconds=17.0, memory_byte_seconds=3 * GIB_HOUR + 6)
    assert owed(second, "second") == whole == owed(second, "second")
    enter(first, 1.0, 2)
    assert (first.unpaid().cpu_seconds, first.unpaid().memory_byte_seconds) == (1.0, 2)
    assert owed(first, "third") == books.Used(cpu_seconds=1.0, memory_byte_seconds=2)
    assert owed(second, "second") == whole and owed(first, "fourth") == books.Used()


def test_what_a_release_without_memory_wrote_down_counts_as_it_did(tmp_path: Path) -> None:
    """An upgrade in the middle of a run: its entries, and what it has paid."""
    book = books.Book(root=tmp_path, family="a")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old.json").write_text('{"cpu_seconds": 10.0, "wall_seconds": 4.0}')
    (tmp_path / "paid.json").write_text('{"cpu_seconds": {"first": 8.0}}')
    assert book.unpaid() == books.Used(cpu_seconds=2.0, wall_seconds=4.0)
    assert owed(book, "first") == books.Used(cpu_seconds=8.0), "the record that it sent, again"
    enter(book, 1.0, 64)
    assert owed(book, "second") == books.Used(cpu_seconds=3.0, memory_byte_seconds=64)
    assert owed(book, "first") == books.Used(cpu_seconds=8.0)


def test_each_second_by_the_clock_is_in_one_record(tmp_path: Path) -> None:
    """Of GPUs that a process has, whatever it does."""
    first, second = (books.Book(root=tmp_path, family=f) for f in ("a", "b"))
    enter(first, 1.0)
    enter(second, 1.0)
    whole = second.unpaid().wall_seconds
    told = second.owed("second")
    assert told is not None and told.wall_seconds == whole > 0
    assert second.unpaid().wall_seconds == 0.0 and second.owed("second") == told
    enter(first, 1.0)
    rest = first.owed("third")
    written = [json.loads(p.read_bytes())["wall_seconds"] for p in tmp_path.glob("[ab]/*.json")]
    assert rest is not None and rest.wall_seconds + whole == pytest.approx(sum(written)) and len(written) == 3


def test_memory_is_what_was_held_for_as_long_as_it_was() -> None:
    held, at = [100], [0.0]
    ours = memory.Held(lambda: held[0], lambda: at[0])
    at[0] = 2.0
    assert ours.look() == 100 and ours.byte_seconds() == 200
    held[0], at[0] = 300, 3.0  # it grew meanwhile: the mean of both
    assert ours.byte_seconds() == 400
    held[0], at[0] = 0, 4.0  # it has ended
    assert ours.byte_seconds() == 550 == ours.byte_seconds()
    assert memory.own_bytes(2**22 + 1) == 0, "no process has this number"


def test_memory_that_a_process_takes_is_its_own_and_mapped_files_are_nobodys(tmp_path: Path) -> None:
    before = memory.own_bytes("self")
    taken = bytearray(b"x") * (64 << 20)
    own = memory.own_bytes("self") - before
    assert abs(own - len(taken)) < 16 << 20
    (tmp_path / "file").write_bytes(taken)
    with (tmp_path / "file").open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert sum(mapped[:: 1 << 12]) == 120 * (len(taken) >> 12)  # every page of it is in memory
        assert abs(memory.own_bytes("self") - before - len(taken)) < 32 << 20


def test_what_is_damaged_on_the_way_is_not_paid_and_what_is_paid_is_not_guessed(tmp_path: Path) -> None:
    book = books.Book(root=tmp_path, family="a")
    enter(book, 2.0)
    (tmp_path / "a" / "half.json").write_text("{")
    assert book.unpaid().cpu_seconds == 2.0
    (tmp_path / "paid.json").write_text("{")
    with pytest.raises(errors.CorruptArtifact, match="resume the run"):
        book.owed("key")


def enter(book: books.Book, seconds: float, byte_seconds: int = 0) -> None:
    with book.keeping(lambda: seconds, lambda: byte_seconds):
        pass


@pytest.fixture
def ray() -> Iterator[RayDouble]:
    with serve(RayDouble()) as double:
        yield double


#: Before any test is without it.
GRACE = attach._GRACE_SECONDS


@pytest.fixture(autouse=True)
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attach, "_GRACE_SECONDS", 0.05)


def train(
    ray: RayDouble,
    ours: budgets.Budgets,
    folder: Path,
    family: str,
    capacity: Capacity = Capacity.ON_DEMAND,
    poll_seconds: float = 0.005,
) -> attach.Done[str]:
    """One execution's look at its job, as an activity has it."""
    base_id = f"run_train-train-{family}"
    book = books.Book(root=folder, family=family)
    pays = paying.Paying(
        ours, train_request(), book, base_id, "ray-train", "the last checkpoint", capacity=capacity
    )

    def answer(k: int) -> str:
        """What it has by now: an error that says that it was stopped, or a result once it is through."""
        if (folder / "stopped-well").exists():
            raise errors.JobFailed(
                "stopped as asked after epoch 3", job_id=f"{base_id}-{k}", status="stopped"
            )
        if ray.jobs[f"{base_id}-{k}"]["states"][0] != "SUCCEEDED":
            raise errors.NotFound("nothing is left", resource="answer", name=base_id)
        return f"answer {k}"

    work = attach.Work(
        base_id=base_id,
        entrypoint=lambda k: f"train {k}",
        answer=answer,
        metadata={},
        timeout_seconds=3600.0,
        paying=pays,
    )

    async def main() -> attach.Done[str]:
        async with client.RayJobs(ray.url, TOKEN) as jobs:
            return await attach.run_to_end(jobs, work, poll_seconds=poll_seconds)

    return do(main())


def test_a_job_over_its_limit_is_stopped_paid_once_and_gone_on_with(tmp_path: Path, ray: RayDouble) -> None:
    control = Control(runs={"run_train": limit(1.0)})
    ray.script["run_train-train-a-0"] = ["RUNNING"]
    do(submit(ray, "run_train-train-a-0"))
    enter(books.Book(root=tmp_path, family="a"), 90_001.0)  # a second more than 25 hours, which are 1.00
    stopped = []
    for _ in range(2):  # the second time is another worker, whose control API says something else by now
        with pytest.raises(errors.BudgetExhausted) as caught:
            train(ray, control.budgets(), tmp_path, "a")
        stopped.append(caught.value)
        control.runs["run_train"] = limit(None)
    error = stopped[0]
    assert str(error) == str(stopped[1]) and not error.retryable
    assert (error.run_id, error.scope, error.limit, error.checkpoint) == (
        *("run_train", "run", 1.0),
        "the last checkpoint",
    )
    assert error.spent == pytest.approx(1.0 + CORE_HOUR / 3600)
    assert "`mainspring run resume run_train` goes on from the last checkpoint" in error.message
    assert ray.stopped == ray.submitted == ["run_train-train-a-0"]
    assert [r.usage_key for r in control.usage.values()] == ["run_train-train-a/stopped"]

    control.runs["run_train"] = limit(2.0, spent=1.0)
    enter(books.Book(root=tmp_path, family="b"), 3600.0)
    assert train(ray, control.budgets(), tmp_path, "b").answer == "answer 0"
    assert owed(books.Book(root=tmp_path, family="b"), "run_train/train/b/0").cpu_seconds == 3600.0
    (first,) = control.usage.values()
    metered = sum(
        json.loads(p.read_bytes())["cpu_seconds"]
        for p in tmp_path.glob("[ab]/*.json")
        if "stop" not in p.name
    )
    assert first.consumed_quantity * 3600 + 3600.0 == metered == 93_601.0


@pytest.mark.slow
def test_a_job_that_does_not_stop_by_itself_is_gone_five_seconds_after_its_limit(
    tmp_path: Path, ray: RayDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the grace and the looks that workers have; Ray's own time to stop one is the soak's (`test_integration_budget.py`)."""
    monkeypatch.setattr(attach, "_GRACE_SECONDS", GRACE)
    control = Control(runs={"run_train": limit(1.0)})
    ours = control.budgets(now=time.monotonic)
    ray.script["run_train-train-a-0"] = ["RUNNING"]
    do(submit(ray, "run_train-train-a-0"))
    begun = time.monotonic()
    passes = begun + 1.5

    def used() -> float:
        """25 hours, which are 1.00, when it passes."""
        return 90_000.0 + time.monotonic() - passes

    with books.Book(root=tmp_path, family="a").keeping(used, lambda: 0):
        with pytest.raises(errors.BudgetExhausted) as caught:
            train(ray, ours, tmp_path, "a", poll_seconds=1.0)
        late = time.monotonic() - passes
    assert GRACE < late < 5.0, "the next look, the grace, and the record"
    assert ray.stopped == ["run_train-train-a-0"]
    assert 1.0 <= caught.value.spent <= 1.0 + 5.0 * CORE_HOUR / 3600


def test_memory_alone_spends_a_budget_and_each_byte_second_is_in_one_record(
    tmp_path: Path, ray: RayDouble
) -> None:
    control = Control(runs={"run_train": limit(1.0)})
    ray.script["run_train-train-a-0"] = ["RUNNING"]
    book = books.Book(root=tmp_path, family="a")
    enter(book, 1.0, 200 * GIB_HOUR + 7)  # 1.00 and some: two hundred GiB for an hour, of one process
    with pytest.raises(errors.BudgetExhausted) as caught:
        train(ray, control.budgets(), tmp_path, "a")
    assert caught.value.spent == pytest.approx(1.0 + CORE_HOUR / 3600, abs=1e-9)
    core, memory_ = (control.usage[f"run_train-train-a/stopped{of}"] for of in ("", "/memory"))
    assert (memory_.sku, memory_.consumed_unit) == ("memory_gib_hour", "GiB-hours")
    assert (
        memory_.model_copy(
            update={
                name: getattr(core, name)
                for name in ("usage_key", "sku", "consumed_unit", "consumed_quantity")
            }
        )
        == core
    ), "whose and when it was is the same"
    control.runs["run_train"] = limit(9.0, spent=1.0)
    enter(books.Book(root=tmp_path, family="b"), 1.0, 3)
    train(ray, control.budgets(), tmp_path, "b")
    rest = books.Book(root=tmp_path, family="b").owed("run_train/train/b/0")
    assert rest is not None
    written = [
        books.Used.model_validate_json(p.read_bytes()).memory_byte_seconds
        for p in tmp_path.glob("[ab]/*.json")
        if "stop" not in p.name
    ]
    paid = round(memory_.consumed_quantity * GIB_HOUR) + rest.memory_byte_seconds
    assert paid == sum(written) == 200 * GIB_HOUR + 10


def test_what_was_stopped_is_billed_by_the_rate_that_stopped_it(tmp_path: Path, ray: RayDouble) -> None:
    control = Control(runs={"run_train": limit(0.013)}, rates={"spot": {"cpu_core_hour": 0.013}})
    ray.script["run_train-train-a-0"] = ["RUNNING"]
    do(submit(ray, "run_train-train-a-0"))
    enter(books.Book(root=tmp_path, family="a"), 3600.0, GIB_HOUR // 1000)
    with pytest.raises(errors.BudgetExhausted) as caught:
        train(ray, control.budgets(), tmp_path, "a", capacity=Capacity.SPOT)
    assert caught.value.spent == pytest.approx(0.013 + MEMORY_HOUR / 1000), "of memory it has no rate"
    assert [(r.sku, r.capacity) for r in control.usage.values()] == [
        ("cpu_core_hour", Capacity.SPOT),
        ("memory_gib_hour", Capacity.SPOT),
    ]


def test_what_ran_is_on_record_before_the_run_ends_for_it(tmp_path: Path, ray: RayDouble) -> None:
    control = Control(runs={"run_train": limit(0.0)})
    ray.script["run_train-train-a-0"] = ["RUNNING"]
    enter(books.Book(root=tmp_path, family="a"), 60.0)
    books.Book(root=tmp_path, family="a").ask_to_stop(
        books.Stop(scope="run", limit=0.1, spent=0.2, currency="USD", message="it has cost enough")
    )
    control.is_away = True
    do(submit(ray, "run_train-train-a-0"))
    with pytest.raises(errors.DependencyDown) as caught:
        train(ray, control.budgets(), tmp_path, "a")
    assert caught.value.retryable and ray.stopped == ["run_train-train-a-0"]
    control.is_away = False
    ray.jobs.clear()  # the cluster was lost since, with the times that it knew
    with pytest.raises(errors.BudgetExhausted, match="it has cost enough"):
        train(ray, control.budgets(), tmp_path, "a")
    assert [r.consumed_quantity for r in control.usage.values()] == [60.0 / 3600]
    assert ray.submitted == ["run_train-train-a-0"]


def test_nothing_begins_where_nothing_is_left(tmp_path: Path, ray: RayDouble) -> None:
    control = Control(projects={"flight-delay": limit(1.0, spent=1.0)})
    with pytest.raises(errors.BudgetExhausted) as caught:
        train(ray, control.budgets(), tmp_path, "a")
    assert caught.value.scope == "project" and ray.submitted == [] and control.usage == {}


def test_a_job_that_comes_to_its_end_when_it_is_asked_to_stop_has_ended_well(
    tmp_path: Path, ray: RayDouble
) -> None:
    control = Control(runs={"run_train": limit(0.5)})
    ray.script["run_train-train-a-0"] = ["RUNNING", "SUCCEEDED"]
    enter(books.Book(root=tmp_path, family="a"), 90_000.0)
    do(submit(ray, "run_train-train-a-0"))
    assert train(ray, control.budgets(), tmp_path, "a").answer == "answer 0"
    assert ray.stopped == [] and control.usage == {}, "its record is the step's"


def test_a_job_that_has_answered_goes_by_itself(tmp_path: Path, ray: RayDouble) -> None:
    control = Control(runs={"run_train": limit(0.5)})
    ray.script["run_train-train-a-0"] = [*["RUNNING"] * 60, "FAILED"]  # 0.3 s of looks, grace is 0.05
    enter(books.Book(root=tmp_path, family="a"), 90_000.0)
    do(submit(ray, "run_train-train-a-0"))
    (tmp_path / "stopped-well").touch()
    with pytest.raises(errors.BudgetExhausted):
        train(ray, control.budgets(), tmp_path, "a")
    assert ray.stopped == [], "Ray would take longer"
    assert [r.consumed_quantity for r in control.usage.values()] == [25.0]


def test_one_that_has_answered_and_stays_is_ended(
    tmp_path: Path, ray: RayDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attach, "_LEAVING_SECONDS", 0.1)
    control = Control(runs={"run_train": limit(0.5)})
    ray.script["run_train-train-a-0"] = ["RUNNING"]
    enter(books.Book(root=tmp_path, family="a"), 90_000.0)
    do(submit(ray, "run_train-train-a-0"))
    (tmp_path / "stopped-well").touch()
    with pytest.raises(errors.BudgetExhausted):
        train(ray, control.budgets(), tmp_path, "a")
    assert ray.stopped == ["run_train-train-a-0"]


async def submit(ray: RayDouble, job: str) -> None:
    async with client.RayJobs(ray.url, TOKEN) as jobs:
        await jobs.submit(job, "x", metadata={})


def test_a_run_that_was_stopped_ends_failed_and_goes_on_under_its_id() -> None:
    """The workflow: no other try of the step, the reason on record, and another execution that is done."""
    refusal = errors.BudgetExhausted(
        "run `run_train` was stopped at work", run_id="run_train", scope="run", limit=1.0, spent=1.01
    )
    steps, endpoint = Steps(failing={messages.TRAIN: refusal}), Endpoint()

    async def story(server: Client, _: WorkflowEnvironment) -> training.TrainResult:
        ours = WorkflowClient(server, QUEUE)
        request = train_request(auto_approve_by="ben", deploy_to="", max_cost=1.0)
        await ours.start_training(request)
        with pytest.raises(errors.BudgetExhausted) as caught:
            await ours.training_result("run_train")
        assert (caught.value.limit, caught.value.spent) == (1.0, 1.01)
        assert endpoint.ended()["stage"] == "failed" and "stopped at work" in endpoint.ended()["message"]
        assert steps.calls.count(messages.TRAIN) == 1 and steps.usage == []
        steps.failing.clear()
        await ours.start_training(request.model_copy(update={"max_cost": 2.0}))
        return await ours.training_result("run_train")

    result = run(story, [TrainModel], all_activities(steps, endpoint))
    assert result.stage is Stage.DONE and len(steps.usage) == 1
    assert [e for e in endpoint.told if e.endswith("/register")] == ["run_train/register"]
