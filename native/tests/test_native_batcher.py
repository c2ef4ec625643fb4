"""The batcher from Python: against the plain model, under threads, on an event loop, across a fork."""

from __future__ import annotations

import asyncio
import doctest
import os
import pickle
import subprocess
import sys
import threading
import time
import weakref
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import stateful
from hypothesis import strategies as st

from mainspring.native import batcher, program, reference_batcher, status

PAST, FUTURE = 1, 1 << 62
X = [("x", "int64", 1)]


def column(values: list[int]) -> dict[str, Any]:
    return {"x": np.array(values, np.int64).reshape(-1, 1)}


def triple(batch: batcher.Batch) -> Any:
    return batch.columns["x"][:, 0] * 3


class AgainstTheModel(stateful.RuleBasedStateMachine):
    """Every step on both; answers, refusals and the rows of each batch are the same."""

    @stateful.initialize(
        max_rows=st.integers(1, 6), depth=st.sampled_from([1, 2, 4]), priorities=st.integers(1, 3)
    )
    def make(self, max_rows: int, depth: int, priorities: int) -> None:
        shape = {"max_rows": max_rows, "depth": depth, "priorities": priorities}
        self.priorities, self.clock, self.value = priorities, 1000, 0
        self.queue = batcher.Batcher(X, aging_seconds=1e-7, adaptive=False, max_delay_seconds=1.0, **shape)
        self.model = reference_batcher.ReferenceBatcher(aging_ns=100, **shape)
        self.writing: list[Any] = []
        self.sent: list[Any] = []
        self.taken: list[Any] = []
        self.looking: list[Any] = []
        self.failure = RuntimeError("model")

    @stateful.rule(
        rows=st.integers(0, 7),
        data=st.data(),
        deadline=st.sampled_from([None, None, PAST, FUTURE]),
        step=st.integers(1, 90),
    )
    def reserve(self, rows: int, data: Any, deadline: int | None, step: int) -> None:
        priority = data.draw(st.integers(0, self.priorities - 1))
        self.clock += step
        values = list(range(self.value, self.value + rows))
        self.value += rows
        try:
            wanted: Any = self.model.reserve(
                values, arrival_ns=self.clock, priority=priority, deadline_ns=deadline
            )
        except status.NativeError as error:
            with pytest.raises(type(error)) as caught:
                self.queue.reserve(rows, arrival_ns=self.clock, priority=priority, deadline_ns=deadline)
            assert caught.value.code == error.code
            return
        got = self.queue.reserve(rows, arrival_ns=self.clock, priority=priority, deadline_ns=deadline)
        got.columns["x"][:, 0] = values
        self.writing.append((wanted, got))

    def pick(self, some: list[Any], data: Any) -> Any:
        return some.pop(data.draw(st.integers(0, len(some) - 1)))

    @stateful.precondition(lambda self: self.writing)
    @stateful.rule(data=st.data(), abandons=st.sampled_from([False, False, False, True]))
    def commit(self, data: Any, abandons: bool) -> None:
        wanted, got = self.pick(self.writing, data)
        if abandons:
            self.model.abandon(wanted)
            got.abandon()
        else:
            self.model.commit(wanted)
            got.commit()
            self.sent.append((wanted, got))

    @stateful.precondition(lambda self: self.sent)
    @stateful.rule(data=st.data())
    def cancel(self, data: Any) -> None:
        wanted, got = data.draw(st.sampled_from(self.sent))
        assert got.cancel() == self.model.cancel(wanted)

    @stateful.rule()
    def poll(self) -> None:
        wanted, got = self.model.poll(now_ns=2000), self.queue.poll()
        assert (wanted is None) == (got is None)
        if wanted is not None and got is not None:
            assert got.columns["x"][:, 0].tolist() == wanted.rows
            assert (got.rows, got.priority) == (len(wanted.rows), wanted.priority)
            self.taken.append((wanted, got))

    @stateful.precondition(lambda self: self.taken)
    @stateful.rule(data=st.data())
    def look(self, data: Any) -> None:
        """A view of the rows that outlives the run, such as an output that is its input."""
        wanted, got = data.draw(st.sampled_from(self.taken))
        wanted.is_looked_at = True
        self.looking.append((wanted, list(wanted.rows), got.columns["x"][:, 0]))

    @stateful.precondition(lambda self: self.looking)
    @stateful.rule(data=st.data())
    def look_away(self, data: Any) -> None:
        wanted = self.pick(self.looking, data)[0]
        wanted.is_looked_at = any(w is wanted for w, _, _ in self.looking)

    @stateful.invariant()
    def what_is_looked_at_stays(self) -> None:
        for wanted, rows, view in getattr(self, "looking", []):
            if wanted.is_looked_at:
                assert view.tolist() == rows

    @stateful.precondition(lambda self: self.taken)
    @stateful.rule(data=st.data(), fails=st.booleans())
    def complete(self, data: Any, fails: bool) -> None:
        wanted, got = self.pick(self.taken, data)
        if fails:
            self.looking = [looked for looked in self.looking if looked[0] is not wanted]
            self.model.fail(wanted, self.failure)
            got.fail(self.failure)
        else:
            self.model.complete(wanted, [3 * x for x in wanted.rows])
            got.complete(triple(got))

    @stateful.precondition(lambda self: any(w.state not in ("waiting", "running") for w, _ in self.sent))
    @stateful.rule(data=st.data())
    def collect(self, data: Any) -> None:
        pair = data.draw(st.sampled_from([p for p in self.sent if p[0].state not in ("waiting", "running")]))
        self.sent = [p for p in self.sent if p is not pair]
        wanted, got = pair
        check_answer(wanted, got)

    @stateful.rule(chance=st.integers(0, 19), drain=st.booleans())
    def close(self, chance: int, drain: bool) -> None:
        if chance == 0:
            self.model.close(drain=drain)
            self.queue.close(drain)

    @stateful.invariant()
    def answers_agree(self) -> None:
        for wanted, got in getattr(self, "sent", []):
            assert got.done == (wanted.state not in ("waiting", "running"))

    def teardown(self) -> None:
        if not hasattr(self, "queue"):
            return
        self.looking.clear()
        for wanted, got in self.writing:
            self.model.abandon(wanted)
            got.abandon()
        while self.taken:
            wanted, got = self.taken.pop()
            self.model.complete(wanted, [3 * x for x in wanted.rows])
            got.complete(triple(got))
        self.poll()
        while self.taken:
            wanted, got = self.taken.pop()
            self.model.complete(wanted, [3 * x for x in wanted.rows])
            got.complete(triple(got))
            self.poll()
        for wanted, got in self.sent:
            check_answer(wanted, got)


