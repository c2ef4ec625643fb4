"""The control API's resources."""

from __future__ import annotations

from enum import StrEnum
from html import escape
from typing import Annotated, Any

from pydantic import Field

from mainspring.core.contracts import deployment, prediction
from mainspring.core.contracts.base import Digest, Fraction, Message, Request, Slug, UtcTime
from mainspring.core.contracts.capacity import Capacity
from mainspring.core.contracts.pipelines import PipelineOptions
from mainspring.core.contracts.releasing import ReleaseOptions
from mainspring.core.contracts.retiring import RetireOptions
from mainspring.core.contracts.scoring import ScoreOptions
from mainspring.core.contracts.tags import Tags
from mainspring.core.contracts.training import Metrics, ModelChanges, RollingSplit, RunStatus, Stage
from mainspring.core.contracts.tuning import TuneOptions


class ProjectCreate(Request):
    """A new project."""

    name: Slug
    owner: Annotated[str, Field(min_length=1, max_length=200)]
    """Who answers for it: a person or a team address."""
    description: Annotated[str, Field(max_length=2000)] = ""
    monthly_budget: Annotated[float, Field(gt=0)] | None = None
    """Spending limit per calendar month in the price book's currency; None: no limit."""
    tags: Tags = {}
    """By whom and for what its costs are; settings say which it must have."""


class ProjectPatch(Request):
    """What to change of a project; what is left out stays."""

    owner: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    description: Annotated[str, Field(max_length=2000)] | None = None
    monthly_budget: Annotated[float, Field(gt=0)] | None = None
    """None, if it is written: no limit any more."""
    tags: Tags | None = None
    """All of them, in the place of those that there are. What was used keeps the tags that it was used under."""


class ProjectView(Message):
    """A team's unit of access and cost."""

    name: Slug
    owner: str
    description: str
    monthly_budget: float | None
    spent_this_month: float
    reserved: float = 0.0
    """Kept free for runs that have not ended, beside what they have used already."""
    tags: dict[str, str] = {}
    version: str = ""
    """Of what people set, and not of what is spent: its ETag, which a change names as `If-Match`."""
    created_at: UtcTime
    created_by: str


class RunKind(StrEnum):
    TRAIN = "train"
    DEPLOY = "deploy"
    SCORE = "score"
    TUNE = "tune"
    PIPELINE = "pipeline"
    RETIRE = "retire"
    RELEASE = "release"
    IMPORT = "import"
    """Somebody else's model was brought in: on record as a run that has ended, and started by nobody here."""


