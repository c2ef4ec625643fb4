"""What starts a batch scoring, what it tells on its way, and what it answers. Workflow type: `mainspring.BatchScore.v1`."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from mainspring.core.contracts.base import Digest, Fraction, Message, Request, Slug, UtcTime
from mainspring.core.contracts.training import Stage, StepReport

__all__ = [
    "PROGRESS_SIGNAL",
    "SCORE_WORKFLOW",
    "ScoreOptions",
    "ScoreProgress",
    "ScoreRequest",
    "ScoreResult",
]

SCORE_WORKFLOW: Final = "mainspring.BatchScore.v1"
PROGRESS_SIGNAL: Final = "progress"

#: A folder or one file of Parquet: an absolute path that every worker sees, or `s3://bucket/key`.
_Place = Annotated[str, Field(min_length=2, max_length=2000)]
_PartRows = Annotated[int, Field(ge=1, le=10_000_000)]


class ScoreOptions(Request):
    """What a person says of a batch scoring, beside the project and the bundle."""

    input: _Place
    """Entity rows: join keys, request columns, and `as_of`."""
    output: _Place
    """A folder of its own; a run of the same bundle, input and features goes on where another one stopped."""
    as_of: UtcTime | None = None
    """The time of every row, in the place of the column `as_of`."""
    part_rows: _PartRows = 100_000
    """About as many rows are scored at once, and are a part of the output."""
    purpose: Annotated[str, Field(max_length=500)] = ""
    """What for, where the output lies outside of the project's own places (`control.export_places`): on record, and asked of the policies."""


class ScoreRequest(Message):
    """Score every row of a dataset with one bundle."""

    run_id: str
    """`run_...`; also the idempotency key and the Temporal workflow id."""
    project: Slug
    environment: str = "dev"
    requested_by: str
    bundle_digest: Digest
    input: _Place
    output: _Place
    as_of: UtcTime | None = None
    part_rows: _PartRows = 100_000
    num_workers: Annotated[int, Field(ge=1, le=256)] = 2
    sample_fraction: Fraction = 1.0
    """Which of the project's workspaces has the features."""
    max_cost: Annotated[float, Field(gt=0)] | None = None
    """As a training's."""


class ScoreProgress(Message):
    """How far the job is; parts of earlier attempts count as done."""

    parts: int
    parts_done: int
    rows: int
    rows_done: int


class ScoreResult(Message):
    """Answer of the workflow."""

    run_id: str
    stage: Stage
    """`done`; a run that fails or is cancelled ends with an error."""
    rows: int = 0
    parts: int = 0
    output: str = ""
    """The folder: `part-<number>.parquet` in the input's order, and `manifest.json`, which is written last."""
    scores_digest: str = ""
    """Names all scores, to the bit and in order."""
    steps: list[StepReport] = []
    message: str = ""