def check_answer(wanted: Any, got: Any) -> None:
    codes = {"expired": "deadline_exceeded", "cancelled": "cancelled", "rejected": "closed"}
    if wanted.state == "done":
        assert got.result(0).tolist() == wanted.value
    elif wanted.state == "failed":
        with pytest.raises(RuntimeError, match="model"):
            got.result(0)
    else:
        with pytest.raises(status.NativeError) as caught:
            got.result(0)
        assert caught.value.code == codes[wanted.state]


AgainstTheModel.TestCase.settings = hypothesis.settings(
    max_examples=60, stateful_step_count=40, deadline=None
)
TestAgainstTheModel = AgainstTheModel.TestCase


def test_threads_get_their_own_rows() -> None:
    queue = batcher.Batcher(X, max_rows=32, depth=4, priorities=2)
    wrong: list[Any] = []

    def submit(thread: int) -> None:
        for i in range(150):
            values = [thread * 1000 + i] * (1 + i % 5)
            while True:
                try:
                    request = queue.add(column(values), priority=i % 2)
                    break
                except status.Busy as busy:
                    time.sleep(min(busy.retry_after_seconds, 0.001))
            if request.result(20).tolist() != [3 * v for v in values]:
                wrong.append(values)

    with batcher.Worker(queue, triple):
        threads = [threading.Thread(target=submit, args=(t,)) for t in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []
    stats = queue.stats()
    assert stats["done"] == 16 * 150
    assert stats["batches"] < 16 * 150
    assert queue.closed and queue.take() is None


def test_the_output_is_not_copied_nor_kept() -> None:
    queue = batcher.Batcher(X)
    request = queue.add(column([1, 2]))
    batch = queue.poll()
    assert batch is not None
    output = np.zeros((2, 2))
    kept = weakref.ref(output)
    batch.complete((output, [7, 8]))
    matrix, listed = request.result()
    assert matrix.base is output and listed == [7, 8]
    del output, matrix, batch, request
    assert kept() is None


def test_answers_that_nobody_reads_hold_no_place() -> None:
    queue = batcher.Batcher(X, max_rows=1, depth=1)
    requests = []
    for i in range(50):
        requests.append(queue.add(column([i])))
        batch = queue.poll()
        assert batch is not None
        batch.complete(triple(batch))
    assert [r.result(0).tolist() for r in requests] == [[3 * i] for i in range(50)]


def test_an_output_may_be_its_input() -> None:
    """Its rows are then not written over before the answers are gone; an exception does not keep them."""
    queue = batcher.Batcher(X, max_rows=1, depth=2)

    def add_and_answer(value: int) -> batcher.Request:
        request = queue.add(column([value]))
        batch = queue.poll()
        assert batch is not None
        batch.complete(batch.columns["x"])
        return request

    first, second = add_and_answer(1), add_and_answer(2)
    with pytest.raises(status.Busy):
        queue.reserve()
    assert first.result().tolist() == [[1]] and second.result().tolist() == [[2]]
    with pytest.raises(status.Busy):  # the requests still have their answers
        queue.reserve()
    del first
    third = add_and_answer(3)
    assert second.result().tolist() == [[2]] and third.result().tolist() == [[3]]
    del second, third

    def fail(batch: batcher.Batch) -> Any:
        mine = batch.columns["x"]
        raise RuntimeError(f"no {mine[0, 0]}")

    failed = []
    for value in range(5):
        failed.append(queue.add(column([value])))
        batch = queue.poll()
        assert batch is not None
        batcher.answer(batch, fail)
        del batch
    for value, request in enumerate(failed):
        with pytest.raises(RuntimeError, match=f"no {value}"):
            request.result(0)


def test_two_threads_may_wait_for_one_request() -> None:
    queue = batcher.Batcher(X)
    heard: list[Any] = []
    for i in range(50):
        request = queue.add(column([i]))
        threads = [
            threading.Thread(target=lambda r=request: heard.append(r.result(20).tolist())) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        batch = queue.take(20)
        assert batch is not None
        batch.complete(triple(batch))
        for thread in threads:
            thread.join()
    assert heard == [[3 * i] for i in range(50) for _ in range(3)]


def test_a_batch_that_is_left_at_the_end_of_the_process() -> None:
    left = (
        "import numpy as np\n"
        "from mainspring.native import batcher\n"
        "queue = batcher.Batcher([('x', 'int64', 1)])\n"
        "request = queue.add({'x': np.zeros((1, 1), np.int64)})\n"
        "batch = queue.poll()\n"
        "class Last:\n"
        "    def __init__(self, kept): self.kept = kept\n"
        "    def __del__(self): pass\n"
        "import sys\n"
        "sys.kept = Last(batch)\n"
        "print('end')\n"
    )
    ended = subprocess.run([sys.executable, "-c", left], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "end\n", "")


def test_many_threads_that_wait_for_one_batch_all_hear_of_it() -> None:
    """They wake one another: none may be left asleep."""
    for _ in range(20):
        queue = batcher.Batcher(X, max_rows=64, adaptive=False, max_delay_seconds=3600.0)
        with batcher.Worker(queue, triple):
            heard: list[Any] = []

            def submit(i: int, queue: Any = queue, heard: list[Any] = heard) -> None:
                heard.append(queue.add(column([i])).result(20)[0] - 3 * i)

            threads = [threading.Thread(target=submit, args=(i,)) for i in range(64)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert heard == [0] * 64


def test_a_worker_that_cannot_go_on_leaves_nobody_waiting() -> None:
    """What is no Exception ends the worker's thread; the batch that it had is answered all the same."""
    queue = batcher.Batcher(X)
    request = queue.add(column([1]))

    def stop(batch: batcher.Batch) -> Any:
        raise SystemExit

    ended: list[type[BaseException]] = []

    def work() -> None:
        with pytest.raises(SystemExit) as raised:
            batch = queue.take(20)
            assert batch is not None
            batcher.answer(batch, stop)
        ended.append(raised.type)

    thread = threading.Thread(target=work)
    thread.start()
    with pytest.raises(status.NativeError) as caught:
        request.result(20)
    thread.join()
    assert caught.value.code == "cancelled" and ended == [SystemExit]


def test_a_program_writes_its_row_into_the_batch() -> None:
    spec = {
        "version": 1,
        "inputs": [{"name": "price", "type": "float32"}, {"name": "user", "type": "int64"}],
        "dense": [{"op": "numeric", "source": "price", "fill": 2.0}, {"op": "missing", "source": "price"}],
        "ids": [{"op": "vocabulary", "source": "user", "values": [30, 50]}],
    }
    compiled = program.Program(spec)
    row = compiled.row()
    row.run_fields({"price": 9.0, "user": 50})
    queue = batcher.Batcher([("dense", "float32", 2), ("ids", "int32", 1)])
    fields = [{"price": 1.5, "user": 50}, {"price": None, "user": 7}]
    requests = [queue.add_row(row, fields[0]), queue.add_row(row, compiled.pack(fields[1]))]
    with pytest.raises(status.NativeError) as caught:
        queue.add_row(row, {"price": 1.0})
    assert caught.value.code == "missing_column"
    assert row.dense.tolist() == [[9.0, 0.0]] and row.ids.tolist() == [[3]]  # its own outputs stay
    batch = queue.poll()
    assert batch is not None
    assert batch.columns["dense"].tolist() == [[1.5, 0.0], [2.0, 1.0]]
    assert batch.columns["ids"].tolist() == [[3], [1]]
    assert batch.columns["dense"].ctypes.data % 64 == 0
    batch.complete(np.arange(2))
    assert [r.result().tolist() for r in requests] == [[0], [1]]
    for columns, given, code in (
        ([("dense", "float32", 3), ("ids", "int32", 1)], row, "bad_shape"),
        ([("a", "float32", 2), ("b", "float32", 2)], row, "bad_spec"),
        ([("a", "int64", 2)], row, "bad_spec"),
        ([("dense", "float32", 2), ("ids", "int32", 1)], "row", "bad_dtype"),
    ):
        with pytest.raises(status.NativeError) as caught:
            batcher.Batcher(columns).add_row(given, fields[0])
        assert caught.value.code == code


def test_a_deadline_is_heard_though_nobody_takes() -> None:
    queue = batcher.Batcher(X)
    request = queue.add(column([1]), deadline_ns=time.monotonic_ns() + 2_000_000)
    with pytest.raises(status.NativeError) as caught:
        request.result()
    assert caught.value.code == "deadline_exceeded"
    assert queue.poll() is None and queue.stats()["rows"] == 0


def test_low_priority_is_not_starved() -> None:
    """High arrives for ever; low is taken once it is older by `aging_seconds`, and not before."""
    queue = batcher.Batcher(X, max_rows=1, depth=16, priorities=2, aging_seconds=1e-6)
    requests = [queue.add(column([-1]), priority=1, arrival_ns=10_000)]
    order = []
    for i in range(12):
        requests.append(queue.add(column([i]), arrival_ns=10_050 + 100 * i))
        batch = queue.poll()
        assert batch is not None
        order.append(int(batch.columns["x"][0, 0]))
        batch.complete([0])
    assert order == [*range(10), -1, 10]


def test_a_single_caller_is_not_made_to_wait() -> None:
    queue = batcher.Batcher(X, max_delay_seconds=3600.0)
    with batcher.Worker(queue, triple):
        for i in range(200):
            assert queue.add(column([i])).result(30).tolist() == [3 * i]


def test_without_adapting_a_batch_waits_until_it_is_full() -> None:
    queue = batcher.Batcher(X, max_rows=3, adaptive=False, max_delay_seconds=3600.0)
    first = queue.add(column([1, 2]))
    assert queue.take(0.01) is None and not first.done
    second = queue.add(column([3]))
    batch = queue.take(30)
    assert batch is not None and batch.rows == 3
    batch.complete(triple(batch))
    assert second.result().tolist() == [9]


def test_letting_go_answers_and_frees() -> None:
    queue = batcher.Batcher(X, max_rows=1, depth=1)
    for _ in range(5):
        queue.reserve()  # abandoned at once
        assert queue.poll() is None
        queue.add(column([1]))  # cancelled at once
        assert queue.poll() is None
        kept = queue.add(column([2]))
        assert queue.poll() is not None  # and dropped
        with pytest.raises(status.NativeError) as caught:
            kept.result()
        assert caught.value.code == "cancelled"
    with pytest.raises(RuntimeError):
        with queue.reserve():
            raise RuntimeError
    assert queue.poll() is None
    with queue.reserve() as request:
        request.columns["x"][:] = 4
    with pytest.raises(status.Busy) as busy:
        queue.reserve()
    assert busy.value.code == "busy" and busy.value.retry_after_seconds > 0
    again = pickle.loads(pickle.dumps(busy.value))
    assert (str(again), again.retry_after_seconds) == (str(busy.value), busy.value.retry_after_seconds)
    with pytest.raises(TimeoutError):
        request.result(0.001)


def test_refusals() -> None:
    queue = batcher.Batcher([*X, ("y", "float32", 2)], max_rows=2)
    y = np.zeros((1, 2), np.float32)
    for make, code in (
        (lambda: batcher.Batcher([]), "bad_spec"),
        (lambda: batcher.Batcher([("x", "float64", 1)]), "bad_spec"),
        (lambda: batcher.Batcher([("x", "int32", 0)]), "bad_spec"),
        (lambda: batcher.Batcher([*X, *X]), "bad_spec"),
        (lambda: batcher.Batcher(X, max_rows=0), "bad_spec"),
        (lambda: batcher.Batcher(X, depth=3), "bad_spec"),
        (lambda: batcher.Batcher(X, priorities=65), "bad_spec"),
        (lambda: batcher.Batcher(X, max_delay_seconds=-1.0), "bad_spec"),
        (lambda: batcher.Batcher(X, aging_seconds=float("nan")), "bad_spec"),
        (lambda: queue.add(column([1])), "missing_column"),
        (lambda: queue.add({**column([1]), "y": y.astype(np.float64)}), "bad_dtype"),
        (lambda: queue.add({**column([1]), "y": [[0.0, 0.0]]}), "bad_dtype"),
        (lambda: queue.add({**column([1, 2]), "y": y}), "bad_shape"),
        (lambda: queue.add({**column([1]), "y": np.zeros((1, 4), np.float32)[:, ::2]}), "not_contiguous"),
        (lambda: queue.add({**column([1, 2, 3]), "y": np.zeros((3, 2), np.float32)}), "out_of_range"),
        (lambda: queue.add({**column([]), "y": y[:0]}), "out_of_range"),
        (lambda: queue.reserve(1, priority=1), "out_of_range"),
        (lambda: queue.reserve().result(), "closed"),
    ):
        with pytest.raises(status.NativeError) as caught:
            make()
        assert caught.value.code == code, str(caught.value)
        assert "; " in str(caught.value)
    request = queue.add({**column([1]), "y": y})
    with pytest.raises(status.NativeError):
        request.commit()
    with pytest.raises(status.NativeError):
        _ = request.columns
    batch = queue.poll()
    assert batch is not None
    for output in ([1, 2], 5, (np.zeros(1), np.zeros(2))):
        with pytest.raises(status.NativeError) as caught:
            batch.complete(output)
        assert caught.value.code == "bad_shape"
    with pytest.raises(status.NativeError):
        batch.fail("no exception")  # type: ignore[arg-type]
    batch.complete([5])
    for again in (lambda: batch.complete([5]), lambda: batch.columns):
        with pytest.raises(status.NativeError) as caught:
            again()
        assert caught.value.code == "closed"
    assert request.result() == [5]


@pytest.mark.parametrize("runs_here", [True, False])
def test_asyncio(runs_here: bool) -> None:
    queue = batcher.Batcher(X, max_rows=64)

    def model(batch: batcher.Batch) -> Any:
        if (batch.columns["x"] < 0).any():
            raise RuntimeError("negative")
        return triple(batch)

    async def client(front: batcher.Front, n: int) -> None:
        for i in range(20):
            assert (await front.add(column([n, i]))).tolist() == [3 * n, 3 * i]

    async def main() -> None:
        async with batcher.Front(queue, model if runs_here else None) as front:
            await asyncio.gather(*(client(front, n) for n in range(64)))
            with pytest.raises(RuntimeError, match="negative"):
                await front.add(column([-1]))
            late = front.add(column([5]), deadline_ns=1)
            with pytest.raises(status.NativeError) as caught:
                await late
            assert caught.value.code == "deadline_exceeded"
            gone = front.add(column([6]))
            gone.cancel()
            assert (await front.add(column([7]))).tolist() == [21]
            left = front.add(column([8]))
        assert left.result().tolist() == [24]

    if runs_here:
        asyncio.run(asyncio.wait_for(main(), 30))
    else:
        with batcher.Worker(queue, model):
            asyncio.run(asyncio.wait_for(main(), 30))
    stats = queue.stats()
    assert stats["expired"] == 1 and stats["failed"] == 1
    assert stats["done"] + stats["cancelled"] == 64 * 20 + 3
    assert stats["batches"] < 64 * 20


def test_several_loops_share_one_batcher() -> None:
    queue = batcher.Batcher(X, max_rows=16, depth=16)
    wrong: list[int] = []

    async def main(loop: int) -> None:
        async with batcher.Front(queue) as front:
            for i in range(100):
                while True:  # a loop that is late with reading its answers holds their batch's place
                    try:
                        future = front.add(column([loop * 1000 + i]))
                        break
                    except batcher.Busy as busy:
                        await asyncio.sleep(busy.retry_after_seconds)
                if (await future).tolist() != [3 * (loop * 1000 + i)]:
                    wrong.append(i)

    with batcher.Worker(queue, triple), batcher.Worker(queue, triple):
        threads = [threading.Thread(target=asyncio.run, args=(main(n),)) for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == [] and queue.stats()["done"] == 300


def test_a_child_is_refused() -> None:
    queue = batcher.Batcher(X)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            queue.reserve()
        except status.NativeError as error:
            os.write(write, error.code.encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 100) == b"closed"
    os.close(read)
    os.close(write)
    assert not queue.closed


def test_examples() -> None:
    assert doctest.testmod(batcher).attempted > 0
    assert doctest.testmod(batcher).failed == 0
