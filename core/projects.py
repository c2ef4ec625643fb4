"""What a team's project provides, and how workflow activities find it by name.

A project is data preparation, feature definitions and model choices: plain methods from folder to folder, whose
reports are small JSON values (pydantic, frozen), so that an activity returns them as they are. Every method is
idempotent, writes to a temporary folder and renames, and raises typed errors.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, Self, TypeAlias, runtime_checkable

import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from mainspring.core import errors
from mainspring.core.contracts import catalog
from mainspring.core.features import schema

if TYPE_CHECKING:
    import polars as pl

    from mainspring.core.features.plan import TransformPlan
    from mainspring.core.features.streams.definition import StreamDefinition

ENTRY_POINT_GROUP: Final = "mainspring.projects"

#: Projects that come with the distribution, as `module:attribute`; loaded only when asked for.
BUILT_IN: Final[Mapping[str, str]] = {
    "flight-delay": "mainspring.core.reference.flight_delay.project:PROJECT",
}

Split: TypeAlias = Literal["train", "valid", "test"]


class Report(BaseModel):
    """A frozen JSON value that crosses process borders."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TableReport(Report):
    """One table of a lake: `digest` covers the bytes of its files, by relative path."""

    name: str
    rows: int = Field(ge=0)
    files: int = Field(ge=0)
    bytes: int = Field(ge=0)
    digest: str
    owner: str = ""
    """Who answers for it; empty: who answers for the feature service."""
    description: str = ""
    classification: catalog.Classification = ""
    pii: tuple[str, ...] = ()
    """Columns that tell of a person."""


class IngestReport(Report):
    """`digest` names the lake's content; the same source and fraction give the same digest."""

    project: str
    source: str
    licence: str
    sample_fraction: float = Field(gt=0, le=1)
    tables: tuple[TableReport, ...]
    digest: str
    reused: bool = False
    is_synthetic: bool = False
    """Every file that the source was read from is marked as synthetic (`core/synthetic/marks.py`)."""

    @property
    def rows(self) -> int:
        return sum(t.rows for t in self.tables)


class CheckResult(Report):
    """One data check. A fatal one that is not ok stops the run; `fatal=False` is a warning people read."""

    name: str
    expected: str
    observed: str
    ok: bool
    fatal: bool = True


class ValidationReport(Report):
    dataset_digest: str
    checks: tuple[CheckResult, ...]

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        return tuple(c for c in self.checks if c.fatal and not c.ok)

    @property
    def warnings(self) -> tuple[CheckResult, ...]:
        return tuple(c for c in self.checks if not c.fatal and not c.ok)


class ViewReport(Report):
    view: schema.FeatureView
    rows: int = Field(ge=0)
    path: Path
    digest: str


class FeatureReport(Report):
    """The views computed from lake `lake_digest`, and the service a model reads. `service` travels in the bundle."""

    lake_digest: str
    digest: str
    service: schema.FeatureService
    views: tuple[ViewReport, ...]
    registry: Path
    reused: bool = False
    sources: dict[str, tuple[str, ...]] = {}
    """By `view.field`: the lake's columns, `table.column` each, that it is computed from, its keys and times included.
    Empty: not known, and lineage then takes every table for a source."""
    is_synthetic: bool = False
    """As the lake that they are computed from."""


class TrainingSetReport(Report):
    """One Parquet file: feature columns, `label`, `split`, the keys and `as_of`. `rows`, `base_rate`: per split."""

    path: Path
    digest: str
    feature_digest: str
    label: str
    columns: tuple[schema.Column, ...]
    rows: dict[str, int]
    base_rate: dict[str, float]
    reused: bool = False
    derived_from: dict[str, tuple[str, ...]] = {}
    """By request-time feature: the training set's own columns that it is derived from."""


class LeakReport(Report):
    """The proof by perturbation: everything known after each cut-off was changed and `moved` lists what moved.

    `compared_rows` is how many prediction rows were compared, `perturbed_values` how many source values changed:
    a check that compared nothing or changed nothing proves nothing, and raises instead of passing.
    """

    cutoffs: int
    compared_rows: int
    perturbed_values: int
    moved: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.moved


