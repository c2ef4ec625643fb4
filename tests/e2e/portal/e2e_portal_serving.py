"""A serving process with two signed bundles of a small network: one is stable at an endpoint, the other its canary."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator

import polars as pl

from mainspring.core import canonical, identity, settings
from mainspring.core.client import serving as serving_client
from mainspring.core.contracts import deployment, prediction
from mainspring.core.features import ops, plan, schema
from mainspring.core.models import architecture, bundle, network, signing

ENDPOINT = "flight-delay-prod"
PROJECT = "flight-delay"
COLUMNS = ("distance", "mean_delay")


@contextlib.contextmanager
def running(s: settings.Settings) -> Iterator[tuple[str, str]]:
    """The digests of the stable bundle and of the canary."""
    key = signing.ensure_key(s.models.signing_key)
    key.publish(s.serving.trusted_keys_dir)
    stable, canary = (write(s, key, seed) for seed in (1, 2))
    process = subprocess.Popen(
        [sys.executable, "-m", "mainspring.serving"],
        cwd=s.stack.state_dir,
        env=settings.child_environment(s, {}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        token = identity.TokenIssuer.load(s.control.tokens_file).token_of("service@local")
        with serving_client.ServingClient(s.serving_url, token=token) as client:
            deadline = time.monotonic() + 60
            while not client.healthy():
                assert process.poll() is None, process.stderr and process.stderr.read()
                assert time.monotonic() < deadline, "serving did not start"
                time.sleep(0.05)
            for digest in (stable, canary):
                client.load_bundle(digest)
            table = deployment.TrafficTable(endpoint=ENDPOINT, version=1, stable=stable)
            client.set_traffic(table)
            client.set_traffic(
                table.model_copy(update={"version": 2, "canary": canary, "canary_percent": 25})
            )
            for place in range(40):
                row: dict[str, prediction.Scalar] = {"distance": 100.0 * place, "mean_delay": 1.0}
                client.predict(ENDPOINT, prediction.PredictRequest(rows=[row]))
        yield stable, canary
    finally:
        process.terminate()
        process.communicate(timeout=20)


def write(s: settings.Settings, key: signing.SigningKey, seed: int) -> str:
    declared = plan.TransformPlan(
        name="late", columns=tuple(plan.dense(name, ops.Impute()) for name in COLUMNS)
    )
    rows = {name: [1.0, 2.0, 4.0] for name in COLUMNS}
    fitted = declared.fit(pl.DataFrame(rows, schema=dict.fromkeys(COLUMNS, pl.Float32)))
    spec = architecture.Architecture(dense_width=len(COLUMNS))
    view = schema.FeatureView(
        name="origin",
        keys=(schema.Column(name="origin", dtype="string"),),
        fields=(schema.Column(name="mean_delay", dtype="float32"),),
    )
    contents = bundle.BundleContents(
        name=PROJECT,
        project=PROJECT,
        plan=fitted.to_bytes(),
        model=spec.model_dump(mode="json"),
        weights=network.save_weights(network.EmbeddingMlp(spec, seed=seed)),
        card=f"# Late arrivals, by seed {seed}\n\nFor the portal's tests.\n",
        service=schema.FeatureService(name="late", views=(view,)),
        request_columns=(schema.Column(name="distance", dtype="float32"),),
        input_columns=fitted.inputs,
        metrics={},
        data_digest=canonical.digest("data"),
        training_run_id="run_1",
        code_version="c0de",
    )
    return bundle.BundleStore(s.serving.bundle_dir).write(contents, key).digest
