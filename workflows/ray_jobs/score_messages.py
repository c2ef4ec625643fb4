"""What the scoring job is told, what it tells on its way and what it answers: one JSON file each. Imports no ray and no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from mainspring.core.contracts import progress, scoring
from mainspring.core.contracts.base import Digest, Message, Slug, UtcTime
from mainspring.core.contracts.training import Stage
from mainspring.core.scoring import parts as scoring_parts
from mainspring.core.scoring import places
from mainspring.workflows.ray_jobs import books, job_files

MODULE: Final = "mainspring.workflows.ray_jobs.score"


class ViewFile(Message):
    """One view's rows in the offline store; other bytes than these are refused."""

    path: Path
    digest: Digest


class PartSpec(Message):
    """`core.scoring.parts.Part`, as JSON."""

    path: str
    bytes: int
    modified_ns: int
    start: int
    rows: int


class ScoreSpec(Message):
    """One scoring. Paths are absolute, and every worker can read them; `output` every worker can write."""

    project: Slug
    """Its request-time features are derived."""
    bundle_dir: Path
    bundle_digest: Digest
    trusted_keys_dir: Path
    runtime: Literal["auto", "native", "torch"] = "auto"
    """As `serving.runtime`, so that serving's bits come out."""
    views: dict[str, ViewFile]
    input: str
    output: str
    identity: str
    """Of the scoring: a part of another one is refused."""
    run_id: str = ""
    """Whose work it is."""
    as_of: UtcTime | None = None
    """None: each row's own."""
    parts: Annotated[list[PartSpec], Field(min_length=1)]
    num_workers: Annotated[int, Field(ge=1)] = 2
    progress: Path
    """Where `ScoreProgress` is written, again and again."""
    book: books.Book | None = None
    """Where each process writes what it has used; None: nowhere."""

    @staticmethod
    def of(survey: scoring_parts.Survey) -> list[PartSpec]:
        """The parts as the spec has them."""
        return [
            PartSpec(
                path=p.file.path,
                bytes=p.file.bytes,
                modified_ns=p.file.modified_ns,
                start=p.start,
                rows=p.rows,
            )
            for p in survey.parts
        ]

    def survey(self) -> tuple[scoring_parts.Part, ...]:
        """The parts as they are read."""
        return tuple(
            scoring_parts.Part(i, places.File(p.path, p.bytes, p.modified_ns), p.start, p.rows)
            for i, p in enumerate(self.parts)
        )


class ScoreOutput(Message):
    """A job that has done all parts."""

    rows: int
    parts: int
    parts_found: int
    """Of these, parts that an earlier job had done."""
    cpu_seconds: float
    """CPU time of this run's parts, those of its earlier jobs included, and of this job's workers while they loaded."""
    wall_seconds: float
    num_workers: int


def read_spec(path: Path) -> ScoreSpec:
    """Errors: those of `job_files.read_spec`."""
    return job_files.read_spec(path, ScoreSpec, "scoring")


def read_output(path: Path) -> ScoreOutput:
    """Errors: those of `job_files.read_output`, the job's own among them."""
    return job_files.read_output(path, ScoreOutput, "scoring")


def write_progress(path: Path, all_parts: Sequence[scoring_parts.Part], done: set[str]) -> None:
    """How far the job is. It is told for people: no fsync, and a reader may miss one."""
    value = scoring.ScoreProgress(
        parts=len(all_parts),
        parts_done=sum(part.name in done for part in all_parts),
        rows=sum(part.rows for part in all_parts),
        rows_done=sum(part.rows for part in all_parts if part.name in done),
    )
    job_files.tell(path, value)


def step_progress(spec: ScoreSpec) -> progress.StepProgress | None:
    """What the job told last, as heartbeats say it. Parts that are there are its checkpoints."""
    found = read_progress(spec.progress)
    if found is None:
        return None
    return progress.StepProgress(
        step=Stage.SCORE,
        done=found.rows_done,
        of=found.rows,
        unit=progress.ROWS,
        checkpoint=spec.output if found.parts_done else "",
        message=f"{found.parts_done} of {found.parts} parts",
    )


def read_progress(path: Path) -> scoring.ScoreProgress | None:
    """None before the first, and where it cannot be read: progress is told, never waited for."""
    return job_files.told(path, scoring.ScoreProgress)
