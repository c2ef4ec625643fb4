"""What starts a training, what it reports, and what it answers. Workflow type: `mainspring.TrainModel.v1`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import Field

from mainspring.core.contracts.base import Digest, Fraction, Message, Slug, UtcTime
from mainspring.core.contracts.capacity import Capacity
from mainspring.core.contracts.evaluation import Evaluation
from mainspring.core.contracts.progress import StepProgress

TRAIN_WORKFLOW: Final = "mainspring.TrainModel.v1"
STATUS_QUERY: Final = "status"
DECIDE_UPDATE: Final = "decide"


class Stage(StrEnum):
    """Where a run is. Only grows."""

    PENDING = "pending"
    INGEST = "ingest"
    VALIDATE = "validate"
    FEATURES = "features"
    JOIN = "join"
    LEAK_CHECK = "leak_check"
    FIT_PLAN = "fit_plan"
    TRAIN = "train"
    EVALUATE = "evaluate"
    BUNDLE = "bundle"
    REGISTER = "register"
    POLICY = "policy"
    APPROVAL = "approval"
    DEPLOY = "deploy"
    WARM = "warm"
    SHADOW = "shadow"
    CANARY = "canary"
    PROMOTE = "promote"
    PLAN = "plan"
    SCORE = "score"
    TUNE = "tune"
    PUBLISH = "publish"
    STEP = "step"
    """Of a pipeline: its report's detail has the step's own name."""
    DONE = "done"
    ROLLED_BACK = "rolled_back"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    FAILED = "failed"


class ModelChanges(Message):
    """What is otherwise than in the project's own model; None: as there."""

    hidden_sizes: tuple[Annotated[int, Field(ge=1)], ...] | None = None
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    batch_rows: Annotated[int, Field(ge=1)] | None = None
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    weight_decay: Annotated[float, Field(ge=0)] | None = None


class RollingDays(Message):
    """How long the parts of a split by time are, back from its end."""

    test_days: Annotated[float, Field(gt=0, le=3660)] = 30.0
    valid_days: Annotated[float, Field(gt=0, le=3660)] = 14.0
    train_days: Annotated[float, Field(gt=0, le=36_600)] | None = None
    """None: all there is before."""


class RollingSplit(RollingDays):
    """A split by time that ends at `until`: nothing later is learned from or judged by."""

    until: UtcTime


class TrainRequest(Message):
    """One training of one project."""

    run_id: str
    """`run_...`; also the idempotency key and the Temporal workflow id."""
    project: Slug
    environment: str = "dev"
    requested_by: str
    sample_fraction: Fraction = 1.0
    """Share of labelled rows, chosen by a hash of the row key; quality gates below 1.0 follow the project's sample gates."""
    seed: int = 20131231
    num_workers: Annotated[int, Field(ge=1, le=64)] = 2
    min_workers: Annotated[int, Field(ge=1, le=64)] | None = None
    """Elastic: it begins with what there is room for, and goes on with fewer when a node is lost, down to so many; with more,
    up to `num_workers`, when there is room. None, or `num_workers` and above: with `num_workers`, or it waits."""
    epochs: Annotated[int, Field(ge=1, le=1000)] | None = None
    """None: the project's own."""
    auto_approve_by: str = ""
    """Name under which the approval is given at once; empty: a person decides."""
    approval_timeout_seconds: Annotated[float, Field(gt=0)] = 86_400.0
    """No decision by then is a rejection."""
    cause: str = ""
    """Why a process started it; empty: a person did."""
    on_behalf_of: str = ""
    """Who put on record the schedule or the study that started it; empty: whoever requested it did."""
    prompted_by: str = ""
    """Who asked that schedule for a run beside its times; empty: its time had come."""
    model: ModelChanges = ModelChanges()
    """Parameters of this training, as a study found them."""
    split: RollingSplit | None = None
    """None: the project's own."""
    deploy_to: str = ""
    """Endpoint to deploy to after approval; empty: register only."""
    max_cost: Annotated[float, Field(gt=0)] | None = None
    """What the run may cost at most, in the price book's currency; it is stopped there. None: what its project may."""


class StepReport(Message):
    """One finished step of a run."""

    step: Stage
    seconds: float
    detail: dict[str, Any] = {}
    """A few JSON values for people: rows, digests, metrics."""
    reused: bool = False
    """The result of an earlier run with the same inputs was used."""


class RunStatus(Message):
    """Answer of the `status` query; the last one a run gives is its final one."""

    run_id: str
    stage: Stage
    steps: list[StepReport] = []
    progress: float = 0.0
    """0 to 1 within the current stage, where the stage can tell."""
    message: str = ""
    """What is awaited, or why it ended."""
    error: dict[str, Any] = {}
    """`errors.to_wire` of the failure, when there is one."""
    detail: dict[str, Any] = {}
    """What else a process tells of itself: of a pipeline, `nodes`."""
    step_progress: list[StepProgress] = []
    """How far the steps under way are, as their heartbeats say; whoever looks adds it, the workflow does not know it."""


class Decision(Message):
    """An approver's answer; argument of the `decide` update."""

    approve: bool
    by: str
    reason: str = ""
    step: str = ""
    """Which approval of a pipeline is meant; empty: the only one that waits."""
    roles: tuple[str, ...] = ()
    """Those that `by` has for the run, as the control API found them."""


class Metrics(Message):
    """Quality on one split; `rows` and `base_rate` make the rest readable."""

    rows: int
    base_rate: float
    auc: float
    average_precision: float
    brier: float
    log_loss: float
    calibration_error: float
    """Expected calibration error over 10 equal-count bins."""


class TrainResult(Message):
    """Answer of the workflow."""

    run_id: str
    stage: Stage
    model_name: str = ""
    model_version: str = ""
    bundle_digest: Digest | None = None
    bundle_path: str = ""
    data_digest: str = ""
    metrics: dict[str, Metrics] = {}
    """By split and by peer: `test`, `valid`, `test/logistic_regression`, `test/base_rate`."""
    evaluation: Evaluation = Evaluation()
    steps: list[StepReport] = []
    traffic_version: int = 0
    message: str = ""


class UsageRecord(Message):
    """One metered quantity of one run, with its owner; columns as in FinOps FOCUS."""

    usage_key: str
    """Idempotency key: run id, step and attempt family."""
    run_id: str
    project: Slug
    environment: str = "dev"
    service: str
    """FOCUS ServiceName: `ray-train`, `workflow-worker`, `serving`, ..."""
    sku: str
    """Price-book entry: `cpu_core_hour`, `memory_gib_hour`, `gpu_hour`, `thousand_predictions`, `storage_gib_month`, `million_events`."""
    consumed_quantity: Annotated[float, Field(ge=0)]
    consumed_unit: str
    """`core-hours`, `GiB-hours`, `gpu-hours`, `thousands`, `GiB-months`, `millions`."""
    started_at: UtcTime
    ended_at: UtcTime
    capacity: Capacity = Capacity.ON_DEMAND
    """Of the nodes that it was used on."""


class RunEvent(Message):
    """Something that a workflow did and that must be on record; becomes an audit event."""

    event_key: str
    """Idempotency key: run id and step."""
    run_id: str
    action: str
    """`model.register`, `endpoint.traffic.set`, `approval.decide`, ..."""
    actor: str
    detail: dict[str, Any] = {}
