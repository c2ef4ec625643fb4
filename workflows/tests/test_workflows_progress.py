"""Heartbeats say how far a job is and where its checkpoint lies, and the attempt after a lost worker begins with that."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from ray_double import TOKEN, RayDouble, serve
from temporalio.testing import ActivityEnvironment

from mainspring.core import projects
from mainspring.core.contracts.progress import StepProgress
from mainspring.workflows import heartbeat
from mainspring.workflows.ray_jobs import attach, client, job_files, train_messages

JOB = "run_1-train-0"
MODEL = projects.ModelSpec(
    embeddings=(),
    hidden_sizes=(4,),
    dropout=0.0,
    batch_rows=32,
    learning_rate=0.01,
    weight_decay=0.0,
    epochs=8,
    seed=1,
)
THIRD = StepProgress(step="train", done=3, of=8, unit="epoch", checkpoint="/checkpoints/3")


class Activity(ActivityEnvironment):
    """An activity whose heartbeats are heard; `before`: what those of the attempt before said."""

    def __init__(self, *before: Any) -> None:
        super().__init__()
        self.info = dataclasses.replace(
            self.info, attempt=2, heartbeat_timeout=timedelta(seconds=0.05), heartbeat_details=list(before)
        )
        self.heard: list[StepProgress | None] = []
        self.on_heartbeat = lambda *details: self.heard.append(details[0] if details else None)


def follow(
    ray: RayDouble,
    told: Callable[[], StepProgress | None],
    active: Activity,
    until: Callable[[list[StepProgress | None]], bool],
) -> None:
    """A job that runs until so much was heard."""
    ray.script[JOB] = ["PENDING", "RUNNING"]

    def look() -> StepProgress | None:
        # On a busy machine so much is heard before the job is there.
        if JOB in ray.jobs and until(active.heard):
            ray.jobs[JOB]["states"] = ["SUCCEEDED"]
        return told()

    work = attach.Work(
        base_id="run_1-train",
        entrypoint=lambda k: "python -m train",
        answer=lambda k: "done",
        metadata={"run_id": "run_1"},
        timeout_seconds=60.0,
        step="train",
        told=look,
    )

    async def main() -> None:
        async with client.RayJobs(ray.url, TOKEN) as jobs:
            await active.run(attach.run_to_end, jobs, work, poll_seconds=0.005)

    asyncio.run(main())


def spec(folder: Path) -> train_messages.TrainSpec:
    return train_messages.TrainSpec(
        training_set=folder / "rows.parquet",
        plan=folder / "plan.json",
        label="late",
        model_spec=MODEL,
        seed=1,
        run_name="run_1",
        storage_path=folder,
        out_dir=folder,
        progress=folder / "checkpoints" / "progress.json",
    )


def test_heartbeats_say_what_the_job_has_written_down(tmp_path: Path) -> None:
    wanted, active = spec(tmp_path), Activity()

    def told() -> StepProgress | None:
        if any(active.heard):
            train_messages.tell(wanted, 2, rows=500, checkpoint="/checkpoints/2")
        return train_messages.told(wanted)

    with serve(RayDouble()) as ray:
        follow(ray, told, active, lambda heard: bool(heard) and heard[-1] is not None and heard[-1].done == 2)
    first, last = next(one for one in active.heard if one is not None), active.heard[-1]
    assert first.message.startswith(f"job `{JOB}` is "), "before the job says anything, Ray does"
    assert last is not None
    assert (last.done, last.of, last.unit, last.checkpoint) == (2, 8, "epoch", "/checkpoints/2")
    assert last.words == "epoch 2 of 8, 500 rows of the next (checkpoint /checkpoints/2)"


def test_the_next_attempt_begins_with_what_the_lost_one_said(caplog: pytest.LogCaptureFixture) -> None:
    active = Activity(THIRD.model_dump(mode="json"))
    with caplog.at_level(logging.INFO), serve(RayDouble()) as ray:
        follow(ray, lambda: None, active, lambda heard: len(heard) > 2)
    assert set(active.heard) == {THIRD}, "no beat forgets the pointer"
    assert "attempt 2 goes on: epoch 3 of 8 (checkpoint /checkpoints/3)" in caplog.text


def test_the_files_decide_and_not_what_a_heartbeat_said() -> None:
    active = Activity(THIRD.model_dump(mode="json"))
    fourth = THIRD.model_copy(update={"done": 4, "checkpoint": "/checkpoints/4"})
    with serve(RayDouble()) as ray:
        follow(ray, lambda: fourth, active, lambda heard: fourth in heard)
    assert active.heard[0] == THIRD
    assert active.heard[-1] == fourth


@pytest.mark.parametrize("before", [(), ("a word",), ({"step": "train", "done": -1},), (None,)])
def test_what_an_older_worker_said_is_no_reason_to_fail(before: tuple[Any, ...]) -> None:
    active = Activity(*before)

    async def work() -> StepProgress | None:
        async with heartbeat.beating() as beats:
            return beats.progress

    assert asyncio.run(active.run(work)) is None


def test_a_block_within_a_block_says_the_same_and_beats_no_second_time() -> None:
    active = Activity()

    async def work() -> None:
        before = len(asyncio.all_tasks())
        async with heartbeat.beating() as outer:
            async with heartbeat.beating() as inner:
                assert inner is outer
                inner.tell(THIRD)
            assert len(asyncio.all_tasks()) == before + 1
            await asyncio.sleep(0.05)
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == before

    asyncio.run(active.run(work))
    assert active.heard[-1] == THIRD


def test_a_block_after_a_block_goes_on_with_what_that_said(caplog: pytest.LogCaptureFixture) -> None:
    fourth, active = THIRD.model_copy(update={"done": 4}), Activity(THIRD.model_dump(mode="json"))

    async def work() -> None:
        async with heartbeat.beating() as beats:
            beats.tell(fourth)
            await asyncio.sleep(0.02)
        async with heartbeat.beating():
            await asyncio.sleep(0.02)

    with caplog.at_level(logging.INFO):
        asyncio.run(active.run(work))
    assert set(active.heard) == {fourth}
    assert caplog.text.count("goes on") == 1


def test_of_blocks_side_by_side_the_last_ends_the_beats() -> None:
    active = Activity()

    async def block(seconds: float) -> None:
        async with heartbeat.beating():
            await asyncio.sleep(seconds)

    async def work() -> None:
        async with heartbeat.beating() as beats:
            beats.tell(THIRD)
            long = asyncio.create_task(block(0.2))
            await asyncio.sleep(0)
        before = len(active.heard)
        await asyncio.sleep(0.1)
        assert len(active.heard) > before, "the first block is over, and the other goes on"
        await long
        ended = len(active.heard)
        await asyncio.sleep(0.05)
        assert len(active.heard) == ended

    asyncio.run(active.run(work))


def test_outside_of_an_activity_telling_changes_nothing() -> None:
    async def work() -> None:
        async with heartbeat.beating() as beats:
            beats.tell(THIRD)

    asyncio.run(work())


def test_a_disk_that_takes_no_progress_stops_no_training(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("no folder")
    train_messages.tell(spec(tmp_path), 1)
    assert train_messages.told(spec(tmp_path)) is None
    (tmp_path / "half.json").write_text('{"step": "tr')
    assert job_files.told(tmp_path / "half.json", StepProgress) is None
    nowhere = spec(tmp_path).model_copy(update={"progress": None})
    train_messages.tell(nowhere, 1)
    assert train_messages.told(nowhere) is None


@pytest.mark.parametrize(
    ("said", "words", "fraction"),
    [
        (THIRD, "epoch 3 of 8 (checkpoint /checkpoints/3)", 0.375),
        (StepProgress(step="score", done=20, of=100, unit="rows", message="1 of 5 parts"),
         "20 of 100 rows, 1 of 5 parts", 0.2),
        (StepProgress(step="tune", done=9, of=8, unit="trials"), "9 of 8 trials", 1.0),
        (StepProgress(step="load", message="job `x` is pending"), "job `x` is pending", 0.0),
        (StepProgress(step="load", checkpoint="/c"), "(checkpoint /c)", 0.0),
        (StepProgress(step="load"), "", 0.0),
    ],
)  # fmt: skip
def test_it_is_told_in_words(said: StepProgress, words: str, fraction: float) -> None:
    assert (said.words, said.fraction) == (words, fraction)
