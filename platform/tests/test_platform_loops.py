"""Background work goes on whatever it meets, tells of it, and ends when it is told to."""

from __future__ import annotations

import asyncio
import logging

import pytest

from mainspring.platform import loops

_LOG = logging.getLogger("mainspring.platform.tests.loops")


def test_work_that_raises_is_told_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    done: list[int] = []
    is_enough = asyncio.Event()

    async def work() -> None:
        done.append(len(done))
        if len(done) < 3:
            raise RuntimeError(f"no luck {len(done)}")
        is_enough.set()

    async def run() -> None:
        task = asyncio.create_task(
            loops.again_forever(work, every_seconds=0.0, failed="looking failed", log=_LOG)
        )
        await asyncio.wait_for(is_enough.wait(), 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with caplog.at_level(logging.ERROR):
        asyncio.run(run())
    assert done[:3] == [0, 1, 2]
    told = [(r.name, r.getMessage(), str(r.exc_info and r.exc_info[1])) for r in caplog.records]
    assert told == [
        (_LOG.name, "looking failed; next try in 0 s", "no luck 1"),
        (_LOG.name, "looking failed; next try in 0 s", "no luck 2"),
    ]


def test_work_is_paused_between_and_not_before() -> None:
    done: list[float] = []

    async def work() -> None:
        done.append(asyncio.get_running_loop().time())

    async def run() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(loops.again_forever(work, every_seconds=3600.0, failed="-", log=_LOG), 0.2)

    asyncio.run(run())
    assert len(done) == 1
