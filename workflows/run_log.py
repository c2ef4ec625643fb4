"""What a workflow knows of its own run: the answer of its `status` query. Deterministic: workflow time only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from temporalio import workflow

from mainspring.core import errors
from mainspring.core.contracts.training import RunStatus, Stage, StepReport


class Step:
    """A step under way; what is put here appears in its report."""

    def __init__(self) -> None:
        self.detail: dict[str, Any] = {}
        self.reused = False


class RunLog:
    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._stage = Stage.PENDING
        self._message = ""
        self._progress = 0.0
        self._error: dict[str, Any] = {}
        self.steps: list[StepReport] = []

    @property
    def stage(self) -> Stage:
        return self._stage

    def status(self) -> RunStatus:
        return RunStatus(
            run_id=self._run_id,
            stage=self._stage,
            steps=list(self.steps),
            progress=self._progress,
            message=self._message,
            error=self._error,
        )

    @contextmanager
    def step(self, stage: Stage, message: str = "") -> Iterator[Step]:
        """Enter `stage`, and report it with its duration in workflow time if it succeeds."""
        self._stage, self._message, self._progress = stage, message, 0.0
        step, began = Step(), workflow.time()
        yield step
        self.steps.append(
            StepReport(step=stage, seconds=workflow.time() - began, detail=step.detail, reused=step.reused)
        )

    def enter(self, stage: Stage, message: str, *, progress: float) -> None:
        """Where the run is, of one that does several things at a time."""
        self._stage, self._message, self._progress = stage, message, progress

    def says(self, message: str, *, progress: float | None = None) -> None:
        """What is going on within the stage."""
        self._message = message
        if progress is not None:
            self._progress = progress

    def end(self, stage: Stage, message: str, error: errors.MainspringError | None = None) -> None:
        """The final status."""
        self._stage, self._message, self._progress = stage, message, 1.0
        self._error = errors.to_wire(error) if error is not None else {}


def event_key(run_id: str, step: str) -> str:
    """One key for each step of each execution.

    A step that is reported twice is one event. A run that failed and was started again under its id does its steps
    again, and what it does then is on record, too.
    """
    return f"{run_id}/{step}#{workflow.info().run_id[:8]}"
