"""The plain `temporal` command beside encrypted runs: it starts one with JSON, and reads with our codec server only."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "workflows" / "tests"))

from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from workflows_doubles import QUEUE, Endpoint, deploy_request, program, run

from mainspring.core.client import payloads as sealed
from mainspring.core.contracts import deployment
from mainspring.platform.cli import payloads
from mainspring.workflows.deployment.workflow import DeployModel

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]


def temporal(address: str, *arguments: str) -> str:
    command = [program("temporal"), *arguments, "--address", address, "-o", "json"]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout


def test_the_temporal_command_starts_with_json_and_reads_by_the_codec_server(tmp_path: Path) -> None:
    sealed.ensure_keys(tmp_path / "keys")
    codec = sealed.SealedPayloads(tmp_path / "keys")

    async def story(client: Client, _: WorkflowEnvironment) -> None:
        address = client.service_client.config.target_host
        start = ("workflow", "start", "--type", deployment.DEPLOY_WORKFLOW, "--task-queue", QUEUE)
        request = deploy_request(requested_by="somebody_here").model_dump_json()
        await asyncio.to_thread(temporal, address, *start, "--workflow-id", "run_deploy", "--input", request)
        result = await client.get_workflow_handle("run_deploy", result_type=deployment.DeployResult).result()
        assert result.run_id == "run_deploy"
        bare = await asyncio.to_thread(temporal, address, "workflow", "result", "-w", "run_deploy")
        assert "run_deploy" not in json.dumps(json.loads(bare).get("result")), "it is encrypted"
        with payloads.CodecServer(0, codec, "right") as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            options = [word for option in server.options().items() for word in option]
            told = await asyncio.to_thread(
                temporal, address, "workflow", "result", "-w", "run_deploy", *options
            )
            server.shutdown()
            thread.join()
        assert deployment.DeployResult.model_validate(json.loads(told)["result"]) == result

    run(
        story,
        [DeployModel],
        Endpoint().activities(),
        real=True,
        converter=sealed.converter_of(codec),
    )