class RunCreate(Request):
    """Start a training or a study of its parameters, a pipeline, or a deployment, a batch scoring or the end of a bundle
    that exists; or take an endpoint out of service."""

    project: Slug
    kind: RunKind = RunKind.TRAIN
    environment: str = "dev"
    """Where it belongs, such as `dev`, `staging` or `prod`: roles and rules are by environment."""
    sample_fraction: Fraction = 1.0
    """Of the project's rows. Less than 1 is to try something out; `prod` takes no less."""
    epochs: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Train and tune: how often all rows are learned from; None: as the project has it."""
    auto_approve_by: str = ""
    endpoint: str = ""
    """Train and tune: deploy here after approval; deploy and release: required."""
    bundle_digest: Digest | None = None
    """Deploy, score and retire: required."""
    canary_percents: deployment.CanaryShares = ()
    """Deploy: shares of traffic to judge it at before it takes all; empty: 5, 25 and 50."""
    shadow_seconds: Annotated[float, Field(ge=0, le=2_592_000)] = 0.0
    """Deploy: how long it is asked as a shadow, which answers nobody, and judged before its first share; 0: not at all."""
    max_score_psi: Annotated[float, Field(gt=0)] | None = None
    """Deploy: how far its scores may be from stable's, as a population stability index; beyond that it goes back. None: not judged."""
    max_wait_seconds: Annotated[float, Field(ge=0, le=2_592_000)] | None = None
    """Deploy: how long it waits for deployments to the same endpoint that came before it; 0: it is refused where there is one.
    None: a day."""
    retire: RetireOptions | None = None
    """Retire: required."""
    release: ReleaseOptions | None = None
    """Release: required, with `endpoint`, which is out of service then."""
    score: ScoreOptions | None = None
    """Score: required."""
    tune: TuneOptions | None = None
    """Tune: None is the defaults."""
    pipeline: PipelineOptions | None = None
    """Pipeline: required; its pack was sent before."""
    model: ModelChanges = ModelChanges()
    """Train: what is otherwise than in the project's own model."""
    split: RollingSplit | None = None
    """Train: the window of time that is learned from and judged by; None: as the project has it."""
    cause: Annotated[str, Field(max_length=2000)] = ""
    """Why it is started, where a process does it: what drifted."""
    on_behalf_of: Annotated[str, Field(max_length=200)] = ""
    """Train: who put on record the schedule or the study that starts it. Processes say so, and nobody else may."""
    prompted_by: Annotated[str, Field(max_length=200)] = ""
    """Train: who asked that schedule for a run beside its times; pipeline and deploy: who signed the commit that wants it.
    Processes say so, and nobody else may."""
    purpose: Annotated[str, Field(pattern=r"^(|[a-z][a-z0-9-]{0,39})$")] = ""
    """What it is for, in a word that the project's data may be used for. Empty: the one of the impact assessment in force, where
    that was signed for one; of a scoring what its `score.purpose` says before a colon."""
    max_cost: Annotated[float, Field(gt=0)] | None = None
    """What the run may cost at most, in the price book's currency: it is kept free in the project's budget until the run has ended,
    and a run at work is stopped there. None: as much is kept free as settings say, and the project's budget alone stops it."""
    idempotency_key: Annotated[str, Field(max_length=200)] = ""
    """The same key again answers with the run that it started first."""


class RunView(Message):
    """One workflow execution."""

    run_id: str
    project: Slug
    kind: RunKind
    environment: str
    stage: Stage
    requested_by: str
    cause: str = ""
    on_behalf_of: str = ""
    """Who put on record what started it, where a process did; in `prod` it is not theirs to decide either."""
    prompted_by: str = ""
    """Who asked a schedule for it beside its times, or signed the commit that wants it; nor is it theirs."""
    purpose: str = ""
    """What it is for, as it was said when it was started."""
    pack: str = ""
    """Of a pipeline: the digest of what it runs."""
    endpoint: str = ""
    """Where it deploys to, if it does."""
    bundle_digest: str = ""
    """Deploy, score and retire: what they are about; train: what it made, once it has."""
    created_at: UtcTime
    ended_at: UtcTime | None = None
    cost: float = 0.0
    status: RunStatus | None = None
    result: dict[str, Any] = {}
    workflow_url: str = ""
    notice: str = ""
    """In the answer to its start: what its project lacks, where that does not keep a run from starting."""
    trace_id: str = ""
    """Under which its spans are, from the request that started it on; empty where it has none, and in lists."""
    version: str = ""
    """Of what a decision is about: its ETag, which a decision may name as `If-Match`."""


class EndpointClaim(Message):
    """Whose an endpoint is: of the project that first asked for its name."""

    name: Slug
    project: Slug
    environment: str
    """Of the run that first asked."""
    claimed_at: UtcTime
    claimed_by: str


class EndpointLive(EndpointClaim):
    """An endpoint with what serving says of it now."""

    traffic: deployment.TrafficTable | None = None
    """None: serving has no such endpoint yet, or does not answer."""
    stats: deployment.EndpointStats | None = None
    bundles: list[prediction.BundleView] = []
    """Those that traffic names, as serving has loaded them."""
    unavailable: str = ""
    """Why there is nothing of serving, and what to do."""


class ModelImport(Request):
    """Put a bundle that `mainspring model import` wrote among a project's models."""

    bundle_digest: Digest
    version: Annotated[str, Field(max_length=64)] = ""
    """The registry's, once that has it; the same again with one adds it."""


