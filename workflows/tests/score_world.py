"""A signed bundle over the tiny project's features, and a dataset to score: what a scoring job is told, for real."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import tiny_project

from mainspring.core import canonical
from mainspring.core.features import plan
from mainspring.core.models import architecture, bundle, network, signing
from mainspring.core.scoring import parts, places
from mainspring.workflows.ray_jobs import score_messages

#: What an installed distribution says of its projects; other processes find the project by it.
_ENTRY_POINTS = "[mainspring.projects]\ntiny = tiny_project:PROJECT\npoisoned = poisoned_project:PROJECT\n"


@dataclass(frozen=True)
class World:
    """One state directory with features and a bundle of random weights."""

    directory: Path
    features: Path
    fitted: plan.FittedPlan
    digest: str

    @classmethod
    def make(cls, directory: Path, rows: int = 3000) -> World:
        project = tiny_project.Tiny(rows=rows)
        project.ingest(directory / "lake")
        project.build_features(directory / "lake", directory / "features")
        made = project.training_set(directory / "features", directory / "training")
        fitted = project.declare_plan().fit(pl.scan_parquet(made.path).filter(pl.col("split") == "train"))
        return cls(directory, directory / "features", fitted, write_bundle(directory, fitted))

    def dataset(self, name: str = "in", *, files: int = 1, **changes: Any) -> Path:
        """The project's rows without their label, as files of equal size; `changes`: columns in the place of theirs."""
        rows = pl.read_parquet(self.features / "rows.parquet").drop("late")
        rows = rows.with_columns(**changes).with_row_index("row")
        folder = self.directory / name
        folder.mkdir(exist_ok=True)
        size = -(-rows.height // files)
        for i in range(files):
            rows.slice(i * size, size).write_parquet(folder / f"{i:03d}.parquet", row_group_size=250)
        return folder

    def spec(self, dataset: Path, name: str = "out", **changes: Any) -> score_messages.ScoreSpec:
        """What the workflow would have written."""
        view = self.features / "carrier_stats.parquet"
        survey = parts.survey(places.Place.at(str(dataset)), changes.pop("part_rows", 500))
        values: dict[str, Any] = {
            "project": "tiny",
            "bundle_dir": self.directory / "bundles",
            "bundle_digest": self.digest,
            "trusted_keys_dir": self.directory / "trusted",
            "views": {"carrier_stats": {"path": view, "digest": canonical.digest_file(view)}},
            "input": str(dataset),
            "output": str(self.directory / name),
            "identity": "sha256:scoring",
            "parts": score_messages.ScoreSpec.of(survey),
            "num_workers": 2,
            "progress": self.directory / f"{name}-progress.json",
        }
        return score_messages.ScoreSpec.model_validate(values | changes)


def write_bundle(directory: Path, fitted: plan.FittedPlan, *, project: str = "tiny") -> str:
    """A bundle in `bundles`, signed by a key that `trusted` has."""
    program = fitted.compile()
    spec = architecture.Architecture.of(
        tiny_project.PROJECT.model_spec(),
        dense_width=len(program.dense_names),
        id_columns=dict(zip(program.id_names, program.id_sizes, strict=True)),
    )
    key = signing.ensure_key(directory / "signing.pem")
    key.publish(directory / "trusted")
    contents = bundle.BundleContents(
        name=project,
        project=project,
        plan=fitted.to_bytes(),
        model=spec.model_dump(mode="json"),
        weights=network.save_weights(network.EmbeddingMlp(spec, seed=3)),
        card="# tiny\n",
        service=tiny_project.SERVICE,
        request_columns=tiny_project.Tiny.request_columns,
        input_columns=fitted.inputs,
        metrics={},
        data_digest=canonical.digest("data"),
        training_run_id="run_1",
        code_version="0",
    )
    return bundle.BundleStore(directory / "bundles").write(contents, key).digest


def install(folder: Path) -> Path:
    """A folder for PYTHONPATH in which other processes find the projects `tiny` and `poisoned`."""
    info = folder / "tiny_project-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-project\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(_ENTRY_POINTS)
    here = Path(tiny_project.__file__).parent
    for name in ("tiny_project.py", "poisoned_project.py"):
        (folder / name).symlink_to(here / name)
    return folder
