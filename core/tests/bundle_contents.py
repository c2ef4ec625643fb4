"""A small bundle's contents, for every test that needs one."""

from mainspring.core import canonical
from mainspring.core.contracts import training
from mainspring.core.features import schema
from mainspring.core.models import bundle

KEY_COLUMN = schema.Column(name="carrier", dtype="string")
SERVICE = schema.FeatureService(
    name="delays",
    views=(
        schema.FeatureView(
            name="carrier_stats",
            keys=(KEY_COLUMN,),
            fields=(schema.Column(name="late_share", dtype="float32"),),
            ttl_seconds=3600,
        ),
    ),
)
METRICS = training.Metrics(
    rows=10, base_rate=0.2, auc=0.7, average_precision=0.5, brier=0.2, log_loss=0.5, calibration_error=0.02
)
CONTENTS = bundle.BundleContents(
    name="flight-delay",
    project="flight-delay",
    plan=canonical.dumps({"ops": [{"op": "clip", "low": 0.0}]}),
    model={"dense": 1, "embeddings": []},
    weights=b"\x00weights\xff",
    card="# Flight delay\n",
    service=SERVICE,
    request_columns=(schema.Column(name="distance", dtype="float64"),),
    input_columns=SERVICE.columns,
    metrics={"test": METRICS},
    data_digest=canonical.digest("data"),
    training_run_id="run_1",
    code_version="1.2.3",
    extra_files={"sbom/bundle.json": b"{}"},
)
