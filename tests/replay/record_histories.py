"""Records the histories that test_replay.py replays. Run it by hand, when a history is replaced on purpose."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "workflows" / "tests"))

from drift_check_doubles import found as drift_found
from erasing_doubles import Erasing
from key_doubles import Keys
from pipelines_doubles import Jobs, graph, step
from releasing_doubles import Released
from replay_starts import check_skew, late, push_rows, remove_old, unasked, unpaid
from replay_stories import CHECKS, ERASURES, KEYS, PIPELINES, RELEASES, RETIREMENTS, SCORES, STORIES, STUDIES
from retiring_doubles import Retirement
from retraining_doubles import alarmed
from scoring_doubles import ScoreSteps
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from training_doubles import all_activities
from tuning_doubles import Study
from workflows_doubles import run

from mainspring.workflows.access.workflow import ExpireAccess
from mainspring.workflows.batch_scoring.workflow import BatchScore
from mainspring.workflows.deployment.workflow import DeployModel
from mainspring.workflows.drift_checks.workflow import CheckDrift
from mainspring.workflows.erasing.workflow import EraseSubject
from mainspring.workflows.idling.workflow import StopIdle
from mainspring.workflows.key_rotation.workflow import RotateKeys
from mainspring.workflows.materialising.workflow import Materialize
from mainspring.workflows.pipelines.workflow import RunPipeline
from mainspring.workflows.releasing.workflow import ReleaseEndpoint
from mainspring.workflows.retention.workflow import EnforceRetention
from mainspring.workflows.retiring.workflow import RetireModel
from mainspring.workflows.retraining.workflow import RetrainOnDrift
from mainspring.workflows.skew.workflow import CheckSkew
from mainspring.workflows.training.workflow import TrainModel
from mainspring.workflows.tuning.workflow import TuneModel

HISTORIES = Path(__file__).parent / "histories"

#: What tells of the machine, and what stands there instead.
REPLACED = {"identity": "recorder", "stackTrace": ""}

#: Recorded on Temporal's own server: the one that skips time hangs where these are cancelled.
REAL = {"deploy_cancelled", "pipeline_cancelled"}


def record(name: str) -> None:
    endpoint, steps, start = STORIES[name]

    async def story(client: Client, _: WorkflowEnvironment) -> str:
        return (await (await start(client)).fetch_history()).to_json()

    scoring = SCORES.get(name, ScoreSteps()).activities(with_usage=False)
    tuning = STUDIES.get(name, Study()).activities()
    activities = [
        *all_activities(steps, endpoint),
        *scoring,
        check_skew,
        *CHECKS.get(name, alarmed()).activities(),
        *tuning,
        *PIPELINES.get(name, Jobs(graph(step("load")))).activities(),
        remove_old,
        *unasked().activities(),
        push_rows,
        late(),
        *RETIREMENTS.get(name, Retirement(stable_on=["delay"], shadow_on=["other"])).activities(
            with_events=False
        ),
        *(RELEASES.get(name) or Released(endpoint)).activities(),
        *KEYS.get(name, Keys()).activities(),
        *drift_found("scores").activities(),
        *ERASURES.get(name, Erasing()).activities(),
    ]
    if name == "idle_over_budget":
        activities = unpaid().all()
    workflows = [
        TrainModel,
        DeployModel,
        BatchScore,
        CheckSkew,
        RetrainOnDrift,
        TuneModel,
        EnforceRetention,
        Materialize,
        ExpireAccess,
        RunPipeline,
        RetireModel,
        ReleaseEndpoint,
        RotateKeys,
        CheckDrift,
        StopIdle,
        EraseSubject,
    ]
    history = run(story, workflows, activities, real=name in REAL)
    (HISTORIES / f"{name}.json").write_text(
        json.dumps(without_machine(json.loads(history)), indent=1, sort_keys=True) + "\n"
    )


def without_machine(value: Any) -> Any:
    """Who ran it, where, has no place in a stored history."""
    if isinstance(value, dict):
        return {k: REPLACED.get(k, without_machine(v)) for k, v in value.items()}
    return [without_machine(v) for v in value] if isinstance(value, list) else value


if __name__ == "__main__":
    for chosen in sys.argv[1:] or STORIES:
        record(chosen)
    sys.stdout.flush()
    os._exit(0)  # the interpreter's end aborts now and then after a Temporal client was alive
