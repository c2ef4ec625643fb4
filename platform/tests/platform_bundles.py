"""A small signed bundle where the control API of a directory looks, and the metrics of a training that made one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import polars as pl
from platform_api import Api

from mainspring.core import canonical, settings
from mainspring.core.features import ops, plan, schema
from mainspring.core.models import bundle, signing
from mainspring.core.supply import provenance

METRICS = {
    "rows": 100,
    "base_rate": 0.2,
    "auc": 0.75,
    "average_precision": 0.4,
    "brier": 0.1,
    "log_loss": 0.4,
    "calibration_error": 0.01,
}


def signed(
    directory: Path, build: provenance.Build | None = None, *, stranger: str = "", **others: Any
) -> str:
    """The digest of a bundle of trees of one leaf, signed by a key that is trusted there, but for a `stranger`'s."""
    declared = plan.TransformPlan(name="demo", columns=(plan.dense("x", ops.Impute()),))
    fitted = declared.fit(pl.DataFrame({"x": [1.0, 2.0]}, schema={"x": pl.Float32}))
    s = settings.load({}, directory=directory)
    key = signing.ensure_key(directory / stranger if stranger else s.models.signing_key)
    if not stranger:
        key.publish(s.serving.trusted_keys_dir)
    view = schema.FeatureView(
        name="v",
        keys=(schema.Column(name="k", dtype="string"),),
        fields=(schema.Column(name="x", dtype="float32"),),
    )
    contents = bundle.BundleContents(
        name="demo",
        project="flight-delay",
        plan=fitted.to_bytes(),
        model={"dense_width": 1},
        weights=b"weights",
        card="# For people\n",
        service=schema.FeatureService(name="s", views=(view,)),
        request_columns=(),
        input_columns=fitted.inputs,
        metrics={},
        data_digest=canonical.digest("data"),
        training_run_id="run_1",
        code_version="c0de",
    )
    contents = dataclasses.replace(contents, **others)
    store = bundle.BundleStore(s.serving.bundle_dir)
    return store.write(contents, key, build or provenance.Build()).digest


def train(api: Api, digest: str, **result: Any) -> str:
    """A run that ended with this bundle."""
    run_id = str(api.run()["run_id"])
    detail = {"stage": "done", "result": {"bundle_digest": digest, **result}}
    event = {"run_id": run_id, "event_key": run_id, "action": "run.end", "actor": "worker", "detail": detail}
    api.call("service", "POST", f"/api/v1/runs/{run_id}/events", 201, event)
    return run_id
