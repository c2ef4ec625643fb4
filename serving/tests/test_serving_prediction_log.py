"""The prediction log of a real server: every protocol, canary and shadow, personal columns, and no answer that suffers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest
import serving_access_world as access_world
import serving_world as world
import tritonclient.grpc as triton
from serving_access_world import ASKED, PREDICT

from mainspring.core.client import serving as client_module
from mainspring.core.contracts import inputs
from mainspring.core.contracts.deployment import TrafficTable
from mainspring.core.monitoring import predictions, tokens
from mainspring.serving import observed

pytestmark = pytest.mark.integration

POLICY = inputs.InputPolicy(
    columns={"carrier": inputs.ColumnPolicy(is_pii=True, classification="confidential")}
)
ROW: dict[str, tuple[str, Any]] = {
    "carrier": ("BYTES", "UA"),
    "origin_stats__mean_delay": ("FP32", 1.5),
    "origin_stats__weather": ("BYTES", "fog"),
    "flight_stats__mean_delay": ("FP32", 0.25),
    "distance": ("FP32", 100.0),
    "distance_km": ("FP32", 160.9),
}


def test_every_answer_is_logged_as_it_was_given(tmp_path: Path) -> None:
    bundle = world.World(input_policy=POLICY)
    port = access_world.free_port()
    with world.serve(tmp_path, bundle, log_predictions=1.0, grpc_port=port) as served:
        token = served.tokens.token_of("service@local")
        with client_module.ServingClient(served.url, token=token) as c:
            c.load_bundle(bundle.digest)
            c.set_traffic(TrafficTable(endpoint="flights", version=1, stable=bundle.digest))
        headers = {"authorization": f"Bearer {token}", "x-request-id": "by-entity"}
        document = {**ASKED, "entities": [world.entity(), world.entity(origin="EWR")]}
        by_entity = httpx.post(served.url + PREDICT, json=document, headers=headers, trust_env=False).json()
        document = {
            "inputs": [
                {"name": n, "datatype": kind, "shape": [1], "data": [value]}
                for n, (kind, value) in ROW.items()
            ]
        }
        path = served.url + "/v2/models/flights/infer"
        by_row = httpx.post(path, json=document, headers={"x-request-id": "by-row"}, trust_env=False).json()
        with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
            tensors = [
                triton.InferInput(n, [1], kind).set_data_from_numpy(
                    np.array([value], np.float32 if kind == "FP32" else object)
                )
                for n, (kind, value) in ROW.items()
            ]
            client.infer("flights", tensors, headers={"x-request-id": "by-grpc"})
        wrong = httpx.post(served.url + PREDICT, json={"entities": [{}]}, trust_env=False)
        assert wrong.status_code == 400, "and is not logged"
    folder = tmp_path / ".mainspring" / "predictions"
    rows = predictions.scan(folder, endpoint="flights").collect().sort("time", "row")
    assert rows.select("request_id", "row", "caller", "by_entity", "role", "traffic_version").rows() == [
        ("by-entity", 0, "service@local", True, "stable", 1),
        ("by-entity", 1, "service@local", True, "stable", 1),
        ("by-row", 0, "anonymous", False, "stable", 1),
        ("by-grpc", 0, "anonymous", False, "stable", 1),
    ]
    scores = [p["score"] for p in by_entity["predictions"]] + by_row["outputs"][0]["data"] * 2
    np.testing.assert_array_equal(rows["score"].to_numpy(), np.array(scores, np.float32))
    assert rows["key__origin"].to_list() == ["JFK", "EWR", None, None]
    assert rows["key__flight"].to_list() == [7, 7, None, None]
    assert rows["feature__origin_stats__mean_delay"].to_list() == [1.5, None, 1.5, 1.5]
    assert rows["as_of"].dt.epoch("us").to_list()[:2] == [world.NOW_US] * 2
    (token_of_ua,) = tokens.Tokeniser.load(tmp_path / ".mainspring" / "keys" / "tokens.key").column(
        "carrier", ["UA"]
    )
    assert set(rows["feature__carrier"]) == {token_of_ua}
    assert rows["key__carrier"].to_list() == [token_of_ua, token_of_ua, None, None]
    assert rows["latency_ms"].min() > 0


def test_canary_and_shadow_say_so(tmp_path: Path) -> None:
    stable, shadow = world.World(), world.World(name="shadow")
    with world.serve(tmp_path, stable, shadow, log_predictions=1.0) as served:
        with client_module.ServingClient(served.url, token=served.tokens.token_of("service@local")) as c:
            for one in (stable, shadow):
                c.load_bundle(one.digest)
            c.set_traffic(
                TrafficTable(endpoint="flights", version=1, stable=stable.digest, shadow=shadow.digest)
            )
        headers = {"x-request-id": "twice"}
        assert (
            httpx.post(served.url + PREDICT, json=ASKED, headers=headers, trust_env=False).status_code == 200
        )
    rows = predictions.scan(tmp_path / ".mainspring" / "predictions").collect()
    assert sorted(rows.select("role", "model_version", "request_id").rows()) == [
        ("shadow", shadow.digest, "twice"),
        ("stable", stable.digest, "twice"),
    ]


def test_a_share_is_logged_and_nothing_by_default(tmp_path: Path) -> None:
    for name, share in (("none", 0.0), ("half", 0.5)):
        bundle = world.World()
        with world.serve(tmp_path / name, bundle, log_predictions=share) as served:
            with client_module.ServingClient(served.url, token=served.tokens.token_of("service@local")) as c:
                c.load_bundle(bundle.digest)
                c.set_traffic(TrafficTable(endpoint="flights", version=1, stable=bundle.digest))
            with httpx.Client(base_url=served.url, trust_env=False) as http:
                for _ in range(100):
                    assert http.post(PREDICT, json=ASKED).status_code == 200
                metrics = http.get("/metrics").text
        assert ("mainspring_logged_predictions_written_total" in metrics) is bool(share)
    assert not (tmp_path / "none" / ".mainspring" / "predictions").exists()
    rows = (
        predictions.scan(tmp_path / "half" / ".mainspring" / "predictions").select(pl.len()).collect().item()
    )
    assert 20 <= rows <= 80


def test_a_log_that_cannot_write_fails_no_request(tmp_path: Path) -> None:
    bundle = world.World()
    folder = tmp_path / ".mainspring"
    folder.mkdir()
    (folder / "predictions").write_text("not a folder")
    with world.serve(tmp_path, bundle, log_predictions=1.0) as served:
        with client_module.ServingClient(served.url, token=served.tokens.token_of("service@local")) as c:
            c.load_bundle(bundle.digest)
            c.set_traffic(TrafficTable(endpoint="flights", version=1, stable=bundle.digest))
        for _ in range(5):
            answer = httpx.post(served.url + PREDICT, json=ASKED, trust_env=False)
            assert answer.status_code == 200


def test_an_observer_that_fails_is_our_mistake_and_not_the_callers(caplog: pytest.LogCaptureFixture) -> None:
    def broken(scored: observed.Scored) -> None:
        raise ZeroDivisionError

    observed.tell(broken, None)  # type: ignore[arg-type]
    assert "an observer of predictions failed" in caplog.text


def test_a_request_waits_for_no_disk(tmp_path: Path) -> None:
    """While the log's thread is held up, answers come as they did."""
    from mainspring.core.monitoring import prediction_log

    log = prediction_log.PredictionLog(tmp_path, max_bytes=1 << 30, max_waiting_bytes=1 << 20)
    n = 2000
    made = prediction_log.Entry(
        1, 1, "flights", "sha256:" + "a" * 64, 1, "stable", "r", "c", {}, {},
        {"x": np.zeros(1, np.float32)}, np.zeros(1, np.float32), 0.001,
    )  # fmt: skip
    with log._writing:
        began = time.perf_counter()
        for _ in range(n):
            log.add(made)
        each = (time.perf_counter() - began) / n
    log.close()
    assert each < 0.001, "some microseconds, on however busy a machine"
    assert log.dropped_rows > 0