class Embedding(Report):
    """An embedding table for the plan's id column `column`; its size comes from the fitted vocabulary."""

    column: str
    dimensions: int = Field(gt=0)


class ModelSpec(Report):
    """A torch network over the plan's output: embeddings beside the dense block, then fully connected layers."""

    embeddings: tuple[Embedding, ...]
    hidden_sizes: tuple[int, ...]
    dropout: float = Field(ge=0, lt=1)
    epochs: int = Field(gt=0)
    batch_rows: int = Field(gt=0)
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    seed: int


class QualityGates(Report):
    """What a candidate must reach on the test split. `relaxed` says that these are a sample run's gates."""

    min_auc: float = Field(ge=0, le=1)
    leak_alarm_auc: float = Field(ge=0, le=1)
    min_auc_gain_over_baseline: float = Field(ge=-1, le=1)
    max_calibration_gap: float = Field(gt=0, le=1)
    max_fairness_gap: float | None = Field(default=None, gt=0, le=1)
    """Of every column of `Evaluation.fairness`, the larger of demographic parity difference and equalized odds difference;
    None: told, not judged."""
    max_latency_ms: float | None = Field(default=None, gt=0)
    """Of single rows, the 99th percentile (`core/models/latency.py`); None: told, not judged."""
    min_champion_gain: float | None = Field(default=None, ge=-1, le=1)
    """Of the candidate's AUC over the champion's on the same rows: -0.01 lets one pass that is worse by so much.
    None: told, not judged."""
    relaxed: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_auc >= self.leak_alarm_auc:
            raise ValueError(f"min_auc {self.min_auc} must lie below leak_alarm_auc {self.leak_alarm_auc}")
        return self


class Evaluation(Report):
    """Which parts of the test split are looked at besides. Columns are the training set's: strings, bools or whole numbers."""

    slices: tuple[str, ...] = ()
    """Quality is told by each value of these."""
    fairness: tuple[str, ...] = ()
    """Groups by each of these are compared; `QualityGates.max_fairness_gap` judges."""
    threshold: float = Field(default=0.5, gt=0, lt=1)
    """A score at or above it is a yes."""
    max_values: int = Field(default=10, ge=1, le=100)
    """The most frequent values are told apart, the rest are one."""
    min_rows: int = Field(default=100, ge=2)
    """No number is told of fewer rows: it would be chance."""


class ReplaySet(Report):
    """Flights (or whatever the project predicts) of the test window, ready to be asked again in time order.

    `requests` is a Parquet file, one row a request, ordered by `as_of`: the entity keys, `as_of`, the request-time
    columns and the label. `updates` holds, per view, a Parquet file of the rows that were newest for these keys at
    those times. Pushing the updates up to a request's `as_of` before asking makes a store answer as it did then;
    `mainspring.core.features.replay` reads both.
    """

    requests: Path
    updates: dict[str, Path]
    rows: int = Field(ge=1)
    label: str
    keys: tuple[schema.Column, ...]
    request_columns: tuple[schema.Column, ...]
    service: schema.FeatureService
    digest: str


