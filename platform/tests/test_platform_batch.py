"""`mainspring batch score` against a control API: what it sends, what it shows on the way, and how it leaves."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvicorn

from mainspring.core import errors, identity, settings
from mainspring.core.client import control as control_client
from mainspring.core.contracts import control, scoring, training
from mainspring.platform import app as control_app
from mainspring.platform.runs import launcher

pytestmark = pytest.mark.integration

BUNDLE = "sha256:" + "b" * 64


class Scorings(launcher.MemoryLauncher):
    """Runs that go through `statuses`, one at each look; the last one stays."""

    def __init__(self) -> None:
        super().__init__()
        self.statuses = [("score", "10 of 100 rows, 1 of 4 parts"), ("done", "100 rows scored")]
        self.error: errors.MainspringError | None = None

    async def status(self, run_id: str) -> training.RunStatus:
        await super().status(run_id)
        stage, message = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        wire = errors.to_wire(self.error) if self.error is not None and stage == "failed" else {}
        return training.RunStatus(run_id=run_id, stage=training.Stage(stage), message=message, error=wire)


class Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listens = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.listens.set()


@dataclass
class World:
    folder: Path
    port: int
    scorings: Scorings = field(default_factory=Scorings)

    def score(self, *more: str, project: str = "flight-delay") -> subprocess.CompletedProcess[str]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MAINSPRING_")}
        command = [sys.executable, "-m", "mainspring.platform.cli.main", "batch", "score", project]
        return subprocess.run(
            [*command, "--bundle", BUNDLE, "--output", "s3://bucket/out", *more],
            cwd=self.folder,
            env={**environment, "MAINSPRING_CONTROL_PORT": str(self.port)},
            capture_output=True,
            text=True,
            timeout=60,
        )

    @property
    def started(self) -> list[scoring.ScoreRequest]:
        return [r for r in self.scorings.started.values() if isinstance(r, scoring.ScoreRequest)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    listener = socket.create_server(("127.0.0.1", 0))
    made = World(tmp_path, listener.getsockname()[1])
    s = settings.load({}, directory=tmp_path)
    issuer = identity.ensure_token_file(s.control.tokens_file)
    app = control_app.create_app(s, issuer=issuer, launcher=made.scorings)
    server = Server(uvicorn.Config(app, log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    assert server.listens.wait(30)
    url = f"http://127.0.0.1:{made.port}"
    with control_client.ControlClient(url, issuer.token_of("developer@local")) as client:
        client.create_project(control.ProjectCreate(name="flight-delay", owner="team"))
    yield made
    server.should_exit = True
    thread.join(30)
    listener.close()


def test_it_starts_and_follows_to_the_end(world: World) -> None:
    done = world.score(
        "--input", "in", "--as-of", "2013-12-01T10:00:00Z", "--part-rows", "9", "--wait", "--json"
    )
    assert done.returncode == 0, done.stderr
    [request] = world.started
    # A path of here, as the worker understands it.
    assert (request.input, request.output) == (str(world.folder / "in"), "s3://bucket/out")
    assert request.as_of is not None and request.as_of.isoformat() == "2013-12-01T10:00:00+00:00"
    assert (request.part_rows, request.bundle_digest) == (9, BUNDLE)
    assert "score, 10 of 100 rows, 1 of 4 parts" in done.stderr
    assert json.loads(done.stdout)["data"]["stage"] == "done"


def test_the_same_key_is_the_same_run(world: World) -> None:
    one, two = (world.score("--input", "/in", "--key", "k", "--json") for _ in range(2))
    assert one.returncode == two.returncode == 0
    assert json.loads(one.stdout)["data"]["run_id"] == json.loads(two.stdout)["data"]["run_id"]
    assert len(world.started) == 1
    other = world.score("--input", "/other", "--key", "k")
    assert other.returncode == 1 and "another request" in other.stderr


def test_a_failure_is_the_runs_own_error(world: World) -> None:
    world.scorings.statuses = [("score", ""), ("failed", "infinite")]
    world.scorings.error = errors.PolicyDenied("`/x` lies below none", rule_id="scoring.roots", cause="/x")
    done = world.score("--input", "/in", "--wait")
    assert done.returncode == 3 and "error: `/x` lies below none" in done.stderr


def test_cancelled_and_slow_runs_leave_with_their_codes(world: World) -> None:
    world.scorings.statuses = [("cancelled", "cancelled")]
    done = world.score("--input", "/in", "--wait")
    assert done.returncode == 1 and "ended as `cancelled`" in done.stderr
    world.scorings.statuses = [("score", "")]
    done = world.score("--input", "/in", "--wait", "--timeout-seconds", "0")
    assert done.returncode == 5 and "mainspring run watch" in done.stderr


def test_what_it_may_cost_is_held_against_the_budget(world: World) -> None:
    url = f"http://127.0.0.1:{world.port}"
    issuer = identity.TokenIssuer.load(settings.load({}, directory=world.folder).control.tokens_file)
    with control_client.ControlClient(url, issuer.token_of("developer@local")) as client:
        client.create_project(control.ProjectCreate(name="small", owner="team", monthly_budget=5.0))
    dear = world.score("--input", "/in", "--max-cost", "6", project="small")
    assert dear.returncode == 3 and "budget" in dear.stderr and world.started == []
    assert world.score("--input", "/in", "--max-cost", "4", project="small").returncode == 0
    assert [r.project for r in world.started] == ["small"]


def test_usage_errors_start_nothing(world: World) -> None:
    assert world.score().returncode == 2
    assert world.score("--input", "/in", "--part-rows", "0").returncode == 2
    assert world.score("--input", "/in", "--as-of", "yesterday").returncode == 2
    assert world.score("--input", "/in", "--as-of", "2013-12-01T10:00:00").returncode == 2
    assert world.started == []
