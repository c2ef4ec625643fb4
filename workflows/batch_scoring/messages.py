"""What a batch scoring says to its activities: one message in, one out, by name. The plan itself is a file."""

from __future__ import annotations

from typing import Any, Final

from mainspring.core.contracts.base import Message
from mainspring.core.contracts.scoring import ScoreRequest
from mainspring.core.contracts.training import UsageRecord

PLAN: Final = "mainspring.scoring.plan.v1"
SCORE: Final = "mainspring.scoring.score.v1"
PUBLISH: Final = "mainspring.scoring.publish.v1"


class Planned(Message):
    """What is to be scored with what. `spec_path` has the rest, for the job."""

    spec_path: str
    identity: str
    """Names the scoring: bundle, features, input, time and how it is cut."""
    input_version: str
    features_digest: str
    rows: int
    parts: int


class Score(Message):
    request: ScoreRequest
    planned: Planned


class Scored(Message):
    """A finished Ray job."""

    detail: dict[str, Any] = {}
    attempts: int
    usage: UsageRecord
    """Of CPU time."""
    more_usage: list[UsageRecord] = []
    """Of what else it used."""


class Publish(Message):
    request: ScoreRequest
    planned: Planned


class Published(Message):
    """Every part is there, and the manifest says so."""

    rows: int
    parts: int
    scores_digest: str
