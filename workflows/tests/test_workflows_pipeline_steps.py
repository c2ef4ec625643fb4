"""A step's job in processes of its own: what it answers, what becomes of it when it fails, and that nothing of it is left."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from activity_calls import do, in_execution
from pipelines_doubles import pipeline_request
from ray_double import TOKEN, RayDouble, serve
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from workflows_doubles import QUEUE, Endpoint, run

from mainspring.core import errors, settings
from mainspring.core.client.workflows import WorkflowClient
from mainspring.core.contracts import pipelines, training
from mainspring.core.contracts.capacity import Capacity
from mainspring.core.contracts.training import Stage
from mainspring.core.pipelines import PipelineStore
from mainspring.workflows import budgets
from mainspring.workflows.pipelines import activities, messages
from mainspring.workflows.pipelines.workflow import RunPipeline
from mainspring.workflows.ray_jobs import books, step, step_messages, unbilled

SOURCE = """
import os, subprocess, sys, time
from mainspring.core.pipelines import secret, step

@step(secrets=("warehouse",))
def connects(fails: bool) -> dict[str, bool]:
    value = secret("warehouse")
    print("connecting with", value, flush=True)
    subprocess.run(["echo", value], check=True)
    if fails:
        raise ConnectionRefusedError(f"no route for {value}")
    inherited = subprocess.run(["env"], capture_output=True, text=True, check=True).stdout
    return {"is_right": value.startswith("canary-"), "is_inherited": value in inherited, "is_argument": value in str(sys.argv)}

@step
def was_not_given(x: int) -> str:
    return secret("warehouse")

@step
def load(rows: int) -> list[int]:
    print("loading", rows)
    return list(range(rows))

@step
def square(x: int) -> int:
    return x * x

@step
def total(xs: list[int]) -> int:
    return sum(xs)

@step
def surroundings(names: list[str]) -> list[str]:
    return [n for n in names if n in os.environ] + os.listdir()

@step
def raises(x: int) -> int:
    raise ConnectionResetError("the source hung up")

@step
def leaves(x: int) -> int:
    sys.exit(3)

@step
def eats(mib: int) -> int:
    kept = bytearray(mib << 20)
    time.sleep(30)
    return len(kept)

@step
def sleeps(pid_file: str) -> int:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    with open(pid_file, "w") as file:
        file.write(f"{os.getpid()} {child.pid}")
    time.sleep(60)
    return 0

@step
def dies(x: int) -> int:
    os.kill(os.getpid(), 9)
"""


def node(name: str, inputs: dict[str, Any], **more: Any) -> pipelines.Node:
    values = {
        n: v if isinstance(v, pipelines.Input) else pipelines.Input(literal=v) for n, v in inputs.items()
    }
    return pipelines.Node(name=name, function=f"steps:{name}", inputs=values, **more)


def pack(*nodes: pipelines.Node) -> pipelines.Pack:
    graph = pipelines.PipelineGraph(
        name="nightly", nodes=nodes, answers={"answer": pipelines.Input(node=nodes[-1].name)}
    )
    return pipelines.Pack(sources={"steps.py": SOURCE}, graph=graph)


class Job:
    """One step as its job does it, in this process, which watches."""

    def __init__(self, folder: Path, name: str, inputs: dict[str, Any]) -> None:
        self.store = PipelineStore(folder / "store")
        found = pack(node(name, inputs))
        self.store.keep_pack(found)
        self.folder = folder / "job"
        self.folder.mkdir()
        self.spec = step_messages.StepSpec(
            store=self.store.root,
            pack=found.digest,
            node=name,
            folder=folder,
            memory_gib=0.5,
            timeout_seconds=60,
        )

    def run(self, **more: Any) -> step_messages.StepOutput:
        return step.run(self.spec.model_copy(update=more), self.folder)


def test_an_answer_is_kept_and_what_it_took_is_told(tmp_path: Path) -> None:
    job = Job(tmp_path, "load", {"rows": 3})
    answer = job.run()
    assert answer.failure is None and answer.value is not None
    assert job.store.open(answer.value.digest).read_bytes() == b"[0,1,2]"
    assert answer.cpu_seconds > 0.05 and answer.wall_seconds > 0.05
    assert 0 < answer.peak_memory_gib < 0.5
    assert not (job.folder / "work").exists()


def test_a_step_starts_in_an_empty_folder_and_does_not_see_our_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["MAINSPRING_CONTROL_TOKENS_FILE", "RAY_AUTH_TOKEN_PATH", "KEPT"]
    for name in names:
        monkeypatch.setenv(name, "x")
    job = Job(tmp_path, "surroundings", {"names": names})
    answer = job.run()
    assert answer.value is not None
    assert job.store.open(answer.value.digest).read_bytes() == b'["KEPT"]'


def with_secret(folder: Path) -> dict[str, Any]:
    """Where the project's secret lies, and how it is read."""
    place = folder / "mounted" / "flights" / "warehouse"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("canary-4b6d2f\n")
    mounted = folder / "mounted"
    keeper = settings.SecretSettings(files_dir=str(mounted), project_places=f"file:{mounted}/{{project}}/")
    return {"project": "flights", "secrets": {"warehouse": f"file:{place}"}, "keeper": keeper}


