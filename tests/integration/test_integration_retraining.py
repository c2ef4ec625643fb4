"""A process that starts a training: the retraining's start against the real control API and Temporal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from temporalio.testing import WorkflowEnvironment

from mainspring.core import errors, identity, settings
from mainspring.core.client import control as control_client
from mainspring.core.contracts import control, retraining
from mainspring.workflows.retraining import activities, messages

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

REQUEST = retraining.RetrainRequest(project="flight-delay", endpoint="flight-delay")


@dataclass(frozen=True)
class Platform:
    settings: settings.Settings
    issuer: identity.TokenIssuer

    def client(self, actor: str) -> control_client.ControlClient:
        return control_client.ControlClient(self.settings.control_url, self.issuer.token_of(actor))

    def start(self, key: str) -> messages.Started:
        """As the workflow asks for it."""

        async def main() -> messages.Started:
            token = self.issuer.token_of("service@local")
            async with httpx.AsyncClient(
                base_url=self.settings.control_url,
                headers={"authorization": f"Bearer {token}"},
                trust_env=False,
                timeout=30,
            ) as http:
                made = activities.RetrainingActivities(self.settings, http)
                return await made.start(
                    messages.Start(request=REQUEST, alarms=("calibration: off",), key=key)
                )

        return asyncio.run(main())


@contextlib.contextmanager
def control_api(s: settings.Settings, variables: dict[str, str], folder: Path) -> Iterator[None]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAINSPRING_")} | variables
    with (folder / "control.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mainspring.platform"], cwd=folder, env=environment, stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 60
        with httpx.Client(trust_env=False) as http:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if http.get(f"{s.control_url}/readyz").status_code == 200:
                        break
                assert time.monotonic() < deadline and process.poll() is None, (
                    folder / "control.log"
                ).read_text()
                time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(timeout=20)


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(
        WorkflowEnvironment.start_local(
            dev_server_existing_path=str(Path(sys.executable).parent / "temporal")
        )
    )
    try:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        variables = {
            "MAINSPRING_CONTROL_PORT": str(port),
            "MAINSPRING_WORKFLOW_ADDRESS": server.client.service_client.config.target_host,
        }
        s = settings.load(variables, directory=tmp_path)
        issuer = identity.ensure_token_file(s.control.tokens_file)
        with control_api(s, variables, tmp_path):
            yield Platform(s, issuer)
    finally:
        loop.run_until_complete(server.shutdown())
        loop.close()


def test_an_alarm_is_one_training_on_record_and_a_process_starts_none_without_a_cause(
    platform: Platform,
) -> None:
    with platform.client("developer@local") as developer, platform.client("service@local") as service:
        developer.create_project(control.ProjectCreate(name="flight-delay", owner="team"))
        started = platform.start("retrain-flight-delay-1")
        assert started.run_id and started.message == "training started: calibration: off"
        run = developer.run(started.run_id)
        assert (run.cause, run.requested_by) == ("calibration: off", "service@local")
        joined = platform.start("retrain-flight-delay-2")
        assert joined.run_id == started.run_id and "is on its way" in joined.message
        assert len(developer.runs(project="flight-delay").items) == 1
        for refused in (
            control.RunCreate(project="flight-delay"),
            control.RunCreate(
                project="flight-delay",
                kind=control.RunKind.DEPLOY,
                endpoint="flight-delay",
                bundle_digest="sha256:" + "a" * 64,
                cause="drift",
            ),
        ):
            with pytest.raises(errors.Denied):
                service.create_run(refused)
        audit = [(r["action"], r["actor"], r["outcome"]) for r in developer.audit().items]
        assert audit.count(("run.start", "service@local", "denied")) == 2
        assert ("run.start", "service@local", "intended") in audit
