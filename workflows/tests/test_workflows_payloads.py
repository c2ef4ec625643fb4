"""What Temporal's own database holds of runs and schedules when payloads are encrypted: no word of them."""

from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from training_doubles import Steps, all_activities, train_request
from workflows_doubles import QUEUE, Endpoint, run

from mainspring.core import errors
from mainspring.core.client import payloads
from mainspring.core.client.schedules import ScheduleClient
from mainspring.core.client.workflows import WorkflowClient
from mainspring.core.contracts import schedules, training
from mainspring.core.contracts.training import Stage
from mainspring.workflows.deployment.workflow import DeployModel
from mainspring.workflows.training import messages
from mainspring.workflows.training.workflow import TrainModel

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]

#: Of a request, a decision, a failure and a schedule; `flight-delay`, which is in every request, is also an id here.
WORDS = (b"secret_requester", b"secret_reason", b"secret_failure", b"secret-service", b"requested_by")


def held(database: Path) -> bytes:
    """Every byte that the server has on disk."""
    return b"".join(
        p.read_bytes() for p in sorted(database.parent.iterdir()) if p.name.startswith(database.name)
    )


async def story(client: Client, steps: Steps) -> None:
    """A run that is decided, one that fails, a schedule."""
    ours = WorkflowClient(client, QUEUE)
    await ours.start_training(train_request(requested_by="secret_requester"))
    async for status in ours.watch("run_train", poll_seconds=0.05):
        if status.stage is Stage.APPROVAL:
            break
    await ours.decide("run_train", training.Decision(approve=False, by="bo", reason="secret_reason"))
    assert (await ours.training_result("run_train")).stage is Stage.REJECTED
    steps.failing[messages.INGEST] = errors.DataInvalid("secret_failure", dataset="lake", failed=("rows",))
    await ours.start_training(train_request(run_id="run_bad", project="secret-service"))
    with pytest.raises(errors.DataInvalid, match="secret_failure"):
        await ours.training_result("run_bad")
    every = ScheduleClient(client, QUEUE)
    asked = schedules.ScheduleCreate(every_minutes=60, is_paused=True, request={"max_rows": 424243})
    await every.put("tiny", schedules.Process.SKEW, asked)
    assert (await every.find("tiny", schedules.Process.SKEW)).request == {"max_rows": 424243}


def told(tmp_path: Path, codec: payloads.SealedPayloads | None) -> bytes:
    database = tmp_path / "temporal.db"
    steps = Steps()

    async def within(client: Client, _: WorkflowEnvironment) -> bytes:
        await story(client, steps)
        return held(database)

    return run(
        within,
        [TrainModel, DeployModel],
        all_activities(steps, Endpoint()),
        real=True,
        database=database,
        converter=payloads.converter_of(codec),
    )


def test_no_word_of_a_run_is_in_temporals_database(tmp_path: Path) -> None:
    payloads.ensure_keys(tmp_path / "keys")
    found = told(tmp_path, payloads.SealedPayloads(tmp_path / "keys"))
    assert b"run_train" in found, "ids are not encrypted; and the file is the right one"
    assert [word for word in WORDS if word in found] == []
    assert b"424243" not in found


def test_without_a_codec_they_are(tmp_path: Path) -> None:
    """The words above would be seen if they were there."""
    found = told(tmp_path, None)
    assert [word for word in WORDS if word not in found] == []
    assert b"424243" in found
