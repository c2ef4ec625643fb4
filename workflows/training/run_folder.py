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

    def output(self, attempt: int) -> Path:
        """What attempt `attempt` of the training job answers."""
        return self.root / f"train-output-{attempt}.json"

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

    def _report(self, kind: type[BaseModel]) -> Path:
        return self.root / "reports" / f"{kind.__name__}.json"
