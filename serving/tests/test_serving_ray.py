"""Replicas of Ray Serve beside the process that writes: on a local Ray of the test's own."""

from __future__ import annotations

import collections
import http.client
import json
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import serving_bundles
from serving_process import free_port, start

from mainspring.core import identity
from mainspring.core.client.serving import ServingClient
from mainspring.core.contracts.deployment import TrafficTable

pytestmark = pytest.mark.integration

ROW = {"origin_stats__mean_delay": 1.0, "distance_km": 2.0, "carrier": "UA"}


def ask(port: int, method: str, path: str, document: Any = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        body = None if document is None else json.dumps(document)
        connection.request(method, path, body, {"content-type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        is_json = "json" in (answer.headers["content-type"] or "")
        return answer.status, json.loads(text) if is_json else text
    finally:
        connection.close()


def predicted(port: int, digest: str) -> float:
    status, body = ask(port, "POST", "/v1/endpoints/flights:predict", {"rows": [ROW]})
    assert status == 200, body
    assert body["model_version"] == digest
    return float(body["predictions"][0]["score"])


@pytest.mark.timeout(240)
def test_replicas_answer_follow_traffic_and_stop(tmp_path: Path) -> None:
    home = serving_bundles.Home(tmp_path)
    first, second = (home.write_network(seed, project="flight-delay") for seed in (1, 2))
    tokens = identity.ensure_token_file(tmp_path / ".mainspring" / "tokens.json")
    port = free_port()
    process = start(
        tmp_path,
        arguments=("--ray",),
        MAINSPRING_SERVING_PORT=str(port),
        MAINSPRING_SERVING_RAY_MIN_REPLICAS="2",
        MAINSPRING_SERVING_RAY_MAX_REPLICAS="2",
        MAINSPRING_SERVING_BUNDLE_DIR=str(tmp_path / "bundles"),
        MAINSPRING_SERVING_TRUSTED_KEYS_DIR=str(tmp_path / "trusted"),
        MAINSPRING_SERVING_USAGE_REPORT_SECONDS="0",
        TMPDIR=str(tmp_path),
        RAY_TMPDIR="/tmp",
    )
    log: collections.deque[str] = collections.deque(maxlen=200)
    assert process.stderr is not None and process.stdout is not None
    reader = threading.Thread(target=lambda: log.extend(process.stderr or ()), daemon=True)
    reader.start()
    # Ray writes there what nobody reads.
    drained = threading.Thread(target=lambda: [None for _ in process.stdout or ()], daemon=True)
    drained.start()
    try:
        deadline = time.monotonic() + 90
        while True:
            assert process.poll() is None and time.monotonic() < deadline, "".join(log)
            try:
                if ask(port, "GET", "/v2/health/ready")[0] == 200:
                    break
            except OSError:
                pass
            time.sleep(0.2)
        with ServingClient(f"http://127.0.0.1:{port}", token=tokens.token_of("service@local")) as client:
            scores = {}
            for version, digest in enumerate((first, second, first), 1):
                for loaded in (first, second):
                    client.load_bundle(loaded)
                client.set_traffic(TrafficTable(endpoint="flights", version=version, stable=digest))
                seen = {predicted(port, digest) for _ in range(16)}
                assert len(seen) == 1, "every replica says the same"
                assert scores.setdefault(digest, seen) == seen
            assert scores[first] != scores[second]
            # A replica tells what it counted some time later: at first no bundle of this table has counts.
            until = time.monotonic() + 10
            while (
                sum(each.requests for each in client.stats("flights").bundles) < 16
                and time.monotonic() < until
            ):
                time.sleep(0.05)
            (counted,) = client.stats("flights").bundles
            assert (counted.requests, counted.errors) == (16, 0), "all replicas' together"
        told = list(tmp_path.glob("mainspring-*/stats-*.json"))
        assert len(told) == 2, "each replica had its share"
        assert ask(port, "GET", "/v1/nowhere")[0] == 404
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(90)
        for thread in (reader, drained):
            thread.join(30)
        process.stderr.close()
        process.stdout.close()
    assert process.returncode == 0, "".join(log)
    with pytest.raises(OSError):
        ask(port, "GET", "/v2/health/live")
    assert not list(tmp_path.glob("mainspring-*"))
