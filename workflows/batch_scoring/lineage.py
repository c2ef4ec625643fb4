"""What a batch scoring tells of its data: the dataset, the features and the bundle that it read, the scores that it made."""

from __future__ import annotations

from temporalio import activity

from mainspring.core import projects
from mainspring.core.contracts import scoring
from mainspring.core.lineage import jobs
from mainspring.core.scoring import outputs
from mainspring.workflows.batch_scoring import messages
from mainspring.workflows.training import lineage as training_lineage

__all__ = ["read", "run", "scores"]


def run(request: scoring.ScoreRequest) -> jobs.JobRun:
    """One attempt."""
    attempt = activity.info().attempt if activity.in_activity() else 1
    return jobs.JobRun(request.project, "scoring.publish", request.run_id, attempt)


def read(
    request: scoring.ScoreRequest, planned: messages.Planned, features: projects.FeatureReport
) -> list[jobs.Dataset]:
    """What the scores are made of."""
    return [
        jobs.Dataset(_name(request.input), planned.input_version, "dataset"),
        *map(training_lineage.version_of, training_lineage.views(features)),
        training_lineage.model(request.bundle_digest),
    ]


def scores(request: scoring.ScoreRequest, manifest: outputs.Manifest) -> jobs.Dataset:
    """The scores, named by their bits."""
    return jobs.Dataset(
        _name(request.output), manifest.scores_digest, "scores", columns={outputs.SCORE: "float32"}
    )


def _name(uri: str) -> str:
    """Where it lies, as outside systems call it: without how the store is reached."""
    return uri.partition("?")[0].rstrip("/")
