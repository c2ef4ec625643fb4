"""Erasures: nothing before a second person has approved, everything after, and a certificate only when nothing is left."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest
from erasing_doubles import DATA, Erasing, erase_request
from temporalio import activity
from temporalio.client import Client, WorkflowFailureError, WorkflowUpdateFailedError
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment
from temporalio.worker import Worker
from workflows_doubles import QUEUE, program, run

from mainspring.core import errors, ports, settings
from mainspring.core.client.workflows import WorkflowClient
from mainspring.core.contracts import erasure, training
from mainspring.core.contracts.training import Stage
from mainspring.core.erasure import certificate, ledger
from mainspring.core.erasure.erased import ErasedList
from mainspring.core.erasure.online import ErasedFeatures
from mainspring.core.erasure.subjects import SubjectHasher
from mainspring.core.features import folders
from mainspring.core.features.online import OnlineStore
from mainspring.core.models import signing
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows.erasing import messages
from mainspring.workflows.erasing.activities import ErasingActivities
from mainspring.workflows.erasing.workflow import EraseSubject

pytestmark = pytest.mark.timeout(90)

YES = training.Decision(approve=True, by="ben", reason="seen")
ORDER = ["keep-out", "find", "erase offline tables", "erase online store", "prove", "certify", "report done"]


async def decided(client: Client, decision: training.Decision, request: erasure.EraseRequest) -> Any:
    """The handle, once somebody has decided."""
    # This handle lets the server skip time while it waits; one that is looked up does not.
    handle = await client.start_workflow(EraseSubject.run, request, id=request.erasure_id, task_queue=QUEUE)
    ours = WorkflowClient(client, QUEUE)
    assert await ours.start_erasure(request) == request.erasure_id, "the same again is no second one"
    while (await ours.status(request.erasure_id, within_seconds=10)).stage is not Stage.APPROVAL:
        await asyncio.sleep(0.02)
    await ours.decide(request.erasure_id, decision, intent_id="once")
    return handle


def erased(steps: Erasing, decision: training.Decision = YES) -> erasure.EraseResult:
    async def story(client: Client, _: WorkflowEnvironment) -> erasure.EraseResult:
        found: erasure.EraseResult = await (await decided(client, decision, erase_request())).result()
        return found

    return run(story, [EraseSubject], steps.activities())


def test_all_of_it_in_its_order_once_it_is_approved() -> None:
    steps = Erasing()
    result = erased(steps)
    assert steps.calls == ORDER
    assert (result.stage, result.rows_erased, result.certificate) == (Stage.DONE, 8, "{}")
    (asked,) = steps.certified
    assert (asked.approved_by, asked.datasets, asked.clean) == ("ben", [DATA], [])
    assert "N102" not in result.model_dump_json(exclude={"steps"})
    assert {str(s.step): s.detail for s in result.steps}["ingest"] == {"offline tables": 8, "online store": 0}


def test_a_rejected_one_touches_nothing() -> None:
    steps = Erasing()
    result = erased(steps, training.Decision(approve=False, by="ben", reason="a customer still"))
    assert steps.calls == ["report rejected"] and result.stage is Stage.REJECTED
    assert result.message == "rejected by `ben`: a customer still"


def test_nobody_decides_on_his_own_and_silence_is_no() -> None:
    steps = Erasing()

    async def story(client: Client, environment: WorkflowEnvironment) -> erasure.EraseResult:
        handle = await client.start_workflow(EraseSubject.run, erase_request(), id="era_1", task_queue=QUEUE)
        while (await handle.query(EraseSubject.status)).stage is not Stage.APPROVAL:
            await asyncio.sleep(0.02)
        with pytest.raises(WorkflowUpdateFailedError) as own:
            await handle.execute_update(EraseSubject.decide, training.Decision(approve=True, by="ana"))
        assert "erasure.four-eyes" in temporal_errors.from_failure(own.value).message
        return await handle.result()

    result = run(story, [EraseSubject], steps.activities())
    assert steps.calls == ["report rejected"] and "nobody decided within 30 days" in result.message


@pytest.mark.parametrize(
    ("name", "error", "calls"),
    [
        (messages.ERASE, errors.Conflict("rows come again", resource="place"), [*ORDER[:3], "report failed"]),
        (messages.PROVE, errors.Conflict("rows came again", resource="place"), [*ORDER[:5], "report failed"]),
        (messages.KEEP_OUT, errors.Conflict("another key", resource="key"), [*ORDER[:1], "report failed"]),
    ],
)
def test_what_fails_has_no_certificate(name: str, error: errors.MainspringError, calls: list[str]) -> None:
    steps = Erasing(failing={name: error})

    async def story(client: Client, _: WorkflowEnvironment) -> errors.MainspringError:
        with pytest.raises(WorkflowFailureError) as caught:
            await (await decided(client, YES, erase_request())).result()
        return temporal_errors.from_failure(caught.value)

    assert run(story, [EraseSubject], steps.activities()).message == error.message
    assert steps.calls == calls
    assert [(r.state, r.certificate) for r in steps.reports] == [(erasure.ErasureState.FAILED, "")]


def test_who_is_away_is_asked_again() -> None:
    away = errors.DependencyDown("serving does not answer", name="serving")
    steps = Erasing(failing={messages.FIND: away}, times=2)
    assert erased(steps).stage is Stage.DONE and steps.calls.count("find") == 3


class World:
    """Real files, an online store, keys, and two bundles: one learned from the lake, of the other nobody knows."""

    def __init__(self, folder: Path) -> None:
        self.settings = settings.load({"MAINSPRING_STACK_STATE_DIR": str(folder)}, directory=folder)
        key = signing.ensure_key(self.settings.models.signing_key)
        key.publish(self.settings.serving.trusted_keys_dir)
        self.path = folder / "projects" / "tiny" / "full" / "lake"
        self.lake = folders.publish(self.path, kind="lake", inputs={}, write=self._write)
        clean = folders.publish(
            self.path.with_name("clean"), kind="lake", inputs={}, write=lambda new: self._write(new, ["N101"])
        )
        for letter, data in (("a", self.lake.digest), ("b", DATA), ("c", clean.digest)):
            bundle = self.settings.serving.bundle_dir / (letter * 64)
            bundle.mkdir(parents=True)
            said = {"name": letter * 2, "project": "tiny", "data_digest": data}
            (bundle / "manifest.json").write_text(json.dumps(said))
        self.online = OnlineStore()
        self.online.register(ports.ViewSchema("planes", ("tailnum",), (("seats", "float32"),), None))
        self.push(self.online)
        self.reports: list[erasure.ErasureReport] = []
        self.held_after = ""
        self.hash = SubjectHasher.load(self.settings.protection.subjects_key).hash("tiny", "tailnum", "N102")

    @staticmethod
    def _write(new: Path, tails: list[str] | None = None) -> dict[str, Any]:
        pl.DataFrame({"tailnum": tails or ["N101", "N102"]}).write_parquet(new / "flights.parquet")
        return {}

    def push(self, store: ports.OnlineFeatures) -> int:
        at = np.array([1, 1], np.int64)
        keys = {"tailnum": ["N101", "N102"]}
        return store.upsert("planes", keys, event_us=at, created_us=at, columns={"seats": [1.0, 2.0]})

    def request(self, **changes: Any) -> erasure.EraseRequest:
        return erase_request(**{"subject_hash": self.hash, "views": ["planes"], **changes})

    def activities(self, online: Any = None) -> ErasingActivities:
        def answer(request: httpx.Request) -> httpx.Response:
            if request.method == "GET":
                assert request.url.path == "/api/v1/projects/tiny/erasures/era_1"
                return httpx.Response(200, json=self.standing())
            assert request.url.path == "/api/v1/projects/tiny/erasures/era_1/report"
            self.reports.append(erasure.ErasureReport.model_validate_json(request.content))
            return httpx.Response(200, json={})

        control = httpx.AsyncClient(base_url="http://control", transport=httpx.MockTransport(answer))
        return ErasingActivities(self.settings, control, online or self.online)

    def standing(self) -> dict[str, Any]:
        """What the control API says of the erasure: refused, once a place named in `held_after` is erased."""
        row = {
            "erasure_id": "era_1", "project": "tiny", "entity": "tailnum", "subject_hash": self.hash, "ground": "objection",
            "reason": "a letter", "state": "erasing", "requested_at": "2026-11-01T00:00:00Z", "requested_by": "ana",
            "copies": [{"what": "copy of the control database", "why": "kept", "until": "2026-12-01T00:00:00Z"}],
        }  # fmt: skip
        is_held = (
            self.held_after == "offline tables" and pl.read_parquet(self.path / "flights.parquet").height == 1
        )
        return row | (
            {"state": "refused", "message": "the subject is under legal hold `hold_1`"} if is_held else {}
        )

    def certificate(self) -> erasure.ErasureCertificate:
        (report,) = self.reports
        trust = signing.TrustedKeys.load(self.settings.serving.trusted_keys_dir)
        return certificate.open_sealed(report.certificate.encode(), trust)[0]


def story_of(world: World, **changes: Any) -> Callable[[Client, WorkflowEnvironment], Awaitable[Any]]:
    async def story(client: Client, _: WorkflowEnvironment) -> Any:
        return await (await decided(client, YES, world.request(**changes))).result()

    return story


def test_real_files_and_rows_go_and_the_certificate_says_so(tmp_path: Path) -> None:
    world = World(tmp_path)
    result = run(story_of(world), [EraseSubject], world.activities().all())
    assert result.rows_erased == 2
    assert pl.read_parquet(world.path / "flights.parquet")["tailnum"].to_list() == ["N101"]
    assert world.online.counts() == {"planes": 1}
    told = world.certificate()
    places = {p.place: (p.rows_before, p.rows_after) for p in told.places}
    assert places["offline tables"] == places["online store"] == (1, 0) and set(places.values()) == {
        (1, 0),
        (0, 0),
    }
    assert [(m.bundle_digest[7], m.basis) for m in told.models] == [("a", "lineage"), ("b", "unknown")]
    assert (told.requested_by, told.approved_by, told.subject_hash) == ("ana", "ben", world.hash)
    assert [(u.what, u.until is not None) for u in told.uncovered] == [("copy of the control database", True)]
    erased_dir = world.settings.protection.erased_dir
    assert ledger.names(erased_dir) == ["era_1"], "for a control database that is put back from before"
    assert ledger.read(erased_dir, "era_1").decode() == world.reports[0].certificate
    gated = ErasedFeatures(world.online, ErasedList.of(world.settings.protection))
    assert world.push(gated) == 1 and world.online.counts() == {"planes": 1}, "a replay brings nobody back"


def test_a_hold_in_the_middle_keeps_what_is_left_and_its_lifting_lets_it_go_on(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.held_after = "offline tables"
    with pytest.raises(WorkflowFailureError) as caught:
        run(story_of(world), [EraseSubject], world.activities().all())
    failure = temporal_errors.from_failure(caught.value)
    assert isinstance(failure, errors.PolicyDenied) and "legal hold `hold_1`" in failure.message
    assert pl.read_parquet(world.path / "flights.parquet").height == 1, (
        "what was erased before it came is gone"
    )
    assert world.online.counts() == {"planes": 2}
    assert [(r.state, r.certificate) for r in world.reports] == [(erasure.ErasureState.FAILED, "")]
    world.held_after, world.reports = "", []
    result = run(story_of(world), [EraseSubject], world.activities().all())
    assert (result.rows_erased, world.online.counts()) == (1, {"planes": 1})


def test_while_nobody_can_say_whether_it_is_held_nothing_is_erased(tmp_path: Path) -> None:
    world = World(tmp_path)
    away = httpx.AsyncClient(
        base_url="http://control", transport=httpx.MockTransport(lambda _: httpx.Response(503, text="away"))
    )
    activities = ErasingActivities(world.settings, away, world.online)
    for call, asked in (
        (activities.keep_out, world.request()),
        (activities.erase, messages.EraseOne(request=world.request(), place="online store")),
    ):
        with pytest.raises(ApplicationError) as caught:
            asyncio.run(ActivityEnvironment().run(call, asked))
        assert not caught.value.non_retryable
    assert world.online.counts() == {"planes": 2} and ErasedList.of(world.settings.protection).entries() == ()


def test_an_unknown_subject_has_a_certificate_that_says_nothing_was_there(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.hash = SubjectHasher.load(world.settings.protection.subjects_key).hash("tiny", "tailnum", "N999")
    result = run(story_of(world, key="N999"), [EraseSubject], world.activities().all())
    assert result.rows_erased == 0 and result.stage is Stage.DONE
    assert {(p.rows_before, p.rows_after) for p in world.certificate().places} == {(0, 0)}
    assert folders.read(world.path, kind="lake").digest == world.lake.digest


def test_a_worker_of_another_key_for_subjects_erases_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    with pytest.raises(WorkflowFailureError) as caught:
        run(story_of(world, subject_hash="0" * 64), [EraseSubject], world.activities().all())
    assert "give all processes the same file" in temporal_errors.from_failure(caught.value).message
    assert world.online.counts() == {"planes": 2} and ErasedList.of(world.settings.protection).entries() == ()


def test_a_worker_that_dies_in_the_middle_is_followed_by_another(tmp_path: Path) -> None:
    """The first has erased the files and hangs in the next place; the second goes on and counts nothing twice."""
    world, hangs = World(tmp_path), asyncio.Event()
    real = world.activities()

    @activity.defn(name=messages.ERASE)
    async def stuck(asked: messages.EraseOne) -> erasure.Found:
        if asked.place == "offline tables":
            return await real.erase(asked)
        hangs.set()
        await asyncio.sleep(3600)
        raise AssertionError("it is cancelled")

    async def main() -> erasure.EraseResult:
        async with await WorkflowEnvironment.start_time_skipping(
            test_server_existing_path=program("temporal-test-server"), data_converter=pydantic_data_converter
        ) as environment:
            client, rest = environment.client, [a for a in real.all() if a.__name__ != "erase"]
            # Without a cache no task waits for the worker that is gone.
            alike: dict[str, Any] = {
                "task_queue": QUEUE,
                "workflows": [EraseSubject],
                "max_cached_workflows": 0,
            }
            async with Worker(client, activities=[*rest, stuck], **alike):
                handle = await decided(client, YES, world.request())
                await environment.sleep(70)  # skips what the erasure waits
                await asyncio.wait_for(hangs.wait(), 60)
            async with Worker(client, activities=real.all(), **alike):
                found: erasure.EraseResult = await handle.result()
                return found

    assert asyncio.run(main()).rows_erased == 2
    places = {p.place: p.rows_before for p in world.certificate().places}
    assert (places["offline tables"], places["online store"]) == (1, 1)
    assert len(ErasedList.of(world.settings.protection).entries()) == 1


def test_serving_that_is_away_is_not_taken_for_empty(tmp_path: Path) -> None:
    world = World(tmp_path)

    class Away:
        def held(self, *_: Any) -> dict[str, int]:
            raise errors.DependencyDown("serving does not answer", name="serving")

        forget = held

    with pytest.raises(ApplicationError) as caught:
        asyncio.run(ActivityEnvironment().run(world.activities(Away()).find, world.request()))
    assert not caught.value.non_retryable