class ModelImported(Message):
    """What the signed provenance of an imported model says of where it came from."""

    source: str
    licence: str
    """SPDX."""
    folder_digest: str
    """Of all files that it was made of."""
    scanners: tuple[str, ...]
    """What looked through each of them, and found no code that runs when it is read."""
    rules: tuple[str, ...]
    """What was asked before it was signed, and said yes."""


class ModelVersionView(Message):
    """A model that a training made, or that was imported."""

    project: Slug
    name: str
    version: str
    """The registry's."""
    bundle_digest: Digest
    run_id: str
    environment: str
    stage: Stage
    """Of the run that made it."""
    trained_at: UtcTime
    """Or imported."""
    trained_by: str
    """Who asked for that."""
    imported: ModelImported | None = None
    """None: a training made it."""
    metrics: dict[str, Metrics] = {}
    """By split and by peer."""


class ModelView(ModelVersionView):
    """A model's version with what its bundle says."""

    kind: str = ""
    card: str = ""
    """Markdown, for people."""
    signer: str = ""
    """The key that signed it; empty where its signature could not be checked."""
    problem: str = ""
    """Why the bundle could not be opened: it is elsewhere, damaged, or nobody trusts its signer."""
    withdrawn: str = ""
    """Why it was taken out of use."""
    input_columns: dict[str, str] = {}
    request_columns: dict[str, str] = {}
    views: list[str] = []
    """Of the online store, which it looks up."""
    files: dict[str, int] = {}
    """Bytes by name."""
    data_digest: str = ""
    code_version: str = ""


class ResumeCreate(Request):
    """Start a run that failed again, under its id: it goes on from what it has."""

    max_cost: Annotated[float, Field(gt=0)] | None = None
    """What it may cost at most, with what it has cost so far; None: as before."""


class DecisionCreate(Request):
    """Approve or reject a waiting run."""

    approve: bool
    reason: Annotated[str, Field(max_length=2000)] = ""
    step: Annotated[str, Field(max_length=63)] = ""
    """Which approval of a pipeline is meant, where several wait."""


class SessionView(Message):
    """Who asks: an actor, and what it is to the platform and to projects."""

    actor: str
    roles: list[str]
    """Of its token; they hold everywhere."""
    projects: dict[Slug, dict[str, list[str]]] = {}
    """Project to environment (`*`: all of them) to roles that count there now, as a member or for a time."""


class AuditView(Message):
    """One fact: who did what to which thing, and what came of it. Chained by hash within the log."""

    sequence: int
    event_id: str
    at: UtcTime
    actor: str
    action: str
    resource: str
    outcome: str
    detail: dict[str, Any]
    previous_hash: str
    hash: str


class CostView(Message):
    """One priced usage record; FOCUS column names in snake case."""

    usage_key: str
    run_id: str
    project: Slug
    environment: str
    service_name: str
    sku_id: str
    consumed_quantity: float
    consumed_unit: str
    list_unit_price: float
    billed_cost: float
    billing_currency: str
    charge_period_start: UtcTime
    charge_period_end: UtcTime
    capacity: Capacity = Capacity.ON_DEMAND
    """By whose rate it is billed; what has one price on all nodes is `on-demand`. `list_unit_price` is always that of on-demand."""
    tags: dict[str, str] = {}
    """Of its project, as they were when it was put on record: another tag later does not change what was."""
    billed_in: str = ""
    """The month, as `2026-11`, that it is billed in as a correction, its own having been closed; empty: the month it began in."""


class CostSummary(Message):
    """Costs added up over one key."""

    group_by: str
    currency: str
    total: float
    groups: dict[str, float]


class Page(Message):
    """A page of a list; `next` is the cursor of the following one, empty at the end."""

    items: list[dict[str, Any]]
    next: str = ""

    def _repr_html_(self) -> str:
        """For notebooks: a row an item, a column each field that one has."""
        columns = list(dict.fromkeys(name for item in self.items for name in item))
        rows = [[escape(str(item.get(name, ""))) for name in columns] for item in self.items]
        head = "".join(f"<th>{escape(name)}</th>" for name in columns)
        body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
        more = "<p>there are more: ask for the next page</p>" if self.next else ""
        return f"<table><tr>{head}</tr>{body}</table>{more}"
