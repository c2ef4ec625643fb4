"""What the scoring job is told, what it tells on its way and what it answers: one JSON file each. Imports no ray and no torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError

from mainspring.core import errors
from mainspring.core.contracts import scoring
from mainspring.core.contracts.base import Digest, Message, Slug, UtcTime
from mainspring.core.scoring import parts, places
from mainspring.workflows.ray_jobs import train_messages

MODULE: Final = "mainspring.workflows.ray_jobs.score"

_ERROR: Final = "error"


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

    @staticmethod
    def of(survey: parts.Survey) -> list[PartSpec]:
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

    def survey(self) -> tuple[parts.Part, ...]:
        """The parts as they are read."""
        return tuple(
            parts.Part(i, places.File(p.path, p.bytes, p.modified_ns), p.start, p.rows)
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
    """Errors: NotFound if there is no such file; InvalidRequest naming the first wrong field."""
    try:
        return ScoreSpec.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise errors.NotFound(
            f"scoring spec `{path}` does not exist; write it before the job is submitted",
            resource="scoring spec",
            name=str(path),
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise errors.InvalidRequest(
            f"scoring spec `{path}` is wrong at `{field}`: {first['msg']}; write it with `ScoreSpec`",
            field=field,
        ) from error


def write_output(path: Path, answer: ScoreOutput | errors.MainspringError) -> None:
    """The answer or the error as JSON, whole or not at all."""
    value = (
        {_ERROR: errors.to_wire(answer)}
        if isinstance(answer, errors.MainspringError)
        else answer.model_dump(mode="json")
    )
    train_messages.write_file(path, json.dumps(value, indent=1).encode())


def read_output(path: Path) -> ScoreOutput:
    """What :func:`write_output` wrote.

    Errors: the job's own error, rebuilt; NotFound if the job left no answer; CorruptArtifact if it is not one.
    """
    try:
        value = json.loads(path.read_bytes())
        if isinstance(value, dict) and isinstance(value.get(_ERROR), dict):
            raise errors.from_wire(value[_ERROR])
        return ScoreOutput.model_validate(value)
    except FileNotFoundError as error:
        raise errors.NotFound(
            f"the scoring left no answer at `{path}`; it was stopped or its machine was lost: submit it again",
            resource="scoring output",
            name=str(path),
        ) from error
    except ValueError as error:
        raise errors.CorruptArtifact(
            f"`{path}` is no answer of a scoring: {error}; submit it again",
            artifact=str(path),
            expected="ScoreOutput as JSON",
            got=str(error),
        ) from error


def write_progress(path: Path, all_parts: Sequence[parts.Part], done: set[str]) -> None:
    """How far the job is. It is told for people: no fsync, and a reader may miss one."""
    value = scoring.ScoreProgress(
        parts=len(all_parts),
        parts_done=sum(part.name in done for part in all_parts),
        rows=sum(part.rows for part in all_parts),
        rows_done=sum(part.rows for part in all_parts if part.name in done),
    )
    new = path.with_name(f".{path.name}.new")
    new.write_text(value.model_dump_json())
    new.replace(path)


def read_progress(path: Path) -> scoring.ScoreProgress | None:
    """None before the first, and where it cannot be read: progress is told, never waited for."""
    try:
        return scoring.ScoreProgress.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
