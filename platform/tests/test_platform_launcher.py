"""The launcher that connects late, and the process that serves."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mainspring.core import errors, identity, settings
from mainspring.core.client import control as control_client
from mainspring.core.contracts import control, training
from mainspring.platform import __main__ as process
from mainspring.platform.runs import launcher

REQUEST = training.TrainRequest(run_id="run_a", project="flight-delay", requested_by="x")


def test_it_connects_once_and_again_after_a_failure() -> None:
    engine, tries = launcher.MemoryLauncher(), 0

    async def connect() -> launcher.RunLauncher:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise errors.DependencyDown("away", name="temporal")
        return engine

    async def story() -> None:
        lazy = launcher.LazyLauncher(connect)
        assert tries == 0
        with pytest.raises(errors.DependencyDown):
            await lazy.start_training(REQUEST)
        await asyncio.gather(*(lazy.start_training(REQUEST) for _ in range(3)))
        await lazy.decide("run_a", training.Decision(approve=False, by="y"), intent_id="i")
        assert (await lazy.status("run_a")).stage is training.Stage.REJECTED
        with pytest.raises(errors.NotFound):
            await lazy.cancel("run_b")

    asyncio.run(story())
    assert tries == 2 and list(engine.started) == ["run_a"]


@pytest.mark.integration
def test_the_process_and_the_command_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    chosen = {"MAINSPRING_CONTROL_PORT": str(port)}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAINSPRING_")} | chosen
    s = settings.load(chosen, directory=tmp_path)
    issuer = identity.ensure_token_file(s.control.tokens_file)
    server = subprocess.Popen(
        [sys.executable, "-m", "mainspring.platform"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def mainspring(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mainspring.platform.cli.main", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
        )

    try:
        with control_client.ControlClient(s.control_url, issuer.token_of("developer@local")) as client:
            while not client.is_ready():
                assert server.poll() is None
                time.sleep(0.1)  # nothing announces that another process listens
            assert mainspring("project", "create", "flight-delay", "--owner", "team").returncode == 0
            assert client.project("flight-delay") == control.ProjectView.model_validate(
                client.projects().items[0]
            )
        assert "flight-delay  team" in mainspring("project", "list").stdout
        assert mainspring("run", "list").stdout.startswith("run_id")
        assert mainspring("project", "create", "bb", "--owner", "t", "--as", "approver@local").returncode == 3
        assert "ok: True" in mainspring("audit", "verify").stdout
        assert mainspring("audit", "export", "--out", "log.ndjson").returncode == 0
        folder = s.stack.state_dir / "audit"
        signed = (
            "--checkpoints",
            str(folder / "checkpoints.jsonl"),
            "--public-key",
            str(folder / "public.pem"),
        )
        assert "ok: True" in mainspring("audit", "verify", "--export", "log.ndjson", *signed).stdout
        assert "total: 0.0" in mainspring("cost", "report").stdout
        assert mainspring("cost", "serving", "--by", "caller").stdout.splitlines()[1].startswith("total")
        assert mainspring("run", "show", "run_no").returncode == 1
        assert "ready: True" in mainspring("status").stdout
    finally:
        server.terminate()
        assert server.wait(30) in (0, -15)


@pytest.mark.integration
def test_up_and_down_of_one_part(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("MAINSPRING_")}

    def mainspring(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mainspring.platform.cli.main", *arguments]
        environment = {**inherited, "MAINSPRING_CONTROL_PORT": str(port)}
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100
        )

    try:
        assert mainspring("up", "--only", "nothing").returncode == 2
        started = mainspring("up", "--only", "control")
        assert started.returncode == 0, started.stderr
        assert "control answers after" in started.stderr and "control" in started.stdout
        assert mainspring("up", "--only", "control").returncode == 1
        assert '"control": true' in mainspring("status").stdout
    finally:
        ended = mainspring("down")
    assert ended.stdout == "ended: 1\n"
    assert mainspring("status").returncode == 1


def test_the_process_takes_no_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["mainspring.platform", "contracts", "export"])
    assert process.main() == 2
    assert "takes no `contracts export`" in capsys.readouterr().err
