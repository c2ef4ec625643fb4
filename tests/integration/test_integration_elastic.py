"""A training whose nodes are taken away: its checkpoints are in an object store, and fewer workers go on within the epoch."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import integration_object_store
import integration_ray
import obstore
import polars as pl
import pytest
from integration_training import SPEC, data, spec_for
from obstore.store import S3Store

from mainspring.core.models import evaluation
from mainspring.workflows.ray_jobs import train_messages

__all__ = ["data"]  # a fixture

pytestmark = [pytest.mark.soak, pytest.mark.integration, pytest.mark.timeout(300)]

#: Seconds for an epoch, so that the kill falls within one.
SLOW = SPEC.model_copy(update={"batch_rows": 10, "epochs": 3})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[integration_object_store.ObjectStore]:
    with integration_object_store.started(tmp_path_factory.mktemp("store")) as found:
        found.put("made", b"")  # the bucket is made with its first object
        yield found


@pytest.fixture(scope="module")
def variables() -> dict[str, str]:
    """Credentials as Ray's nodes have them."""
    return {
        "AWS_ACCESS_KEY_ID": "owner",
        "AWS_SECRET_ACCESS_KEY": "owner-secret",
        "AWS_EC2_METADATA_DISABLED": "true",
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
    }


def checkpoints(store: integration_object_store.ObjectStore, prefix: str) -> set[str]:
    """Folders of whole checkpoints' files."""
    options = dict(store.options())
    found = S3Store(integration_object_store.BUCKET, config=options)  # type: ignore[arg-type]
    paths = [meta["path"] for page in obstore.list(found, prefix) for meta in page]
    return {path.rsplit("/", 1)[0] for path in paths if path.endswith("progress.pt")}


def test_one_worker_goes_on_where_two_were_with_nothing_but_the_store(
    data: Path,
    store: integration_object_store.ObjectStore,
    variables: dict[str, str],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    host = store.endpoint.removeprefix("http://")
    spec = spec_for(
        data,
        tmp_path,
        model_spec=SLOW,
        num_workers=3,
        min_workers=1,
        checkpoint_steps=100,
        storage_uri=f"s3://{integration_object_store.BUCKET}/runs?endpoint_override={host}&scheme=http&region=us-east-1",
    )

    def job(cluster: dict[str, str], name: str) -> integration_ray.Job[train_messages.TrainOutput]:
        return integration_ray.Job(
            cluster, tmp_path / name, spec, train_messages.MODULE, train_messages.read_output, seconds=200
        )

    with integration_ray.started(tmp_path_factory.mktemp("two"), 2, variables) as cluster:
        first = job(cluster, "first")
        try:
            while len(checkpoints(store, "runs")) < 2:
                assert first.process.poll() is None, first.log.read_text()
                time.sleep(0.05)
        finally:
            first.kill()
    assert not first.out.exists() and not spec.storage_path.exists()

    with integration_ray.started(tmp_path_factory.mktemp("one"), 1, variables) as cluster:
        output = job(cluster, "second").output()
    assert output.num_workers == 1 and output.is_resumed and output.resumed_rows > 0
    assert [e.epoch for e in output.epochs] == list(range(len(output.epochs)))
    rows = pl.read_parquet(output.predictions_path).filter(pl.col("split") == "test")
    labels = rows["label"].to_numpy()
    ours, line = (evaluation.auc(labels, rows[name].to_numpy()) for name in ("score", "baseline_score"))
    assert ours > line + 0.1
