"""What moves traffic between bundles. Workflow type: `mainspring.DeployModel.v1`."""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from mainspring.core.contracts.base import Digest, Message, Percent, Slug, UtcTime
from mainspring.core.contracts.training import Stage, StepReport

DEPLOY_WORKFLOW: Final = "mainspring.DeployModel.v1"

#: Where the status of a deployment that waits for others has its place: `detail.queue`, a :class:`QueuePlace`.
QUEUE_DETAIL: Final = "queue"

#: A canary may be paused over a night.
MAX_WAIT_SECONDS: Final = 86_400.0


#: More of its traffic an endpoint does not risk at once on a bundle that it does not know.
MAX_FIRST_PERCENT: Final = 25


def _shares(value: tuple[int, ...]) -> tuple[int, ...]:
    is_ascending = all(1 <= one <= 99 for one in value) and list(value) == sorted(set(value))
    if not is_ascending or (value and value[0] > MAX_FIRST_PERCENT):
        raise ValueError(
            f"expected ascending shares of 1 to 99, the first at most {MAX_FIRST_PERCENT}; write 5, 25, 50"
        )
    return value


#: Shares of traffic at which a canary is judged, as people choose them.
CanaryShares = Annotated[tuple[Percent, ...], AfterValidator(_shares), Field(max_length=20)]


class DeployRequest(Message):
    """Bring one bundle into service on one endpoint, by steps."""

    run_id: str
    """The deployment's own id; idempotency key and Temporal workflow id."""
    parent_run_id: str = ""
    project: Slug
    environment: str = "dev"
    endpoint: Slug
    bundle_digest: Digest
    requested_by: str
    canary_percents: tuple[Percent, ...] = (5, 25, 50)
    """Shares of traffic to judge the candidate at before it takes all; skipped when there is no stable bundle."""
    step_seconds: Annotated[float, Field(gt=0)] = 5.0
    """How long a step may wait for `min_samples` before it is judged on what it has."""
    min_samples: Annotated[int, Field(ge=1)] = 50
    max_error_rate: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Above this share of failed predictions the candidate goes back."""
    max_latency_ratio: Annotated[float, Field(gt=1)] = 3.0
    """Candidate p95 over stable p95 in the same window; absolute limits roll back good models on busy hosts."""
    probe_rows: Annotated[int, Field(ge=0, le=10_000)] = 200
    """Recorded requests that the deployment sends itself at each step, so that an idle endpoint is judged too."""
    shadow_seconds: Annotated[float, Field(ge=0)] = 0.0
    """How long the candidate is asked as a shadow, and judged by what nobody is answered with, before its first share; 0: not at all."""
    max_score_psi: Annotated[float, Field(gt=0)] | None = None
    """Population stability index of the candidate's scores against stable's in the same window: further apart than that, and
    than chance explains, it goes back. None: not judged. Its traffic is the app's then, which is slower than the native front."""
    max_wait_seconds: Annotated[float, Field(ge=0)] = MAX_WAIT_SECONDS
    """How long it waits for those that were to deploy to the endpoint before it; 0: it is refused where there is one."""
    if_empty: bool = False
    """Only where nobody answers on the endpoint when its turn comes; else nothing changes."""


class QueuePlace(Message):
    """Where a deployment is in the queue of its endpoint."""

    ahead: Annotated[int, Field(ge=0)]
    """Deployments that are before it, with the one under way; 0: it is its turn."""
    waits_for: str = ""
    """The one under way."""


