"""The champion, asked for the test rows of a training."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mainspring.core import errors, projects, settings
from mainspring.core.contracts import evaluation
from mainspring.core.models import bundle, comparison, signing
from mainspring.workflows.training import apart, run_folder

__all__ = ["beside"]


def beside(
    in_force: settings.Settings, digest: str, folder: run_folder.RunFolder, scored: pl.DataFrame
) -> evaluation.ChampionComparison:
    """The candidate beside one bundle, which may be gone, withdrawn, of other inputs, or of a kind that nothing here runs."""
    judged = scored.filter(pl.col("split") == "test")
    try:
        trust = signing.TrustedKeys.load(in_force.serving.trusted_keys_dir)
        opened = bundle.BundleStore(in_force.serving.bundle_dir).open(digest, trust)
        theirs = _scores(in_force.serving, opened, folder)
        found = comparison.compare(judged["label"].to_numpy(), judged["score"].to_numpy(), theirs)
    except (errors.Rejected, errors.Denied, errors.Misconfigured) as error:
        return evaluation.ChampionComparison(bundle_digest=digest, note=error.message)
    return found.model_copy(update={"bundle_digest": digest})


def _scores(
    serving: settings.ServingSettings, opened: bundle.Bundle, folder: run_folder.RunFolder
) -> NDArray[np.float64]:
    with TemporaryDirectory(dir=folder.root, prefix="champion-") as name:
        weights, plan = Path(name) / "weights", Path(name) / "plan.json"
        weights.write_bytes(opened.weights)
        plan.write_bytes(opened.plan)
        asked = apart.Question(
            kind=opened.kind,
            model=opened.model,
            weights=weights,
            plan=plan,
            training_set=folder.kept(projects.TrainingSetReport).path,
            network=serving.runtime,
            torch_threads=serving.torch_threads,
            onnx_threads=serving.onnx_threads,
        )
        return apart.scores(asked)