def found_in(folder: Path, word: str) -> list[str]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "warehouse"]
    return [path.name for path in files if word.encode() in path.read_bytes()]


def test_a_step_reads_its_secret_and_nobody_else_does(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    job = Job(tmp_path, "connects", {"fails": False})
    answer = job.run(**with_secret(tmp_path))
    assert answer.failure is None and answer.value is not None
    answered = json.loads(job.store.open(answer.value.digest).read_bytes())
    assert answered == {"is_right": True, "is_inherited": False, "is_argument": False}
    printed = capfd.readouterr().out
    assert printed.count("***") == 2 and "connecting with" in printed
    assert "canary-4b6d2f" not in printed and found_in(tmp_path, "canary-4b6d2f") == []


def test_what_a_step_fails_with_tells_of_no_secret(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    answer = Job(tmp_path, "connects", {"fails": True}).run(**with_secret(tmp_path))
    assert answer.failure is not None and answer.failure.message == "ConnectionRefusedError: no route for ***"
    captured = capfd.readouterr()
    assert "canary-4b6d2f" not in answer.model_dump_json() + captured.out + captured.err
    assert found_in(tmp_path, "canary-4b6d2f") == []


def test_a_secret_that_is_not_given_or_not_there_is_told(tmp_path: Path) -> None:
    answer = Job(tmp_path, "was_not_given", {"x": 1}).run()
    assert answer.failure is not None and "was given no secret `warehouse`" in answer.failure.message
    given = with_secret(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(errors.PermissionDenied, match="is not project `other`'s"):
        Job(tmp_path / "elsewhere", "connects", {"fails": False}).run(**{**given, "project": "other"})
    (tmp_path / "mounted" / "flights" / "warehouse").unlink()
    (tmp_path / "again").mkdir()
    with pytest.raises(errors.NotFound, match="no secret lies at"):
        Job(tmp_path / "again", "connects", {"fails": False}).run(**given)


@pytest.mark.parametrize(
    ("name", "inputs", "more", "kind", "says"),
    [
        ("raises", {"x": 1}, {}, "exception", "ConnectionResetError: the source hung up"),
        ("leaves", {"x": 1}, {}, "exception", "SystemExit: 3"),
        ("eats", {"mib": 600}, {}, "memory", "and may take 0.5"),
        ("sleeps", {"pid_file": "pids"}, {"timeout_seconds": 2}, "timeout", "still at work after 2 s"),
        ("dies", {"x": 1}, {}, "died", "signal SIGKILL"),
        ("square", {"x": "many"}, {}, "exception", "`square.x` is of type `int`"),
    ],
)
def test_how_a_step_fails_is_told(
    tmp_path: Path, name: str, inputs: dict[str, Any], more: dict[str, Any], kind: str, says: str
) -> None:
    answer = Job(tmp_path, name, inputs).run(**more)
    assert answer.value is None and answer.failure is not None
    assert answer.failure.kind == kind and says in answer.failure.message
    if name == "raises":
        assert {"ConnectionResetError", "OSError", "Exception"} <= set(answer.failure.classes)
        assert "steps.py" in answer.failure.trace


def test_what_a_step_started_ends_with_it(tmp_path: Path) -> None:
    for seconds in (3, 10, 40):  # a busy machine may take longer to start it
        folder = tmp_path / str(seconds)
        folder.mkdir()
        pids = folder / "pids"
        Job(folder, "sleeps", {"pid_file": str(pids)}).run(timeout_seconds=seconds)
        if pids.exists() and len(pids.read_text().split()) == 2:
            break
    assert pids.exists() and not any(alive(int(pid)) for pid in pids.read_text().split())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_job_that_is_stopped_leaves_no_step_behind(tmp_path: Path, number: signal.Signals) -> None:
    pids = tmp_path / "pids"
    job = Job(tmp_path, "sleeps", {"pid_file": str(pids)})
    told = tmp_path / "spec.json"
    told.write_text(job.spec.model_dump_json())
    command = [
        sys.executable,
        "-m",
        step_messages.MODULE,
        "--spec",
        str(told),
        "--out",
        str(tmp_path / "out.json"),
    ]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        wait_for(pids.exists)
        wait_for(lambda: len(pids.read_text().split()) == 2)
        process.send_signal(number)
    first, second = map(int, pids.read_text().split())
    wait_for(lambda: not alive(first))
    if number == signal.SIGTERM:
        assert not alive(second)
    elif alive(second):
        os.kill(
            second, signal.SIGKILL
        )  # killed outright, the job could end its step only, and not what that started


def alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(is_so: Any, seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.05)


class World:
    """The activities over a Ray whose jobs are real processes, and a control API that counts what is metered."""

    def __init__(self, directory: Path, ray_url: str, capacity: str = "on-demand") -> None:
        in_force = settings.load(
            {
                "MAINSPRING_STACK_STATE_DIR": str(directory / "state"),
                "MAINSPRING_RAY_DASHBOARD_URL": ray_url,
                "MAINSPRING_RAY_CAPACITY": capacity,
                "MAINSPRING_SECRETS_FILES_DIR": str(directory / "mounted"),
                "MAINSPRING_SECRETS_PROJECT_PLACES": f"file:{directory}/mounted/{{project}}/",
            },
            directory=directory,
        )
        self.usage: dict[str, training.UsageRecord] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.may_use: tuple[int, dict[str, Any]] = (200, {})

        def answer(asked: httpx.Request) -> httpx.Response:
            if asked.method == "GET":
                return httpx.Response(200, json={"currency": "USD", "prices": {}})
            if asked.url.path.endswith("/use"):
                self.asked.append((asked.url.path, json.loads(asked.content)))
                status, body = self.may_use
                return httpx.Response(status, json=body)
            record = training.UsageRecord.model_validate_json(asked.content)
            self.usage[record.usage_key] = record
            return httpx.Response(201, json={})

        control_api = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://control")
        claims = unbilled.Unbilled.of(in_force.stack.state_dir)
        budget = budgets.Budgets(control_api, patience_seconds=60.0, claims=claims)
        self.activities = activities.PipelineActivities(
            in_force, control_api, poll_seconds=0.01, budget=budget
        )
        self.store = PipelineStore.of(in_force.stack.state_dir, "flight-delay")

    def keep(self, *nodes: pipelines.Node) -> str:
        found = pack(*nodes)
        self.store.keep_pack(found)
        return found.digest


def execute(entrypoint: str) -> str:
    """A job of Ray as it runs it: a command. SUCCEEDED or FAILED."""
    done = subprocess.run(shlex.split(entrypoint), check=False, capture_output=True, timeout=60)
    return "FAILED" if done.returncode else "SUCCEEDED"


@pytest.fixture
def ray(tmp_path: Path) -> Iterator[RayDouble]:
    token = tmp_path / "state" / "ray" / "auth_token"
    token.parent.mkdir(parents=True)
    token.write_text(TOKEN + "\n")
    with serve(RayDouble(execute=execute)) as double:
        yield double


SUM = (
    node("load", {"rows": 2}, is_spread=True),
    node(
        "square",
        {"x": pipelines.Input(node="load")},
        each="x",
        resources=pipelines.Resources(cpus=0.5, gpus=1),
    ),
    node("total", {"xs": pipelines.Input(node="square")}),
)


def test_a_step_for_spot_nodes_runs_on_those_alone_and_is_paid_by_their_price(
    tmp_path: Path, ray: RayDouble
) -> None:
    world = World(tmp_path, ray.url, "on-demand")
    steps = (
        node("load", {"rows": 2}, is_spread=True, resources=pipelines.Resources(spot=True)),
        *SUM[1:],
    )
    request = pipeline_request(pack=world.keep(*steps))
    in_execution(
        "11111111-a", world.activities.run, messages.RunStep(request=request, node="load", memory_gib=1.0)
    )
    assert ray.jobs[ray.submitted[0]]["body"]["entrypoint_resources"] == {"spot": 1}
    assert {one.capacity for one in world.usage.values()} == {"spot"}
    assert "spot" not in pipelines.Resources().model_dump(exclude_defaults=True), "digests of packs stay"


def test_a_step_is_given_a_secret_once_the_control_api_said_so_and_its_job_is_told_where_it_lies(
    tmp_path: Path, ray: RayDouble
) -> None:
    world = World(tmp_path, ray.url)
    step_of = node("connects", {"fails": False}, secrets=("warehouse",))
    request = pipeline_request(pack=world.keep(step_of))
    asked = messages.RunStep(request=request, node="connects", memory_gib=1.0)

    refusal = errors.PolicyDenied("`dev` may not", rule_id="acme.secrets")
    world.may_use = 403, errors.to_wire(refusal)
    with pytest.raises(ApplicationError) as refused:
        in_execution("11111111-a", world.activities.run, asked)
    assert refused.value.type == "policy_denied" and refused.value.non_retryable and ray.submitted == []

    place = tmp_path / "mounted" / "flight-delay" / "warehouse"
    place.parent.mkdir(parents=True)
    place.write_text("canary-4b6d2f")
    used = {"project": "flight-delay", "name": "warehouse", "place": f"file:{place}"}
    world.may_use = 200, used
    ran = in_execution("11111111-a", world.activities.run, asked)
    assert ran.value is not None and json.loads(world.store.open(ran.value.digest).read_bytes())["is_right"]
    path, said = world.asked[-1]
    assert path == "/api/v1/projects/flight-delay/secrets/warehouse/use"
    assert said == {"run_id": "run_pipe", "step": "run_pipe-connects-0-11111111"}
    told = json.dumps([job["body"] for job in ray.jobs.values()]) + ran.model_dump_json()
    assert "canary-4b6d2f" not in told and found_in(tmp_path, "canary-4b6d2f") == []


def test_a_step_is_submitted_once_an_execution_with_what_it_needs_and_metered(
    tmp_path: Path, ray: RayDouble
) -> None:
    world = World(tmp_path, ray.url, "spot")
    request = pipeline_request(pack=world.keep(*SUM))
    asked = messages.RunStep(request=request, node="load", memory_gib=1.5)
    ran = in_execution("11111111-a", world.activities.run, asked)
    assert ran == in_execution("11111111-a", world.activities.run, asked)
    assert ray.submitted == ["run_pipe-load-0-11111111-0"]
    body = ray.jobs[ray.submitted[0]]["body"]
    assert (body["entrypoint_num_cpus"], body["entrypoint_memory"]) == (1.0, int(1.5 * (1 << 30)))
    assert body["metadata"] == {"run_id": "run_pipe", "project": "flight-delay", "step": "load"}
    record, held = world.usage.values()
    assert record.consumed_quantity * 3600 == pytest.approx(ran.cpu_seconds) and ran.cpu_seconds > 0
    (entry,) = (world.store.run("run_pipe") / "jobs").glob("*/books/11111111/*.json")
    written = books.Used.model_validate_json(entry.read_bytes()).memory_byte_seconds
    assert (held.usage_key, held.sku) == (f"{record.usage_key}/memory", "memory_gib_hour")
    assert round(held.consumed_quantity * (3600 << 30)) == written
    assert (1 << 20) * ran.seconds < written < ran.peak_memory_gib * (1 << 30) * ran.seconds
    found = do(world.activities.find(messages.Find(request=request, node="load")))
    assert found.items[0].value == ran.value
    mapped = messages.RunStep(
        request=request, node="square", inputs={"x": ran.value.items[1]}, index=1, memory_gib=1
    )
    squared = in_execution("11111111-a", world.activities.run, mapped)
    assert world.store.open(squared.value.digest).read_bytes() == b"1"
    gpus = [r for key, r in world.usage.items() if key.endswith("/gpu")]
    assert [r.sku for r in gpus] == ["gpu_hour"] and gpus[0].consumed_quantity > 0
    assert {r.capacity for r in world.usage.values()} == {Capacity.SPOT}
    later = World(tmp_path, ray.url, "reserved")
    assert in_execution("11111111-a", later.activities.run, mapped) == squared
    assert {key: world.usage[key] for key in later.usage} == later.usage, "what was begun is paid as it was"
    assert len(later.usage) == 3


def test_a_run_again_is_all_cache_and_a_run_with_edited_code_does_what_changed(
    tmp_path: Path, ray: RayDouble
) -> None:
    world = World(tmp_path, ray.url)

    def go(run_id: str, digest: str, **more: Any) -> pipelines.PipelineResult:
        async def story(client: Client, _: WorkflowEnvironment) -> pipelines.PipelineResult:
            ours = WorkflowClient(client, QUEUE)
            await ours.start_pipeline(pipeline_request(run_id=run_id, pack=digest, **more))
            return await ours.pipeline_result(run_id)

        # A server of real time: the jobs take theirs.
        return run(story, [RunPipeline], [*Endpoint().activities(), *world.activities.all()], real=True)

    digest = world.keep(*SUM)
    first = go("run_1", digest)
    assert first.stage is Stage.DONE
    assert world.store.open(first.answers["answer"].digest).read_bytes() == b"1"
    assert len(ray.submitted) == 4
    second = go("run_2", digest)
    assert second.answers == first.answers and len(ray.submitted) == 4
    assert [(n.items, n.from_cache) for n in second.nodes] == [(1, 1), (2, 2), (1, 1)]
    edited = pack(*SUM)
    edited = edited.model_copy(
        update={"sources": {"steps.py": SOURCE.replace("return sum(xs)", "return sum(xs) + 1")}}
    )
    world.store.keep_pack(edited)
    third = go("run_3", edited.digest, resume_of="run_2")
    assert world.store.open(third.answers["answer"].digest).read_bytes() == b"2"
    assert third.nodes[2].why_not_cached == "changed: code of `steps.py:total`"
    assert [n.tries for n in third.nodes] == [0, 0, 1]
