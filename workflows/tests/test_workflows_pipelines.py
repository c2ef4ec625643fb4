"""A pipeline's decisions: what runs when, what is tried again, who may approve, and how it ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pipelines_doubles import Jobs, gate, graph, parts, pipeline_request, raised, step, value
from temporalio.client import Client, WorkflowFailureError
from temporalio.testing import WorkflowEnvironment
from workflows_doubles import QUEUE, Endpoint, run

from mainspring.core import errors
from mainspring.core.client.workflows import WorkflowClient
from mainspring.core.contracts import pipelines, training
from mainspring.core.contracts.pipelines import NodeState
from mainspring.core.contracts.training import Stage
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows.pipelines import deciding, messages
from mainspring.workflows.pipelines.workflow import RunPipeline

Outcome = tuple[pipelines.PipelineResult | errors.MainspringError, training.RunStatus]
MEMORY = messages.Ran(failure="memory", message="it took 3 GiB", job="job")


def outcome(
    jobs: Jobs, endpoint: Endpoint | None = None, *decisions: training.Decision, **changes: Any
) -> Outcome:
    """What a pipeline comes to with these decisions, each given once something waits, and its last status."""

    async def story(client: Client, _: WorkflowEnvironment) -> Outcome:
        ours = WorkflowClient(client, QUEUE)
        # Of a handle that started it, waiting for the result skips time.
        handle = await client.start_workflow(
            RunPipeline.run, pipeline_request(**changes), id="run_pipe", task_queue=QUEUE
        )
        for decision in decisions:
            await waits(ours)
            await ours.decide("run_pipe", decision)
        try:
            return await handle.result(), await ours.status("run_pipe")
        except WorkflowFailureError as failure:
            return temporal_errors.from_failure(failure), await ours.status("run_pipe")

    return run(story, [RunPipeline], [*(endpoint or Endpoint()).activities(), *jobs.activities()])


async def waits(ours: WorkflowClient) -> None:
    while (await ours.status("run_pipe")).stage is not Stage.APPROVAL:
        await asyncio.sleep(0.02)


def yes(by: str, *roles: str, step: str = "", approve: bool = True) -> training.Decision:
    return training.Decision(approve=approve, by=by, step=step, roles=roles or ("approver",))


def states(status: training.RunStatus) -> dict[str, str]:
    return {node["name"]: node.get("state", "waiting") for node in status.detail["nodes"]}


def test_each_runs_once_what_it_needs_is_there_and_the_end_is_on_record() -> None:
    jobs, endpoint = (
        Jobs(graph(step("load"), step("left", "load"), step("right", "load"), step("join", "left", "right"))),
        Endpoint(),
    )
    result, status = outcome(jobs, endpoint)
    assert isinstance(result, pipelines.PipelineResult) and result.stage is Stage.DONE
    assert jobs.ran[0] == "load" and jobs.ran[-1] == "join" and set(jobs.ran[1:3]) == {"left", "right"}
    assert jobs.asked[-1].inputs == {"a0": value("left"), "a1": value("right")}
    assert result.answers == {"answer": value("join")}
    assert set(states(status).values()) == {"done"} and status.progress == 1.0
    assert endpoint.told == ["run_pipe/end"]
    assert endpoint.ended()["result"]["nodes"][0]["cpu_seconds"] == 1.5


def test_what_the_cache_has_runs_nothing_and_what_it_has_not_says_why() -> None:
    jobs = Jobs(graph(step("load"), step("train", "load")), cached={"load": value("before")})
    result, _ = outcome(jobs)
    assert isinstance(result, pipelines.PipelineResult)
    assert jobs.ran == ["train"] and jobs.asked[0].inputs == {"a0": value("before")}
    load, train = result.nodes
    assert (load.from_cache, load.tries, train.from_cache) == (1, 0, 0)
    assert train.why_not_cached == "it was not done before"
    assert [s.reused for s in result.steps] == [True, False]


def test_from_a_step_on_all_is_done_again_and_nothing_before_it() -> None:
    nodes = (step("load"), step("train", "load"), step("test", "train"), step("other", "load"))
    jobs = Jobs(graph(*nodes), cached={n.name: value(n.name) for n in nodes})
    outcome(jobs, again_from=("train",))
    assert jobs.ran == ["train", "test"]
    again = {asked.node: asked.is_again for asked in jobs.found}
    assert again == {"load": False, "train": True, "test": True, "other": False}


def test_a_step_is_mapped_over_the_items_so_many_at_a_time_and_their_answers_come_in_order() -> None:
    nodes = (step("split", is_spread=True), step("score", "split", each="a0"), step("sum", "score"))
    jobs = Jobs(graph(*nodes), answers={"split": parts("p", "q", "r", "s", "t")}, together=2)
    result, _ = outcome(jobs, max_parallel=2)
    assert isinstance(result, pipelines.PipelineResult)
    scored = [a for a in jobs.asked if a.node == "score"]
    assert {a.index: a.inputs["a0"] for a in scored} == {i: value(t) for i, t in enumerate("pqrst")}
    assert jobs.most_at_once == 2
    assert jobs.asked[-1].inputs["a0"] == parts(*(f"score-{i}" for i in range(5)))
    assert result.nodes[1].items == 5


def test_no_items_are_no_jobs_and_an_empty_list() -> None:
    nodes = (step("split", is_spread=True), step("score", "split", each="a0"))
    result, _ = outcome(Jobs(graph(*nodes), answers={"split": parts()}))
    assert isinstance(result, pipelines.PipelineResult) and result.answers == {"answer": parts()}


def test_a_failure_ends_what_needs_it_and_nothing_else() -> None:
    nodes = (step("load"), step("bad", "load"), step("after", "bad"), step("other", "load"))
    jobs = Jobs(graph(*nodes), failing={"bad": [raised("ValueError", "Exception")]})
    endpoint = Endpoint()
    error, status = outcome(jobs, endpoint)
    assert isinstance(error, errors.JobFailed)
    assert "step `bad` failed (exception): ValueError: no" in error.message and "--resume" in error.message
    assert states(status) == {"load": "done", "bad": "failed", "after": "skipped", "other": "done"}
    assert endpoint.ended()["stage"] == "failed" and status.stage is Stage.FAILED


def test_one_item_that_fails_leaves_the_others_done() -> None:
    nodes = (step("split", is_spread=True), step("score", "split", each="a0"))
    jobs = Jobs(
        graph(*nodes), answers={"split": parts("p", "q", "r")}, failing={"score-1": [raised("ValueError")]}
    )
    error, _ = outcome(jobs)
    assert isinstance(error, errors.JobFailed) and "step `score[1]`" in error.message
    assert sorted(jobs.ran) == ["score-0", "score-1", "score-2", "split"]


def test_an_exception_of_a_named_class_is_tried_again_so_often_with_longer_pauses() -> None:
    retry = pipelines.Retry(times=2, on=("OSError",), pause_seconds=60.0)
    flaky = [raised("ConnectionResetError", "ConnectionError", "OSError", "Exception")]
    jobs = Jobs(graph(step("load", retry=retry)), failing={"load": flaky * 2})
    result, _ = outcome(jobs)
    assert isinstance(result, pipelines.PipelineResult)
    assert [a.attempt for a in jobs.asked] == [0, 1, 2] and result.nodes[0].tries == 3
    assert result.nodes[0].seconds >= 180, "a minute, then two, of the workflow's time"
    jobs = Jobs(graph(step("load", retry=retry)), failing={"load": flaky * 3})
    error, _ = outcome(jobs)
    assert isinstance(error, errors.JobFailed) and len(jobs.asked) == 3


def test_wrong_data_is_never_tried_again_and_comes_out_as_what_it_is() -> None:
    bad = errors.DataInvalid("no rows", dataset="lake", failed=("rows",))
    retry = pipelines.Retry(times=5, on=("Exception",))
    failing = {"load": [raised("DataInvalid", "Rejected", "Exception", error=bad)]}
    jobs = Jobs(graph(step("load", retry=retry)), failing=failing)
    error, _ = outcome(jobs)
    assert isinstance(error, errors.DataInvalid) and error.failed == ("rows",)
    assert error.message == "step `load`: no rows" and len(jobs.asked) == 1


def test_too_little_memory_is_doubled_up_to_what_the_step_allows() -> None:
    needs = pipelines.Resources(memory_gib=2, max_memory_gib=7)
    jobs = Jobs(graph(step("fit", resources=needs)), failing={"fit": [MEMORY, MEMORY]})
    result, _ = outcome(jobs)
    assert isinstance(result, pipelines.PipelineResult)
    assert [a.memory_gib for a in jobs.asked] == [2, 4, 7]
    jobs = Jobs(graph(step("fit", resources=needs)), failing={"fit": [MEMORY] * 4})
    error, _ = outcome(jobs)
    assert isinstance(error, errors.JobFailed) and error.status == "memory" and len(jobs.asked) == 3


def test_a_process_that_died_is_tried_once_more() -> None:
    died = messages.Ran(failure="died", message="signal SIGSEGV", job="job")
    jobs = Jobs(graph(step("fit")), failing={"fit": [died, died]})
    error, _ = outcome(jobs)
    assert isinstance(error, errors.JobFailed) and len(jobs.asked) == 2


APPROVED = graph(
    step("train"), gate("release", "train", count=2, timeout_seconds=3600), step("publish", "release")
)


def test_two_different_people_of_the_role_let_it_go_on() -> None:
    jobs, endpoint = Jobs(APPROVED), Endpoint()
    result, status = outcome(jobs, endpoint, yes("eva"), yes("kim", "admin"))
    assert isinstance(result, pipelines.PipelineResult) and result.stage is Stage.DONE
    assert jobs.ran == ["train", "publish"] and jobs.asked[-1].inputs == {"a0": value("train")}
    assert result.nodes[1].approved_by == ("eva", "kim")
    assert endpoint.told == ["run_pipe/release/eva", "run_pipe/release/kim", "run_pipe/end"]
    assert endpoint.events[0].detail["value"] == value("train").digest
    assert status.steps[1].step is Stage.APPROVAL


def test_a_no_rejects_the_run_and_skips_what_waits() -> None:
    result, status = outcome(Jobs(APPROVED), None, yes("eva"), yes("kim", approve=False))
    assert isinstance(result, pipelines.PipelineResult) and result.stage is Stage.REJECTED
    assert "`release` rejected by `kim`" in result.message
    assert states(status)["publish"] == NodeState.SKIPPED and states(status)["release"] == NodeState.REJECTED


def test_nobody_in_time_is_a_rejection() -> None:
    result, _ = outcome(Jobs(APPROVED), None, yes("eva"))
    assert isinstance(result, pipelines.PipelineResult) and result.stage is Stage.REJECTED
    assert "1 of 2 decided within 1:00:00" in result.message


@pytest.mark.parametrize(
    ("decision", "kind", "says"),
    [
        (yes("ana"), errors.PermissionDenied, "started run"),
        (yes("eva", "developer"), errors.PermissionDenied, "is for role `approver`"),
        (yes("eva", step="other"), errors.Conflict, "waits at `other` for no decision"),
        (yes("kim"), errors.Conflict, "has decided"),
    ],
)
def test_a_decision_that_does_not_count_is_refused_and_nothing_moves(
    decision: training.Decision, kind: type[errors.MainspringError], says: str
) -> None:
    async def story(client: Client, _: WorkflowEnvironment) -> None:
        ours = WorkflowClient(client, QUEUE)
        await ours.start_pipeline(pipeline_request())
        await waits(ours)
        await ours.decide("run_pipe", yes("kim"))
        with pytest.raises(kind, match=says):
            await ours.decide("run_pipe", decision)
        assert (await ours.status("run_pipe")).stage is Stage.APPROVAL
        await ours.cancel("run_pipe")

    run(story, [RunPipeline], [*Endpoint().activities(), *Jobs(APPROVED).activities()])


def test_who_had_it_started_approves_nothing_of_it_either() -> None:
    gates = deciding.Gates("watcher", "ana")
    gates.open("release", pipelines.Approval(role="approver"), 0.0)
    for name in ("watcher", "ana"):
        with pytest.raises(errors.PermissionDenied, match="started run"):
            gates.check(yes(name), "run_pipe")
    gates.check(yes("ana", approve=False), "run_pipe")  # anybody of the role may stop it
    gates.check(yes("eva"), "run_pipe")


def test_two_that_wait_at_once_are_told_apart_by_name() -> None:
    both = graph(step("a"), gate("one", "a"), gate("two", "a", role="admin"))

    async def story(client: Client, _: WorkflowEnvironment) -> Stage:
        ours = WorkflowClient(client, QUEUE)
        await ours.start_pipeline(pipeline_request())
        await waits(ours)
        with pytest.raises(errors.Conflict, match="waits at `one`, `two`"):
            await ours.decide("run_pipe", yes("eva"))
        with pytest.raises(errors.PermissionDenied, match="`two` is for role `admin`"):
            await ours.decide("run_pipe", yes("eva", step="two"))
        await ours.decide("run_pipe", yes("eva", step="one"))
        await ours.decide("run_pipe", yes("kim", "admin", step="two"))
        return (await ours.pipeline_result("run_pipe")).stage

    assert run(story, [RunPipeline], [*Endpoint().activities(), *Jobs(both).activities()]) is Stage.DONE


def test_cancel_stops_the_job_and_starts_nothing_more() -> None:
    jobs, endpoint = Jobs(graph(step("load"), step("train", "load")), for_ever="load"), Endpoint()

    async def story(client: Client, _: WorkflowEnvironment) -> None:
        ours = WorkflowClient(client, QUEUE)
        await ours.start_pipeline(pipeline_request())
        await jobs.begun.wait()
        await ours.cancel("run_pipe")
        with pytest.raises(errors.Conflict, match="cancelled"):
            await ours.pipeline_result("run_pipe")

    run(story, [RunPipeline], [*endpoint.activities(), *jobs.activities()])
    assert jobs.stopped and jobs.ran == ["load"]
    assert endpoint.ended()["stage"] == "cancelled"
