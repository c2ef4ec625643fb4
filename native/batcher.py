"""Requests of some rows each, joined into contiguous batches: written in place, answered once.

    >>> import numpy as np
    >>> from mainspring.native import batcher
    >>> queue = batcher.Batcher([("x", "float32", 2)], max_rows=64)
    >>> with batcher.Worker(queue, lambda batch: batch.columns["x"].sum(axis=1)):
    ...     with queue.reserve(rows=2) as request:  # two rows of the batch's own memory
    ...         request.columns["x"][:] = [[1, 2], [3, 4]]
    ...     request.result()
    array([3., 7.], dtype=float32)

`Batcher` is the queue, `Worker` a thread that runs the model, `Front` the queue for one asyncio loop. What each step
means is written as plain Python in `mainspring.native.reference_batcher`; the states are in native/README.md.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, Self, final

from numpy.typing import NDArray

from mainspring.native import _native, status

__all__ = ["Batch", "Batcher", "Front", "Request", "Run", "Worker"]

Batcher = _native.Batcher
Batch = _native.Batch
Request = _native.Request

#: The model: reads `batch.columns`, returns something of `batch.rows` rows that slices, or a tuple of such. The
#: columns are the batch's only while it runs: nothing may keep them.
Run = Callable[[Batch], Any]


def answer(batch: Batch, run: Run) -> None:
    """Run the model on a taken batch; whatever it raises is the answer of every request in it."""
    try:
        batch.complete(run(batch))
    except Exception as error:  # noqa: BLE001 (every waiter must be answered)
        batch.fail(error)
    except BaseException:
        # The thread ends: who waits must not wait until its traceback, which holds the batch, is forgotten.
        batch.fail(status.NativeError("cancelled", "the worker ended; send the request again"))
        raise


class _Answer(asyncio.Future[Any]):
    """A future whose cancellation takes the request back; a callback would cost every request a turn of the loop."""

    request: Request

    def cancel(self, msg: Any | None = None) -> bool:
        """As Future.cancel."""
        is_cancelled = super().cancel(msg)
        if is_cancelled:
            self.request.cancel()
        return is_cancelled


@final
class Worker:
    """A thread that takes batches and runs the model until the batcher is closed and empty.

    Leaving the `with` closes the batcher, lets it drain, and joins the thread. Several workers may share one batcher.
    """

    def __init__(self, batcher: Batcher, run: Run) -> None:
        self._batcher = batcher
        self._run = run
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)

    def _work(self) -> None:
        while (batch := self._batcher.take()) is not None:
            answer(batch, self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, *, drain: bool = True) -> None:
        """Close the batcher and wait for the batch that runs; with `drain`, for all that was sent."""
        self._batcher.close(drain)
        self._thread.join()


@final
class Front:
    """The batcher for one event loop: `async with Front(batcher) as front`, then `await front.add(columns)`.

    With `run` the loop itself runs the model, on whatever came in this turn of the loop: for models faster than the
    45 us that a thread's answer takes. Then nobody else may take from the batcher. Without it a `Worker` does, and the
    loop hears of a batch by one read of one eventfd, however many requests are in it.

    Threads: all methods belong to the loop that entered it. Several loops may share one batcher, each with its own
    front, and a worker. A future that is cancelled (by `asyncio.timeout`, by a client that left) takes its request
    out of the queue.
    Leaving the `async with` waits for the requests of this front; it closes the batcher only where the loop runs it.
    """

    def __init__(self, batcher: Batcher, run: Run | None = None) -> None:
        self._batcher: Final = batcher
        self._model: Final = run
        self._is_scheduled = False
        self._open = 0
        self._idle: asyncio.Event | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._idle = asyncio.Event()
        self._idle.set()
        self._mailbox = self._batcher.open_mailbox()
        self._fd = self._batcher.mailbox_fd(self._mailbox)
        if self._model is None:
            self._loop.add_reader(self._fd, self._drain)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._idle is not None
        if self._model is not None:
            self._batcher.close()
        await self._idle.wait()
        if self._model is None:
            self._loop.remove_reader(self._fd)

    def add(
        self, columns: Mapping[str, NDArray[Any]], *, priority: int = 0, deadline_ns: int | None = None
    ) -> asyncio.Future[Any]:
        """Send rows, one array for each column; the future is their part of the output.

        Errors: at once those of `Batcher.add`; by the future NativeError `deadline_exceeded`, `closed`, or what the
        model raised.
        """
        future = _Answer(loop=self._loop)
        future.request = self._batcher.add(
            columns, priority=priority, deadline_ns=deadline_ns, mailbox=self._mailbox, waiter=future
        )
        return self._sent(future)

    def add_row(
        self, row: Any, given: Any, *, priority: int = 0, deadline_ns: int | None = None
    ) -> asyncio.Future[Any]:
        """Send one row that a program's `Row` makes of a dict or of packed bytes; as `Batcher.add_row`."""
        future = _Answer(loop=self._loop)
        future.request = self._batcher.add_row(
            row, given, priority=priority, deadline_ns=deadline_ns, mailbox=self._mailbox, waiter=future
        )
        return self._sent(future)

    def _sent(self, future: asyncio.Future[Any]) -> asyncio.Future[Any]:
        assert self._idle is not None
        self._open += 1
        self._idle.clear()
        if self._model is not None and not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._run_here)
        return future

    def _run_here(self) -> None:
        """Everything that this turn of the loop has brought."""
        assert self._model is not None
        self._is_scheduled = False
        while (batch := self._batcher.poll()) is not None:
            answer(batch, self._model)
        self._drain()

    def _drain(self) -> None:
        answers = self._batcher.drain(self._mailbox)
        for future, value, is_error in answers:
            if future.done():
                continue
            if is_error:
                future.set_exception(value)
            else:
                future.set_result(value)
        self._open -= len(answers)
        if self._open == 0 and self._idle is not None:
            self._idle.set()


#: For `except batcher.Busy`.
Busy = status.Busy