class TrafficTable(Message):
    """Who answers on one endpoint. A versioned document, applied whole or not at all."""

    endpoint: Slug
    version: Annotated[int, Field(ge=1)]
    """Applied only when it is exactly one above the version in force (or repeats it unchanged)."""
    stable: Digest
    canary: Digest | None = None
    canary_percent: Percent = 0
    shadow: Digest | None = None
    """Sees every request, never answers."""
    counts_scores: bool = False
    """Keep how the scores of each bundle are distributed (`BundleStats.score_counts`); the app answers then, not the native front."""
    set_by: str = ""
    """Run id or person."""

    @model_validator(mode="after")
    def _canary_has_share(self) -> Self:
        if (self.canary is None) != (self.canary_percent == 0):
            raise ValueError(
                "canary and canary_percent go together: name a bundle and a share above 0, or neither"
            )
        if self.canary is not None and self.canary == self.stable:
            raise ValueError("canary equals stable; a canary is another bundle")
        return self


class ScoreDifference(Message):
    """How far a shadow's scores were from those that the stable bundle answered, over the same rows."""

    rows: int
    mean_absolute: float
    max_absolute: float
    tolerance: float
    share_above: float
    """Share of the rows whose scores differ by more than `tolerance`."""


#: Which quantiles of the latencies are told, the last one being the slowest: close together where p95 may lie by chance.
LATENCY_SHARES: Final = (
    *(0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.825, 0.85, 0.875, 0.9, 0.9125, 0.925, 0.9375),
    *(0.95, 0.9625, 0.975, 0.9875, 1.0),
)


#: Where the bins of scores begin and end, the first and the last being open: 20 equal ones for probabilities, and powers of two for
#: other outputs.
SCORE_EDGES: Final = (
    *(-(2.0**n) for n in range(12, -1, -1)),
    *(n / 20 for n in range(21)),
    *(2.0**n for n in range(1, 13)),
)


class BundleStats(Message):
    """What serving saw of one bundle on one endpoint since the window began."""

    bundle_digest: Digest
    role: str
    """`stable`, `canary` or `shadow`; `chosen`: asked for by role, digest or version, which nothing is judged by."""
    requests: int
    rows: int
    errors: int
    latency_p50_ms: float
    latency_p95_ms: float
    latency_p99_ms: float
    mean_score: float
    latency_quantiles_ms: tuple[float, ...] = ()
    """At each of LATENCY_SHARES; none where nothing was computed, or by a serving process of an earlier release."""
    skipped: int = 0
    """Requests that a shadow did not see because it was too far behind."""
    difference: ScoreDifference | None = None
    """Of a shadow; None before it was compared."""
    score_counts: tuple[int, ...] = ()
    """How many scores are below each of SCORE_EDGES and not below the one before, and from the last one on: the first one of each
    request, and of requests with the same key only the last. None where traffic does not say `counts_scores`."""


class EndpointStats(Message):
    """Statistics of one endpoint for one traffic version."""

    endpoint: Slug
    traffic_version: int
    window_seconds: float
    bundles: list[BundleStats] = []


class EndpointView(Message):
    """One endpoint as serving has it."""

    endpoint: Slug
    traffic: TrafficTable
    loaded: list[Digest] = []


class EndpointRested(Message):
    """Bundles of an endpoint that left memory; the next request loads them again."""

    endpoint: Slug
    bundles: list[Digest] = []
    """Empty where another endpoint answers by them, or they had left before."""
    freed_bytes: int = 0


class EndpointRelease(Message):
    """Take an endpoint out of service."""

    version: Annotated[int, Field(ge=1)]
    """Of the traffic that is in force: what somebody set meanwhile is not taken away."""
    reason: str = ""
    set_by: str = ""
    """Run id or person."""


class EndpointReleased(Message):
    """An endpoint that answers nobody any more. A bundle that gets its traffic gets version `version` + 1."""

    endpoint: Slug
    version: int
    """Of the traffic that was in force last."""
    bundles: list[Digest] = []
    """Those that answered there."""
    reason: str = ""
    by: str = ""
    at: UtcTime | None = None


class DeployResult(Message):
    """Answer of the workflow."""

    run_id: str
    endpoint: Slug
    stage: Stage
    """`done` or `rolled_back`."""
    traffic_version: int
    message: str = ""
    steps: list[StepReport] = []
