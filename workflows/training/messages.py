"""What a training says to its activities: one message in, one out, by name. Data travels as paths and digests.

Steps that need nothing but the request take the `TrainRequest` itself.
"""

from __future__ import annotations

from typing import Any, Final

from mainspring.core.contracts.base import Digest, Message, UtcTime
from mainspring.core.contracts.evaluation import ChampionComparison, Evaluation
from mainspring.core.contracts.training import Metrics, TrainRequest, UsageRecord

INGEST: Final = "mainspring.training.ingest.v1"
VALIDATE: Final = "mainspring.training.validate.v1"
FEATURES: Final = "mainspring.training.features.v1"
JOIN: Final = "mainspring.training.join.v1"
LEAK_CHECK: Final = "mainspring.training.leak_check.v1"
FIT_PLAN: Final = "mainspring.training.fit_plan.v1"
TRAIN: Final = "mainspring.training.train.v1"
EVALUATE: Final = "mainspring.training.evaluate.v1"
COMPARE: Final = "mainspring.training.compare.v1"
BUNDLE: Final = "mainspring.training.bundle.v1"
REGISTER: Final = "mainspring.training.register.v1"
ADMIT: Final = "mainspring.training.admit.v1"
RECORD_PROBES: Final = "mainspring.training.record_probes.v1"
SET_CHAMPION: Final = "mainspring.training.set_champion.v1"
REPORT_USAGE: Final = "mainspring.run.report_usage.v1"


class Done(Message):
    """A finished step: `digest` names what it made, `made_from` what it was made from, where it knows."""

    digest: str = ""
    made_from: str = ""
    detail: dict[str, Any] = {}
    reused: bool = False


class Trained(Message):
    """A finished Ray job."""

    detail: dict[str, Any] = {}
    attempts: int
    """Ray jobs that it took."""
    output_path: str
    usage: UsageRecord
    """Of CPU time."""
    more_usage: list[UsageRecord] = []
    """Of what else it used."""


class Evaluate(Message):
    request: TrainRequest
    output_path: str


class Evaluated(Message):
    """The metrics of the request's contract, and what the gates compared."""

    metrics: dict[str, Metrics]
    gates: dict[str, Any]
    evaluation: Evaluation = Evaluation()


class Compare(Message):
    request: TrainRequest
    output_path: str
    champion: Digest


class Compared(Message):
    """What the champion does on the same rows, and what its gate compared."""

    champion: ChampionComparison
    gates: dict[str, Any] = {}


class Bundle(Message):
    request: TrainRequest
    output_path: str
    metrics: dict[str, Metrics]
    gates: dict[str, Any]
    started_at: UtcTime | None = None
    """When the execution began that made it; None: of a release that did not say."""
    evaluation: Evaluation = Evaluation()


class Bundled(Message):
    """Two bundles over the same plan: the candidate, and the logistic regression that it has to beat."""

    candidate: Digest
    baseline: Digest
    path: str
    """Of the candidate."""
    signer: str


class Register(Message):
    request: TrainRequest
    bundles: Bundled
    metrics: dict[str, Metrics]
    output_path: str


class Registered(Message):
    name: str
    version: str


class Admit(Message):
    request: TrainRequest
    bundles: Bundled


class Admitted(Message):
    """Rules that were asked, per bundle all of them said yes."""

    rules: list[str]


class SetChampion(Message):
    model: Registered


class ReportUsage(Message):
    record: UsageRecord