@runtime_checkable
class Project(Protocol):
    """What a team provides. All paths are absolute; methods are safe to call again with the same arguments."""

    @property
    def name(self) -> str: ...

    @property
    def label(self) -> str:
        """The label's column in the training set."""
        ...

    @property
    def feature_service(self) -> str:
        """The Feast feature service that the model reads."""
        ...

    @property
    def request_columns(self) -> tuple[schema.Column, ...]:
        """What a caller sends beside the entity keys, known at prediction time."""
        ...

    @property
    def event_time_column(self) -> str:
        """The request column (int64, UTC microseconds) that says when the predicted thing is due."""
        ...

    @property
    def horizon_seconds(self) -> int:
        """How long before `event_time_column` the prediction is made."""
        ...

    def ingest(self, lake_dir: Path, *, sample_fraction: float = 1.0) -> IngestReport:
        """Raw source to partitioned Parquet; a complete lake of the same source and fraction is reused."""
        ...

    def validate(self, lake_dir: Path) -> ValidationReport:
        """Check schema, ranges, nulls, keys and references; DataInvalid when a fatal check fails."""
        ...

    def build_features(self, lake_dir: Path, feature_dir: Path) -> FeatureReport:
        """Compute every view's rows and register the Feast objects."""
        ...

    def training_set(self, feature_dir: Path, out_dir: Path) -> TrainingSetReport:
        """Point-in-time join, request-time features, label and split by time."""
        ...

    def leak_check(self, lake_dir: Path, *, cutoffs: int = 2) -> LeakReport:
        """Perturb what was known after `cutoffs` instants; LeakDetected if a feature moves."""
        ...

    def derive(self, columns: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Request-time features from request and stored columns: one function, offline and online.

        Shapes: every column (n_rows,). Missing: NaN in, NaN out. Errors: SchemaMismatch for an absent column.
        """
        ...

    def declare_plan(self) -> TransformPlan:
        """The unfitted transform plan over the training set's columns."""
        ...

    def model_spec(self) -> ModelSpec: ...

    def quality_gates(self, *, relaxed: bool = False) -> QualityGates:
        """The gates; `relaxed=True` gives those of a sample run, and the result says so."""
        ...

    def replay(self, feature_dir: Path, *, n: int) -> ReplaySet:
        """`n` labelled test-window requests, evenly spread, with the online rows that were newest at their times."""
        ...


@runtime_checkable
class Streaming(Protocol):
    """What a project with streams of events provides besides."""

    def streams(self) -> Mapping[str, StreamDefinition]:
        """Its streams by name."""
        ...

    def past_events(self, lake_dir: Path) -> Mapping[str, pl.DataFrame]:
        """By stream, the events that a lake tells of: a column a field, in the order in which they became known."""
        ...


@runtime_checkable
class Worth(Protocol):
    """What a project provides besides that says what its answers are worth to the business, once their outcomes are known."""

    def kpis(self) -> Mapping[str, pl.Expr]:
        """By name, a number for each answer: an expression over `score`, `label` (0 or 1) and the logged inputs and keys.

        Reports have the mean and the total of a window; `Limits.kpis` of the project's alert rules makes an alarm of it.
        """
        ...


@runtime_checkable
class Rolling(Protocol):
    """What a project provides besides that is trained on other days than its own split's."""

    def rolling_gates(self) -> QualityGates:
        """The gates of such a training. Some weeks are harder than others: what a whole test window reaches, none need."""
        ...


@runtime_checkable
class Examined(Protocol):
    """What a project provides besides whose candidates are looked at in parts."""

    def evaluation(self) -> Evaluation: ...


def project_names() -> tuple[str, ...]:
    """Every project that :func:`load_project` can load, sorted."""
    installed = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
    return tuple(sorted({*BUILT_IN, *(e.name for e in installed)}))


def load_project(name: str) -> Project:
    """The project called `name`, from the built-in table or the entry points of `mainspring.projects`.

    Errors: NotFound with close names; Conflict if two distributions claim the name; Misconfigured if the target
    does not import or is no Project.
    """
    targets = {e.value for e in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP) if e.name == name}
    if name in BUILT_IN:
        targets.add(BUILT_IN[name])
    if not targets:
        names = project_names()
        close = tuple(difflib.get_close_matches(name, names, n=3))
        raise errors.NotFound(
            f"no project `{name}` is installed; "
            + (
                f"did you mean `{close[0]}`"
                if close
                else f"installed are {', '.join(f'`{n}`' for n in names)}"
            ),
            resource="project",
            name=name,
            did_you_mean=close,
        )
    if len(targets) > 1:
        raise errors.Conflict(
            f"project `{name}` is claimed by {sorted(targets)}; uninstall or rename all but one",
            resource="project",
            name=name,
        )
    return _load(name, targets.pop())


def _load(name: str, target: str) -> Project:
    module, _, attribute = target.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise errors.Misconfigured(
            f"project `{name}` does not load from `{target}`: {error}; reinstall the distribution that declares it"
        ) from error
    if not isinstance(found, Project):
        raise errors.Misconfigured(
            f"`{target}` is no project: it lacks methods of `mainspring.core.projects.Project`"
        )
    return found
