"""The files of one run: what its steps leave for the steps after, whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from mainspring.core import errors, workspace
from mainspring.core.contracts import training
from mainspring.workflows.ray_jobs import job_files

M = TypeVar("M", bound=BaseModel)


class Metered(BaseModel):
    """By execution: the CPU seconds that its finished training had cost, checkpoints of earlier ones included."""

    cpu_seconds: dict[str, float] = {}


@dataclass(frozen=True)
class RunFolder:
    """`space` has the project's shared folders; what is below `root` is this run's alone."""

    space: workspace.Workspace
    run_id: str

    @classmethod
    def of(cls, state_dir: Path, request: training.TrainRequest) -> RunFolder:
        space = workspace.Workspace(state_dir, request.project, request.sample_fraction)
        return cls(space, request.run_id)

    @property
    def root(self) -> Path:
        return self.space.run(self.run_id)

    @property
    def plan(self) -> Path:
        """The fitted plan."""
        return self.root / "plan.json"

    @property
    def spec(self) -> Path:
        """What the training job is told."""
        return self.root / "train-spec.json"

    def output(self, family: str, attempt: int) -> Path:
        """What attempt `attempt` of an execution's training job answers."""
        return self.root / f"train-output-{family}-{attempt}.json"

    def metered(self, family: str, cpu_seconds: float, *, goes_on: bool) -> float:
        """CPU seconds that are this execution's own, of the `cpu_seconds` that its training has cost so far.

        A training that goes on from the checkpoint of an earlier execution counts that one's time too, and what it
        handed over was paid there. The same question again has the same answer.
        """
        told = (self.had(Metered) or Metered()).cpu_seconds
        before = max((spent for name, spent in told.items() if name != family), default=0.0)
        self.keep(Metered(cpu_seconds={**told, family: cpu_seconds}))
        return max(0.0, cpu_seconds - before) if goes_on else cpu_seconds

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    def keep(self, report: BaseModel) -> None:
        """Keep a step's report under its class."""
        job_files.write_file(self._report(type(report)), report.model_dump_json(indent=1).encode())

    def kept(self, kind: type[M]) -> M:
        """Errors: NotFound if the step that makes it has not run; CorruptArtifact."""
        path = self._report(kind)
        try:
            return kind.model_validate_json(path.read_bytes())
        except FileNotFoundError as error:
            raise errors.NotFound(
                f"run `{self.run_id}` has no {kind.__name__}; start the run again",
                resource=kind.__name__,
                name=self.run_id,
            ) from error
        except ValidationError as error:
            raise errors.CorruptArtifact(
                f"`{path}` is no {kind.__name__}: {error.errors()[0]['msg']}; start the run again",
                artifact=str(path),
                expected=kind.__name__,
                got=str(error.errors()[0]["loc"]),
            ) from error

    def had(self, kind: type[M]) -> M | None:
        """As :meth:`kept`; None where nothing was kept."""
        return self.kept(kind) if self._report(kind).exists() else None

    def _report(self, kind: type[BaseModel]) -> Path:
        return self.root / "reports" / f"{kind.__name__}.json"
