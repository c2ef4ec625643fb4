"""Where the runs of a project keep their files, under the state directory: one layout for whoever writes or reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Workspace"]


@dataclass(frozen=True)
class Workspace:
    """Folders of one project at one sample fraction. Nothing is created here: each step makes its own, whole.

    Runs share `lake`, `features` and `training`, which are named by content and reused; each run has its own folder.
    """

    state_dir: Path
    project: str
    sample_fraction: float

    @property
    def root(self) -> Path:
        # 1.0 is `full`; a fraction keeps its digits, so that two fractions never share a folder.
        name = "full" if self.sample_fraction == 1.0 else f"sample-{self.sample_fraction!r}"
        return self.state_dir / "projects" / self.project / name

    @property
    def lake(self) -> Path:
        return self.root / "lake"

    @property
    def features(self) -> Path:
        return self.root / "features"

    @property
    def training(self) -> Path:
        return self.root / "training"

    @property
    def probes(self) -> Path:
        """Recorded requests, one `PredictRequest` a line, that a deployment asks its candidates."""
        return self.state_dir / "probes" / f"{self.project}.jsonl"

    def run(self, run_id: str) -> Path:
        """What one run makes: its plan, weights, predictions."""
        return self.root / "runs" / run_id
