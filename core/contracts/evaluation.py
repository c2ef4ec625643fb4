"""What a candidate does beside the whole of its test split: on parts of it, to groups, in time, and beside the champion."""

from __future__ import annotations

from typing import Final

from mainspring.core.contracts.base import Message

#: Stands for the values of a column beyond the most frequent ones, all together.
OTHER: Final = "(other)"
#: Stands for rows without a value.
MISSING: Final = "(missing)"


class SliceMetrics(Message):
    """Quality on the rows that have one value of a column. A number that so few rows do not give is None."""

    column: str
    value: str
    """`(other)`: the rest together; `(missing)`: none."""
    rows: int
    base_rate: float | None = None
    """Share of the label 1."""
    mean_score: float | None = None
    auc: float | None = None
    calibration_error: float | None = None
    note: str = ""
    """Why a number is not told."""


class GroupRates(Message):
    """How often one group's rows get a yes. A rate over too few rows is None."""

    value: str
    rows: int
    positives: int
    selection_rate: float | None = None
    """Share of all its rows with a score at or above the threshold."""
    true_positive_rate: float | None = None
    """The same share of its rows with label 1."""
    false_positive_rate: float | None = None
    """The same share of its rows with label 0."""


class Fairness(Message):
    """How far a column's groups are apart, by fairlearn's definitions. `(other)` is told and not compared."""

    column: str
    threshold: float
    groups: list[GroupRates] = []
    demographic_parity_difference: float | None = None
    """Largest less smallest selection rate; None: fewer than two groups have one."""
    demographic_parity_ratio: float | None = None
    """Smallest over largest selection rate; None also where nobody gets a yes."""
    equalized_odds_difference: float | None = None
    """The larger of the differences of the true and of the false positive rates."""
    note: str = ""
    """Why a number is not told."""


class Latency(Message):
    """How long single rows take the model and its plan, in one process: no network, no look-up, no queue."""

    p50_ms: float
    p99_ms: float
    """Both: the median of the rounds' own, so that one bad moment of the machine decides on nothing."""
    p99_ms_best: float
    p99_ms_worst: float
    """Of the rounds: how far they are apart is how far the number is to be trusted."""
    rounds: int
    requests: int
    """Of all rounds, without the warm-up."""
    runtime: str
    """What ran it: `native`, `torch`, ..."""
    machine: str
    """Where: another one has another number."""


class ChampionComparison(Message):
    """The candidate and the champion on the same test rows: what the endpoint serves that the run deploys to.

    Without a comparison, `note` says why there is none.
    """

    bundle_digest: str = ""
    rows: int = 0
    auc: float | None = None
    calibration_error: float | None = None
    """Both of the champion."""
    auc_gain: float | None = None
    """The candidate's AUC less the champion's."""
    auc_gain_low: float | None = None
    auc_gain_high: float | None = None
    """The gain's 95 % confidence interval by DeLong; None: there are too few rows of one label."""
    calibration_gain: float | None = None
    """The champion's calibration error less the candidate's."""
    note: str = ""


class Evaluation(Message):
    """All of it; what a project does not ask for, or an earlier release did not measure, is empty."""

    slices: list[SliceMetrics] = []
    fairness: list[Fairness] = []
    latency: Latency | None = None
    champion: ChampionComparison | None = None
