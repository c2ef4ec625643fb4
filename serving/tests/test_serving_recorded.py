"""Reads over HTTP are recorded as they were answered, of predictions and of feature reads, and written at the end."""

from __future__ import annotations

from pathlib import Path

import httpx
import polars as pl
import pytest
import serving_world as world

from mainspring.core.client import serving as client_module
from mainspring.core.contracts import deployment

pytestmark = pytest.mark.integration


def test_predictions_and_feature_reads_are_on_record(tmp_path: Path) -> None:
    bundle = world.World()
    with world.serve(tmp_path, bundle, record_reads=1.0) as served:
        with client_module.ServingClient(served.url, token=served.tokens.token_of("service@local")) as client:
            client.load_bundle(bundle.digest)
            client.set_traffic(deployment.TrafficTable(endpoint="delays", version=1, stable=bundle.digest))
        asked = {"entities": [world.entity(), world.entity(origin="EWR")], "as_of": world.AS_OF}
        answer = httpx.post(f"{served.url}/v1/endpoints/delays:predict", json=asked, trust_env=False)
        assert answer.status_code == 200, answer.text
        read = {
            "features": ["flight_stats:mean_delay"],
            "entities": {"carrier": ["UA"], "flight": [7]},
            "as_of": world.AS_OF,
        }
        assert httpx.post(f"{served.url}/v1/features:read", json=read, trust_env=False).status_code == 200
    reads = tmp_path / ".mainspring" / "reads"
    origins = pl.read_parquet(reads / "origin_stats" / "*.parquet")
    assert origins["origin"].to_list() == ["JFK", "EWR"] and origins["mean_delay"].to_list() == [1.5, None]
    assert origins["as_of"].to_physical().to_list() == [world.NOW_US] * 2
    flights = pl.read_parquet(reads / "flight_stats" / "*.parquet")
    assert flights["flight"].to_list() == [7, 7, 7] and flights["mean_delay"].to_list() == [0.25] * 3


def test_nothing_is_recorded_unless_it_is_wanted(tmp_path: Path) -> None:
    with world.serve(tmp_path, world.World()):
        pass
    assert not (tmp_path / ".mainspring" / "reads").exists()
