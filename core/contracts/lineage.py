"""Where data came from and where it goes: nodes are datasets of one version, or columns of one, edges are jobs' work."""

from __future__ import annotations

from typing import Literal, TypeAlias

from mainspring.core.contracts.base import Message, UtcTime

__all__ = [
    "Direction",
    "LineageEdge",
    "LineageGraph",
    "LineageNode",
    "LineageReceipt",
    "PredictionRows",
    "RowOrigin",
]

Direction: TypeAlias = Literal["upstream", "downstream"]


class LineageNode(Message):
    """A dataset of one version; with `column`, one of its columns. `kind` is what it is: `view`, `model`, ..."""

    namespace: str
    """The project that made it, or an outside system's name for itself."""
    name: str
    version: str = ""
    """A content's digest where it has one; empty where its maker did not say."""
    column: str = ""
    kind: str = ""
    steps: int = 0
    """The fewest jobs between it and what was asked about."""


class LineageEdge(Message):
    """`target` was made from `source`, both as places in `nodes`, by a run of a job."""

    source: int
    target: int
    job: str
    """`<namespace>/<name>`."""
    run_id: str
    """OpenLineage's: a UUID. Of several runs that did the same, the first."""


class LineageGraph(Message):
    """What was asked about comes first, then what is nearest."""

    direction: Direction
    nodes: list[LineageNode]
    edges: list[LineageEdge]
    is_cut: bool = False
    """There is more than an answer holds; ask from a node at its edge."""


class LineageReceipt(Message):
    """An event that was taken. `is_new=False`: it was known."""

    event_digest: str
    is_new: bool
    edges: int


class RowOrigin(Message):
    """The row of one view that a prediction came from, without its values."""

    view: str
    version: str
    """The digest of the view's rows."""
    keys: dict[str, str | int | None]
    status: Literal["present", "not_found", "outside_max_age"]
    event_at: UtcTime | None = None
    created_at: UtcTime | None = None
    age_seconds: float | None = None


class PredictionRows(Message):
    """What a prediction of a model came from: the training run that made the model, and a row of each view."""

    namespace: str
    model_version: str
    run_id: str
    as_of: UtcTime
    rows: tuple[RowOrigin, ...]
