"""Signed bundles over the project's own features and plan; nobody trained their networks, which costs minutes."""

from __future__ import annotations

import polars as pl

from mainspring.core import canonical, projects, settings
from mainspring.core.contracts import prediction
from mainspring.core.features import replay
from mainspring.core.models import architecture, bundle, network, signing
from mainspring.core.workspace import Workspace
from mainspring.workflows import probes


def untrained(s: settings.Settings, name: str, fraction: float, seeds: tuple[int, ...]) -> list[str]:
    """The digest of a bundle for each seed."""
    project = projects.load_project(name)
    space = Workspace(s.stack.state_dir, name, fraction)
    project.ingest(space.lake, sample_fraction=fraction)
    features = project.build_features(space.lake, space.features)
    rows = project.training_set(space.features, space.training)
    fitted = project.declare_plan().fit(pl.scan_parquet(rows.path).filter(pl.col("split") == "train"))
    program = fitted.compile()
    spec = architecture.Architecture.of(
        project.model_spec(),
        dense_width=len(program.dense_names),
        id_columns=dict(zip(program.id_names, program.id_sizes, strict=True)),
    )
    key = signing.ensure_key(s.models.signing_key)
    key.publish(s.serving.trusted_keys_dir)

    def contents(seed: int) -> bundle.BundleContents:
        return bundle.BundleContents(
            name=name,
            project=name,
            plan=fitted.to_bytes(),
            model=spec.model_dump(mode="json"),
            weights=network.save_weights(network.EmbeddingMlp(spec, seed=seed)),
            card="# not trained\n",
            service=features.service,
            request_columns=project.request_columns,
            input_columns=fitted.inputs,
            metrics={},
            data_digest=canonical.digest("data"),
            training_run_id="run_none",
            code_version="0",
        )

    store = bundle.BundleStore(s.serving.bundle_dir)
    return [store.write(contents(seed), key).digest for seed in seeds]


def record_probes(s: settings.Settings, name: str, fraction: float, *, rows: int) -> None:
    """What a deployment asks its endpoint; in a training a step of its own."""
    space = Workspace(s.stack.state_dir, name, fraction)
    recorded = projects.load_project(name).replay(space.features, n=rows)
    asked = (
        prediction.PredictRequest(entities=[entity], as_of=step.as_of)
        for step in replay.steps(recorded)
        for entity in step.entities
    )
    probes.write(space.probes, asked)
