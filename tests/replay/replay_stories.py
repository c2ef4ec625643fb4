"""The stories of stored histories: what each process meets in them, by name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from erasing_doubles import Erasing
from key_doubles import OLD, Keys
from pipelines_doubles import Jobs, gate, graph, parts, pipeline_request, raised, step
from releasing_doubles import Released
from replay_starts import (
    breached,
    cancelled,
    checked,
    decided,
    deploy,
    erased,
    expired,
    idled,
    materialized,
    piped,
    queued,
    released,
    removed,
    retired,
    retrained,
    rotated,
    score,
    skewed,
    steered_to_its_end,
    train,
    tuned,
)
from retiring_doubles import Retirement
from retraining_doubles import Watched
from scoring_doubles import ScoreSteps, score_request
from temporalio.client import Client, WorkflowHandle
from training_doubles import Steps, train_request
from tuning_doubles import Study, tune_request
from workflows_doubles import STABLE, Endpoint, deploy_request

from mainspring.core import errors
from mainspring.core.contracts import (
    deployment,
    pipelines,
)
from mainspring.core.contracts.canaries import CanaryOrder
from mainspring.workflows.batch_scoring import messages as scoring_messages
from mainspring.workflows.batch_scoring.workflow import BatchScore
from mainspring.workflows.deployment.workflow import DeployModel
from mainspring.workflows.erasing import messages as erasing_messages
from mainspring.workflows.key_rotation import messages as key_messages
from mainspring.workflows.pipelines.workflow import RunPipeline
from mainspring.workflows.retiring import messages as retiring_messages
from mainspring.workflows.retraining import messages as retraining_messages
from mainspring.workflows.training import messages
from mainspring.workflows.training.workflow import TrainModel
from mainspring.workflows.tuning.workflow import TuneModel

Story = Callable[[Client], Awaitable[WorkflowHandle[Any, Any]]]


#: What a batch scoring's own steps are in a story; where it has none, they succeed.
SCORES: dict[str, ScoreSteps] = {
    "score_bad_rows": ScoreSteps(
        failing={scoring_messages.SCORE: errors.DataInvalid("infinite", dataset="rows", failed=("x",))}
    ),
    "score_cancelled": ScoreSteps(scores_for_ever=True),
}

#: The studies, likewise.
STUDIES: dict[str, Study] = {
    "tune_no_trial": Study(error=errors.JobFailed("none of 2 trials came to a result", status="no_trial")),
    "tune_cut_short": Study(is_cut_short=True),
    "tune_cancelled": Study(for_ever=True),
}

#: The retirements, likewise.
RETIREMENTS: dict[str, Retirement] = {
    "retire_cannot_move": Retirement(
        stable_on=["delay"],
        failing={retiring_messages.MOVE: errors.Conflict("a canary is in flight", resource="endpoint")},
    )
}

#: What serving says to releases, likewise.
RELEASES: dict[str, Released] = {
    "release_refused": Released(failing=errors.Conflict("a canary is in flight", resource="endpoint"))
}

#: The keys, likewise.
KEYS: dict[str, Keys] = {
    "keys_not_switched": Keys(
        failing={key_messages.SWITCH: errors.Conflict("somebody else changes keys", resource="keys")}
    )
}

#: The erasures, likewise.
ERASURES: dict[str, Erasing] = {
    "erase_came_again": Erasing(
        failing={erasing_messages.PROVE: errors.Conflict("rows came again", resource="place")}
    )
}

#: What retrainings find, likewise.
CHECKS: dict[str, Watched] = {
    "retrain_nothing_known": Watched(retraining_messages.Checked(message="nothing is known yet"))
}

#: The pipelines, likewise.
PIPELINES: dict[str, Jobs] = {
    "pipeline_approved": Jobs(
        graph(
            step("split", is_spread=True),
            step("score", "split", each="a0"),
            step("sum", "score"),
            gate("release", "sum", count=2),
            step("publish", "release"),
        ),
        answers={"split": parts("p", "q", "r")},
    ),
    "pipeline_failed": Jobs(
        graph(
            step("load"),
            step("flaky", "load", retry=pipelines.Retry(times=1, pause_seconds=30.0)),
            step("after", "flaky"),
        ),
        failing={"flaky": [raised("TimeoutError", "OSError")] * 2},
    ),
    # One item fails beside its like, what needs them is skipped, and what does not goes on.
    "pipeline_one_item_failed": Jobs(
        graph(
            step("split", is_spread=True),
            step("score", "split", each="a0"),
            step("sum", "score"),
            step("other"),
            answer="other",
        ),
        answers={"split": parts("p", "q")},
        failing={"score-1": [raised("ValueError")]},
    ),
    "pipeline_rejected": Jobs(graph(step("load"), gate("release", "load"), step("publish", "release"))),
    "pipeline_nobody_decided": Jobs(graph(step("load"), gate("release", "load"), step("publish", "release"))),
    "pipeline_cancelled": Jobs(graph(step("load"), step("long", "load")), for_ever="long"),
}


def unrecorded() -> Endpoint:
    """The control API refuses what is reported, and goes on refusing: also the undo and the end."""
    return Endpoint(report_error=errors.NotFound("no such run", resource="run", name="run"))


def taken() -> Endpoint:
    """Somebody else moves the traffic as soon as there is a canary."""
    made = Endpoint()

    async def move(table: deployment.TrafficTable) -> None:
        made.traffic = table.model_copy(
            update={"version": table.version + 1, "canary": None, "canary_percent": 0, "set_by": "run_other"}
        )

    made.when_changed = move
    return made


def watched_by_nobody() -> Endpoint:
    """A canary that is never sure, so that a deployment waits in it."""
    return Endpoint(requests=10)


#: What waits in its canary, and what trains for ever, until their stories cancel them.
WAITING, LEARNING = watched_by_nobody(), Steps(trains_for_ever=True)

#: What is steered by people.
STEERED, ABORTED, BREACHED = watched_by_nobody(), watched_by_nobody(), watched_by_nobody()
SHADOWED = watched_by_nobody()

#: What others wait for.
AHEAD = [watched_by_nobody() for _ in range(5)]

#: Name -> endpoint, steps, and what is started with which changes.
STORIES: dict[str, tuple[Endpoint, Steps, Story]] = {
    "deploy_promoted": (Endpoint(), Steps(), deploy),
    "deploy_waits_and_rolls_back": (
        Endpoint(requests=10, errors_at={25: 3}),
        Steps(),
        lambda client: deploy(client, step_seconds=2.0),
    ),
    "train_approved_and_deployed": (
        Endpoint(traffic=None),
        Steps(),
        lambda client: train(client, auto_approve_by="ana"),
    ),
    "train_nobody_decided": (Endpoint(), Steps(), train),
    "skew_found": (Endpoint(), Steps(), skewed),
    "retrain_started": (Endpoint(), Steps(), retrained),
    "materialized": (Endpoint(), Steps(), materialized),
    "retention_removed": (Endpoint(), Steps(), removed),
    "retire_replaced": (Endpoint(), Steps(), lambda client: retired(client, replace_by=STABLE)),
    "release_done": (Endpoint(), Steps(), released),
    "release_of_nothing": (Endpoint(traffic=None), Steps(), released),
    "release_refused": (Endpoint(), Steps(), released),
    "release_unrecorded": (unrecorded(), Steps(), released),
    "retire_revoked": (Endpoint(), Steps(), lambda client: retired(client, is_revocation=True)),
    "access_expired": (Endpoint(), Steps(), expired),
    "erase_certified": (Endpoint(), Steps(), erased),
    "erase_rejected": (Endpoint(), Steps(), lambda client: erased(client, approve=False)),
    "erase_came_again": (Endpoint(), Steps(), erased),
    "idle_stopped": (Endpoint(), Steps(), idled),
    "idle_over_budget": (Endpoint(), Steps(), idled),
    "drift_found": (Endpoint(), Steps(), checked),
    "keys_rotated": (Endpoint(), Steps(), rotated),
    "keys_denied": (
        Endpoint(),
        Steps(),
        lambda client: rotated(client, action="deny", key_id=OLD, change_id="deny-1"),
    ),
    "keys_vouched": (
        Endpoint(),
        Steps(),
        lambda client: rotated(client, action="vouch", bundles=[STABLE], change_id="vouch-1"),
    ),
    "keys_not_switched": (Endpoint(), Steps(), rotated),
    "tune_best_trained": (Endpoint(), Steps(), tuned),
    "tune_no_trial": (Endpoint(), Steps(), tuned),
    "pipeline_approved": (Endpoint(), Steps(), piped),
    "pipeline_failed": (Endpoint(), Steps(), piped),
    "score_published": (Endpoint(), Steps(), score),
    "score_bad_rows": (Endpoint(), Steps(), score),
    "train_gate_failed": (
        Endpoint(),
        Steps(
            failing={
                messages.EVALUATE: errors.GateFailed("auc too low", gate="min_auc", expected="1", got="0")
            }
        ),
        train,
    ),
    "deploy_first_bundle": (Endpoint(traffic=None), Steps(), deploy),
    "deploy_already_stable": (Endpoint(), Steps(), lambda client: deploy(client, bundle_digest=STABLE)),
    "deploy_beside_a_canary": (
        Endpoint(
            traffic=deployment.TrafficTable(
                endpoint="flight-delay",
                version=3,
                stable=STABLE,
                canary="sha256:" + "c" * 64,
                canary_percent=5,
                set_by="run_other",
            )
        ),
        Steps(),
        deploy,
    ),
    "deploy_of_another_project": (Endpoint(bundle_project="other"), Steps(), deploy),
    "deploy_looks_again": (
        # A step of 5 s has 21 looks; none of them counts, and the one more does.
        Endpoint(uncounted=21),
        Steps(),
        lambda client: deploy(client, step_seconds=5.0, canary_percents=[5]),
    ),
    "deploy_taken_over": (taken(), Steps(), deploy),
    "deploy_unrecorded": (unrecorded(), Steps(), deploy),
    "deploy_cancelled": (
        WAITING,
        Steps(),
        lambda client: cancelled(
            client, DeployModel.run, deploy_request(step_seconds=60.0), WAITING.canary_seen
        ),
    ),
    "deploy_steered": (
        STEERED,
        Steps(),
        lambda client: steered_to_its_end(
            client,
            STEERED,
            (CanaryOrder.PAUSE, 0),
            (CanaryOrder.RESUME, 0),
            (CanaryOrder.PROMOTE, 0),
            (CanaryOrder.PAUSE, 0),
            (CanaryOrder.PROMOTE, 100),
        ),
    ),
    "deploy_aborted": (
        ABORTED,
        Steps(),
        lambda client: steered_to_its_end(client, ABORTED, (CanaryOrder.PAUSE, 0), (CanaryOrder.ABORT, 0)),
    ),
    "deploy_shadow_then_canary": (
        Endpoint(),
        Steps(),
        lambda client: deploy(client, shadow_seconds=1.0, max_score_psi=0.2, canary_percents=[5]),
    ),
    "deploy_shadow_breached": (
        Endpoint(score_bins={0: 30}),
        Steps(),
        lambda client: deploy(client, shadow_seconds=60.0, max_score_psi=0.2),
    ),
    "deploy_shadow_steered": (
        SHADOWED,
        Steps(),
        lambda client: steered_to_its_end(
            client,
            SHADOWED,
            (CanaryOrder.PAUSE, 0),
            (CanaryOrder.RESUME, 0),
            (CanaryOrder.PROMOTE, 0),
            (CanaryOrder.PROMOTE, 100),
            shadow_seconds=600.0,
        ),
    ),
    "deploy_queued": (AHEAD[0], Steps(), lambda client: queued(client, AHEAD[0])),
    "deploy_queue": (AHEAD[1], Steps(), lambda client: queued(client, AHEAD[1], of_queue=True)),
    "deploy_queued_and_aborted": (
        AHEAD[2],
        Steps(),
        lambda client: queued(client, AHEAD[2], is_aborted=True),
    ),
    "deploy_queued_too_long": (
        AHEAD[3],
        Steps(),
        lambda client: queued(client, AHEAD[3], max_wait_seconds=1500.0),
    ),
    "deploy_queue_looked_at": (
        AHEAD[4],
        Steps(),
        lambda client: queued(client, AHEAD[4], of_queue=True, max_wait_seconds=150.0),
    ),
    "deploy_breached_while_paused": (BREACHED, Steps(), lambda client: breached(client, BREACHED)),
    "deploy_of_a_training": (
        Endpoint(errors_at={5: 50}),
        Steps(),
        lambda client: deploy(client, parent_run_id="run_train", probe_rows=0),
    ),
    "train_approved_by_a_person": (Endpoint(), Steps(), lambda client: decided(client, approve=True)),
    "train_rejected": (
        Endpoint(),
        Steps(),
        lambda client: decided(client, approve=False, reason="not this month"),
    ),
    "train_beside_the_champion": (
        Endpoint(),
        Steps(),
        lambda client: train(client, auto_approve_by="ana"),
    ),
    "train_worse_than_the_champion": (
        Endpoint(),
        Steps(failing={messages.COMPARE: errors.GateFailed("worse", gate="min_champion_gain")}),
        train,
    ),
    "train_not_deployed": (
        Endpoint(),
        Steps(),
        lambda client: train(client, auto_approve_by="ana", deploy_to=""),
    ),
    "train_rolled_back": (
        Endpoint(errors_at={5: 50}),
        Steps(),
        lambda client: train(client, auto_approve_by="ana"),
    ),
    "train_lake_replaced": (Endpoint(), Steps(features_made_from="another lake"), train),
    "train_unrecorded": (unrecorded(), Steps(), train),
    "train_cancelled": (
        Endpoint(),
        LEARNING,
        lambda client: cancelled(client, TrainModel.run, train_request(), LEARNING.training_started),
    ),
    "tune_cut_short": (Endpoint(), Steps(), lambda client: tuned(client, train_best=False)),
    "tune_lake_replaced": (Endpoint(), Steps(features_made_from="another lake"), tuned),
    "tune_unrecorded": (unrecorded(), Steps(), tuned),
    "tune_cancelled": (
        Endpoint(),
        Steps(),
        lambda client: cancelled(client, TuneModel.run, tune_request(), STUDIES["tune_cancelled"].begun),
    ),
    "score_unrecorded": (unrecorded(), Steps(), score),
    "score_cancelled": (
        Endpoint(),
        Steps(),
        lambda client: cancelled(
            client, BatchScore.run, score_request(), SCORES["score_cancelled"].scoring_started
        ),
    ),
    "retire_cannot_move": (Endpoint(), Steps(), lambda client: retired(client, replace_by=STABLE)),
    "retire_unrecorded": (unrecorded(), Steps(), retired),
    "retrain_nothing_known": (Endpoint(), Steps(), retrained),
    "pipeline_one_item_failed": (Endpoint(), Steps(), piped),
    "pipeline_rejected": (
        Endpoint(),
        Steps(),
        lambda client: piped(client, deciding=("eva",), approve=False),
    ),
    "pipeline_nobody_decided": (Endpoint(), Steps(), lambda client: piped(client, deciding=())),
    "pipeline_unrecorded": (unrecorded(), Steps(), lambda client: piped(client, deciding=())),
    "pipeline_cancelled": (
        Endpoint(),
        Steps(),
        lambda client: cancelled(
            client, RunPipeline.run, pipeline_request(), PIPELINES["pipeline_cancelled"].begun
        ),
    ),
}
