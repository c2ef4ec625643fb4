"""What a batcher adds to a request: from sending it to having its answer, less the time that the model ran meanwhile.

64 submitters send one row each and think for a random time (exponential, mean 10 ms: about 6,000 requests a second)
before the next. The model takes 0.5 ms and no lock: it stands for compiled code. All contestants use this file's clock, submitters and model.
Waiting for the batch before is model time, because no batcher could avoid it; waking up is not.
"""

from __future__ import annotations

import asyncio
import bisect
import concurrent.futures
import os
import queue
import random
import statistics
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mainspring.native import batcher

SUBMITTERS: Final = 64
THINK_SECONDS: Final = 0.01
MODEL_SECONDS: Final = 0.0005
MAX_ROWS: Final = 64

Rows = NDArray[np.float32]


def microseconds(run: Callable[[], Any]) -> float:
    """One call."""
    start = time.perf_counter_ns()
    run()
    return (time.perf_counter_ns() - start) / 1e3


def wake_microseconds(*, times: int) -> float:
    """One way of a hand-over between two threads that sleep on a pipe: what the system takes to wake one, at the median."""
    there, back = os.pipe(), os.pipe()

    def echo() -> None:
        while os.read(there[0], 1) == b"x":
            os.write(back[1], b"x")

    thread = threading.Thread(target=echo)
    thread.start()
    samples = []
    try:
        for _ in range(times):
            time.sleep(MODEL_SECONDS)  # long enough that the other one is asleep
            start = time.perf_counter_ns()
            os.write(there[1], b"x")
            os.read(back[0], 1)
            samples.append((time.perf_counter_ns() - start) / 2e3)
    finally:
        os.write(there[1], b".")
        thread.join()
        for end in (*there, *back):
            os.close(end)
    return statistics.median(samples)


class Log:
    """When the model ran, and from when to when each request was under way."""

    def __init__(self) -> None:
        self.runs: list[tuple[int, int]] = []
        self.requests: list[tuple[int, int]] = []
        self.rows = 0

    def model(self, x: Rows) -> Rows:
        """A row's first value twice; sleeps, so that the lock is free."""
        start = time.perf_counter_ns()
        time.sleep(MODEL_SECONDS)
        out = x[:, 0] * 2
        self.rows += len(x)
        self.runs.append((start, time.perf_counter_ns()))
        return out

    def result(self) -> dict[str, float]:
        """Microseconds beyond the model's."""
        ends = [end for _, end in self.runs]
        beyond = []
        for sent, had in self.requests[SUBMITTERS:]:
            running = 0
            for start, end in self.runs[bisect.bisect_left(ends, sent) :]:
                if start >= had:
                    break
                running += max(0, min(end, had) - max(start, sent))
            beyond.append((had - sent - running) / 1e3)
        p50, p90 = np.percentile(beyond, [50, 90])
        return {
            "p50": float(f"{p50:.4g}"),
            "p90": float(f"{p90:.4g}"),
            "requests": len(beyond),
            "rows_per_batch": round(self.rows / len(self.runs), 2),
        }


def _threads(log: Log, seconds: float, send: Callable[[Rows], Any]) -> None:
    end = time.perf_counter() + seconds

    def submit(n: int) -> None:
        think = random.Random(n)
        row = np.full((1, 8), n, np.float32)
        while time.perf_counter() < end:
            time.sleep(think.expovariate(1 / THINK_SECONDS))
            sent = time.perf_counter_ns()
            answer = send(row)
            log.requests.append((sent, time.perf_counter_ns()))
            if answer[0] != 2 * n:
                raise AssertionError(f"submitter {n} got {answer[0]}")

    with concurrent.futures.ThreadPoolExecutor(SUBMITTERS) as pool:
        for done in [pool.submit(submit, n) for n in range(SUBMITTERS)]:
            done.result()


async def _tasks(log: Log, seconds: float, send: Callable[[Rows], Awaitable[Any]]) -> None:
    end = time.perf_counter() + seconds

    async def submit(n: int) -> None:
        think = random.Random(n)
        row = np.full((1, 8), n, np.float32)
        while time.perf_counter() < end:
            await asyncio.sleep(think.expovariate(1 / THINK_SECONDS))
            sent = time.perf_counter_ns()
            answer = await send(row)
            log.requests.append((sent, time.perf_counter_ns()))
            if answer[0] != 2 * n:
                raise AssertionError(f"submitter {n} got {answer[0]}")

    await asyncio.gather(*(submit(n) for n in range(SUBMITTERS)))


def _ours() -> batcher.Batcher:
    return batcher.Batcher([("x", "float32", 8)], max_rows=MAX_ROWS)


def our_threads(seconds: float) -> dict[str, float]:
    """`Batcher` and a `Worker`, from threads."""
    log, made = Log(), _ours()
    with batcher.Worker(made, lambda batch: log.model(batch.columns["x"])):
        _threads(log, seconds, lambda row: made.add({"x": row}).result())
    return log.result()


def our_tasks(seconds: float) -> dict[str, float]:
    """`Batcher` and a `Worker`, from an event loop."""
    log, made = Log(), _ours()

    async def main() -> None:
        async with batcher.Front(made) as front:
            await _tasks(log, seconds, lambda row: front.add({"x": row}))

    with batcher.Worker(made, lambda batch: log.model(batch.columns["x"])):
        asyncio.run(main())
    return log.result()


def our_loop(seconds: float) -> dict[str, float]:
    """`Batcher` with the model on the loop itself."""
    log, made = Log(), _ours()

    async def main() -> None:
        async with batcher.Front(made, lambda batch: log.model(batch.columns["x"])) as front:
            await _tasks(log, seconds, lambda row: front.add({"x": row}))

    asyncio.run(main())
    return log.result()


def queue_threads(seconds: float) -> dict[str, float]:
    """The plain way with threads: a queue.Queue, one taker, a future for each request, no window."""
    log = Log()
    waiting: queue.Queue[tuple[Rows, concurrent.futures.Future[Any]] | None] = queue.Queue()

    def work() -> None:
        while (first := waiting.get()) is not None:
            taken = [first]
            while len(taken) < MAX_ROWS and not waiting.empty():
                more = waiting.get()
                if more is None:
                    waiting.put(None)
                    break
                taken.append(more)
            out = log.model(np.concatenate([row for row, _ in taken]))
            for i, (_, future) in enumerate(taken):
                future.set_result(out[i : i + 1])

    def send(row: Rows) -> Any:
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        waiting.put((row, future))
        return future.result()

    taker = threading.Thread(target=work)
    taker.start()
    try:
        _threads(log, seconds, send)
    finally:
        waiting.put(None)
        taker.join()
    return log.result()


def queue_tasks(seconds: float) -> dict[str, float]:
    """The plain way on a loop, as Ray Serve's @serve.batch with no window: an asyncio.Queue, the model on the loop."""
    log = Log()

    async def main() -> None:
        waiting: asyncio.Queue[tuple[Rows, asyncio.Future[Any]]] = asyncio.Queue()

        async def work() -> None:
            while True:
                taken = [await waiting.get()]
                while len(taken) < MAX_ROWS and not waiting.empty():
                    taken.append(waiting.get_nowait())
                out = log.model(np.concatenate([row for row, _ in taken]))
                for i, (_, future) in enumerate(taken):
                    future.set_result(out[i : i + 1])

        async def send(row: Rows) -> Any:
            future = asyncio.get_running_loop().create_future()
            waiting.put_nowait((row, future))
            return await future

        worker = asyncio.ensure_future(work())
        await _tasks(log, seconds, send)
        worker.cancel()

    asyncio.run(main())
    return log.result()
