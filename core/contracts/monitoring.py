"""What a served model is held against, what was found in a window of its answers, and when that is worth waking somebody."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from mainspring.core.contracts import base

__all__ = [
    "SCORE",
    "TRAINABLE",
    "Baseline",
    "ColumnBaseline",
    "ColumnFound",
    "Finding",
    "FindingKind",
    "KpiBaseline",
    "KpiFound",
    "KpiLimit",
    "Limits",
    "MonitorReport",
    "Severity",
    "SliceFound",
]

#: The column of a baseline that holds the scores; features have the plan's own names.
SCORE: Final = ""

Severity: TypeAlias = Literal["alarm", "notice"]
FindingKind: TypeAlias = Literal["calibration", "ranking", "scores", "quality", "inputs", "target", "kpi"]
#: What a new model may mend. Broken data is mended where it comes from.
TRAINABLE: Final[frozenset[str]] = frozenset({"calibration", "ranking", "scores"})


class ColumnBaseline(base.Message):
    """How one column was spread when the model was accepted.

    Numbers fall into `len(edges) + 1` bins, `(edges[i-1], edges[i]]`: the first holds what is below everything that was seen
    then and the last what is above, so both are empty here. Strings have a count for each of `categories`, and a last one for
    values that were seen but are not listed.
    """

    name: str
    kind: Literal["numerical", "categorical"]
    rows: int
    missing: int
    """Null or NaN."""
    counts: tuple[int, ...]
    edges: tuple[float, ...] = ()
    """Values of float32, which is what a model is given."""
    categories: tuple[str, ...] = ()
    """Most frequent first."""
    vocabulary: tuple[str, ...] = ()
    """Values that were seen and are not listed, so that a new one can be told from a rare one."""
    is_open: bool = False
    """There were too many values to keep: a new one cannot be told from a rare one."""
    mean: float | None = None
    deviation: float | None = None

    @property
    def is_constant(self) -> bool:
        """One value, or none."""
        return sum(1 for count in self.counts if count) <= 1

    @property
    def missing_share(self) -> float:
        return self.missing / self.rows if self.rows else 0.0


class KpiBaseline(base.Message):
    """What a KPI was when the model was accepted."""

    rows: int
    mean: float | None
    """None: no row had a number."""


class Baseline(base.Message):
    """What a bundle's answers are held against: rows that it was not fitted to."""

    schema_version: Literal[1] = 1
    bundle_digest: str
    training_run_id: str = ""
    rows: int
    base_rate: float
    """Share of positives."""
    mean_score: float
    auc: float
    brier: float
    columns: tuple[ColumnBaseline, ...]
    """The scores (`SCORE`) first."""
    slices: dict[str, tuple[str, ...]] = {}
    """Columns by whose values everything is told apart, and which; other values are told together."""
    kpis: dict[str, KpiBaseline] = {}
    """By the name that the project gives it."""

    def column(self, name: str) -> ColumnBaseline | None:
        return next((c for c in self.columns if c.name == name), None)


class KpiLimit(base.Message):
    """Where the mean of a KPI over a window has to lie, in its own unit."""

    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if self.low is None and self.high is None:
            raise ValueError("a KPI's limit has neither `low` nor `high`; give it one")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"`low` is {self.low:g}, and `high` is {self.high:g}, which is less")
        return self


class Limits(base.Message):
    """When a finding is an alarm. Each must be large, and beyond chance.

    The defaults are of a year of real flights (`docs/monitoring.md`): gaps of calibration of 0.07 came and went with the weather.
    """

    min_rows: Annotated[int, Field(ge=50)] = 200
    """Of a window, and of its known outcomes; with fewer nothing is judged."""
    max_calibration_gap: Annotated[float, Field(gt=0, lt=1)] = 0.1
    max_auc_loss: Annotated[float, Field(gt=0, lt=1)] = 0.12
    max_score_psi: Annotated[float, Field(gt=0)] = 0.25
    max_missing_change: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Of a column's share of missing values."""
    max_unseen_share: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Of values that no training row had."""
    max_infinite_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    notice_input_psi: Annotated[float, Field(gt=0)] = 0.25
    """Inputs move with every season: that is told and never an alarm by itself."""
    standard_errors: Annotated[float, Field(gt=0)] = 2.8
    """How far beyond chance."""
    kpis: dict[str, KpiLimit] = {}
    """By the name that the project gives it: what its mean may be. A KPI without is told, and judged by nobody."""


class ColumnFound(base.Message):
    """One column in the window."""

    name: str
    kind: Literal["numerical", "categorical"]
    rows: int
    psi: float | None = None
    """None: no values on a side, a constant that stayed one, or too few rows."""
    missing_reference: float = 0.0
    missing: float = 0.0
    infinite: float = 0.0
    outside: float = 0.0
    """Share below or above everything that training saw."""
    unseen: float | None = None
    """Share of values that training never saw; None for numbers, and where it saw too many to keep."""
    new_values: tuple[str, ...] = ()
    """The most frequent of them."""
    mean: float | None = None
    mean_reference: float | None = None
    deviation: float | None = None
    quantiles: dict[str, float] = {}
    """`0.1`, `0.5`, `0.9`, from the bins."""


class SliceFound(base.Message):
    """All rows (`column` empty), or those of one value of a column."""

    column: str = ""
    value: str = ""
    rows: int
    known: int = 0
    """Rows whose outcome is known: what follows but for `mean_score` is of these."""
    mean_score: float | None = None
    score_psi: float | None = None
    known_mean_score: float | None = None
    base_rate: float | None = None
    gap_error: float | None = None
    """Standard error of the gap; days are what is counted where they differ by more than chance among rows explains."""
    auc: float | None = None
    """None: outcomes of one class only."""
    brier: float | None = None

    @property
    def calibration_gap(self) -> float | None:
        """Above 0, more happens than was predicted."""
        if self.base_rate is None or self.known_mean_score is None:
            return None
        return self.base_rate - self.known_mean_score


class KpiFound(base.Message):
    """What the project says that the answers of the window are worth, of those whose outcome is known."""

    name: str
    rows: int
    mean: float
    total: float
    error: float
    """Standard error of the mean; days are what is counted where they differ by more than chance among rows explains."""
    mean_reference: float | None = None
    """When the model was accepted; None: it was not asked for then."""


class Finding(base.Message):
    """Something that moved."""

    kind: FindingKind
    severity: Severity
    subject: str = ""
    """The column, `column=value` of a slice, or the KPI; empty: all answers."""
    value: float
    limit: float
    message: str


class MonitorReport(base.Message):
    """One bundle in one window, `[begins, ends)`, of what it was asked about."""

    schema_version: Literal[1] = 1
    project: base.Slug
    endpoint: base.Slug
    environment: str = "dev"
    bundle_digest: str
    training_run_id: str = ""
    begins: base.UtcTime
    ends: base.UtcTime
    rows: int
    known: int
    limits: Limits = Limits()
    reference_rows: int = 0
    reference_base_rate: float | None = None
    reference_auc: float | None = None
    reference_brier: float | None = None
    whole: SliceFound | None = None
    """None: an empty window."""
    slices: tuple[SliceFound, ...] = ()
    columns: tuple[ColumnFound, ...] = ()
    kpis: tuple[KpiFound, ...] = ()
    ill_timed: int = 0
    """Answers whose time lies after the moment they were written: a clock jumped. They are counted and left out."""
    findings: tuple[Finding, ...] = ()
    message: str = ""
    """Why something was not judged: an empty window, no labels yet."""

    @property
    def alarms(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.severity == "alarm")
