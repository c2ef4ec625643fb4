"""The data plane's own requests and answers."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from mainspring.core.contracts.base import Digest, Message, Request, Slug, UtcTime

Scalar = str | int | float | bool | None


class PredictRequest(Request):
    """Predict by entity keys (features are looked up here), by complete rows, or by entities with overrides."""

    entities: list[dict[str, Scalar]] | None = None
    """One object per prediction: join keys and request-time fields."""
    rows: list[dict[str, Scalar]] | None = None
    """One object per prediction: every input column of the plan; nothing is looked up."""
    overrides: dict[str, Scalar] = {}
    """With `entities`: columns that replace what was looked up, in every prediction."""
    as_of: UtcTime | None = None
    """The time at which features are read; None: now. Replays and audits set it."""

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.entities is None) == (self.rows is None):
            raise ValueError("give either `entities` or `rows`")
        if self.rows is not None and self.overrides:
            raise ValueError("`overrides` go with `entities`; put the values into `rows`")
        return self

    @property
    def n_rows(self) -> int:
        return len(self.entities if self.entities is not None else self.rows or [])


class LookupStatus(StrEnum):
    """Why a view's values are there or not."""

    PRESENT = "present"
    NOT_FOUND = "not_found"
    OUTSIDE_MAX_AGE = "outside_max_age"


class Prediction(Message):
    """One answer."""

    score: float
    """Probability of the positive class."""
    feature_status: dict[str, LookupStatus] = {}
    """By view; empty for predictions by row."""
    feature_age_seconds: dict[str, float] = {}
    """By view, for the rows that were found: `as_of` minus event time."""


class PredictResponse(Message):
    """Answers in the order asked."""

    request_id: str
    endpoint: Slug
    model_version: Digest
    """The bundle that answered."""
    role: str
    """`stable` or `canary`; `chosen` where the request asked for one bundle."""
    predictions: list[Prediction]


class Explanation(Message):
    """Why one prediction is what it is: margin = base_value + the contributions + residual."""

    score: float
    margin: float
    """What the model sums up, before the link that makes the score of it."""
    base_value: float
    """The margin where nothing is known; see `ExplainResponse.method`."""
    contributions: dict[str, float]
    """By input column of the plan, in units of the margin: what knowing its value adds."""
    residual: float
    """What the contributions leave unexplained."""
    feature_status: dict[str, LookupStatus] = {}
    feature_age_seconds: dict[str, float] = {}


class ExplainResponse(Message):
    """Explanations in the order asked."""

    request_id: str
    endpoint: Slug
    model_version: Digest
    role: str
    method: Literal["tree_shap", "integrated_gradients"]
    """`tree_shap`: exact Shapley values, the base is what the training rows expect. `integrated_gradients`: the base is a
    row whose every column is as the plan fills a missing one in; `residual` is what the sum over the line leaves."""
    explanations: list[Explanation]


class FeaturePush(Request):
    """Newest values of one feature view, for teams that push."""

    view: str
    keys: dict[str, list[str | int]]
    event_times: list[UtcTime]
    created_times: list[UtcTime] | None = None
    """None: the time of the push."""
    columns: dict[str, list[Any]]


class FeaturePushResult(Message):
    """How many rows became the newest of their key."""

    view: str
    received: int
    accepted: int


class BundleLoad(Request):
    """Load a bundle that is already in the bundle store, so that traffic can be moved to it."""

    digest: Digest


class BundleWithdraw(Request):
    """Take a bundle out of use: it is unloaded, and not loaded again by anybody who shares the bundle store."""

    digest: Digest
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=2000)]
    is_revocation: bool = False
    """In an emergency: also where traffic names it. Canaries and shadows go; an endpoint whose stable bundle it is answers
    `policy_denied` until it gets another one."""


class BundleWithdrawal(Message):
    """That a bundle was taken out of use."""

    digest: Digest
    reason: str
    by: str
    at: UtcTime | None
    """None where its mark cannot be read."""
    is_revocation: bool = False


class CandidateView(Message):
    """One way to run a bundle's model, and what was found of it when the bundle was loaded."""

    name: str
    """Engine, device, threads and, unless it is float32, the dtype: `onnx cpu x2`."""
    state: str
    """`used`; `slower` than the others at every size; `refused`, its scores differ; `unmeasured`, there was no time;
    `failed` since."""
    seconds: dict[int, float] = {}
    """Of one batch, by its rows; the upper quartile of a few runs."""
    why: str = ""
    batches: int = 0
    """Run since the bundle was loaded."""


class BundleView(Message):
    """A bundle that was loaded."""

    digest: Digest
    name: str
    project: str = ""
    """As its signed manifest says; empty: told by a release that did not."""
    plan_digest: Digest
    feature_service: str
    input_columns: dict[str, str]
    """Column name to type, as the plan wants them."""
    views: list[str]
    load_seconds: Annotated[float, Field(ge=0)]
    memory_bytes: Annotated[int, Field(ge=0)] = 0
    """What it takes of the process's memory, as measured when it was loaded."""
    resident: bool = True
    """False: it made room for others, and is loaded again when somebody asks."""
    candidates: tuple[CandidateView, ...] = ()
    """What may run its model, the one that the settings name first; empty: that one alone, and nothing was measured."""
    packed_own_bytes: Annotated[int, Field(ge=0)] = 0
    """Of `memory_bytes`: weights that the native kernels packed for this process alone."""
    packed_shared_bytes: Annotated[int, Field(ge=0)] = 0
    """Of `memory_bytes`: packed weights in memory that other processes of the host may have, too."""
