"""A push over HTTP that its view's expectations refuse: nothing of it is served, it is held, an approver may release it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import serving_world as world

from mainspring.core import errors
from mainspring.core.client import serving as client_module
from mainspring.core.quality import expectations
from mainspring.serving import app

pytestmark = pytest.mark.integration

SUITE = expectations.Suite(
    dataset="origin_stats",
    expectations=(expectations.Range(column="mean_delay", low=-60, high=600),),
)


def declare(directory: Path, *suites: expectations.Suite) -> None:
    folder = directory / ".mainspring" / "expectations"
    folder.mkdir(parents=True)
    for suite in suites:
        (folder / f"{suite.dataset}.json").write_text(suite.model_dump_json())


@pytest.fixture
def served(tmp_path: Path) -> Iterator[world.Served]:
    declare(tmp_path, SUITE)
    bundle = world.World()
    with world.serve(tmp_path, bundle) as s:
        with client_module.ServingClient(s.url, token=s.tokens.token_of("service@local")) as client:
            client.load_bundle(bundle.digest)
        yield s


def call(served: world.Served, actor: str, method: str, path: str, body: Any = None) -> httpx.Response:
    headers = {"authorization": f"Bearer {served.tokens.token_of(actor)}"} if actor else {}
    return httpx.request(method, f"{served.url}{path}", json=body, headers=headers, trust_env=False)


def push(served: world.Served, *delays: float) -> httpx.Response:
    n = len(delays)
    body = {
        "view": "origin_stats",
        "keys": {"origin": ["JFK", "LGA", "EWR"][:n]},
        "event_times": ["2013-12-01T12:00:00Z"] * n,
        "columns": {"mean_delay": list(delays), "weather": [None] * n},
    }
    return call(served, "service@local", "POST", "/v1/features/origin_stats:push", body)


def delay(served: world.Served, origin: str) -> float:
    rows = served.online.read("origin_stats", {"origin": [origin]}, now_us=world.NOW_US)
    return float(rows.values["mean_delay"][0])


def test_a_bad_row_refuses_the_push_and_an_approver_lets_it_in(served: world.Served) -> None:
    assert push(served, 3.0).status_code == 200 and delay(served, "JFK") == 3.0
    refused = push(served, 4.0, 5.0, 1e6)
    assert refused.status_code == 422
    problem = refused.json()
    assert problem["code"] == "data_invalid"
    assert problem["details"]["failed"] == ["origin_stats: mean_delay within [-60, 600]"]
    assert delay(served, "JFK") == 3.0
    name = problem["details"]["quarantined"]
    assert call(served, "developer@local", "GET", "/v1/features/quarantine").json() == {"held": [name]}
    report = call(served, "developer@local", "GET", f"/v1/features/quarantine/{name}").json()
    assert report["reports"][0]["rows"] == 3 and report["release"] is None
    assert report["reports"][0]["columns"] == [] and "1000000" not in str(report)  # no value of any row
    path, body = f"/v1/features/quarantine/{name}:release", {"reason": "a hurricane"}
    assert call(served, "", "POST", path, body).status_code == 401
    assert call(served, "service@local", "POST", path, body).status_code == 403
    assert call(served, "approver@local", "POST", path, {"reason": ""}).status_code == 400
    assert delay(served, "JFK") == 3.0
    answer = call(served, "approver@local", "POST", path, body)
    # JFK's times are equal, and of equal times the later write wins.
    assert answer.json() == {"view": "origin_stats", "received": 3, "accepted": 3}
    assert delay(served, "EWR") == 1e6
    report = call(served, "developer@local", "GET", f"/v1/features/quarantine/{name}").json()
    assert (report["release"]["by"], report["release"]["reason"]) == ("approver@local", "a hurricane")


def test_reads_and_other_views_are_as_before(served: world.Served) -> None:
    sent = {
        "view": "flight_stats", "keys": {"carrier": ["AA"], "flight": [1]},
        "event_times": ["2013-12-01T12:00:00Z"], "columns": {"mean_delay": [1e9]},
    }  # fmt: skip
    assert call(served, "service@local", "POST", "/v1/features/flight_stats:push", sent).status_code == 200
    body = {
        "features": ["flight_stats:mean_delay"],
        "entities": {"carrier": ["AA"], "flight": [1]},
        "as_of": world.AS_OF,
    }
    read = call(served, "", "POST", "/v1/features:read", body).json()
    assert read["results"][2]["values"] == [1e9]
    assert call(served, "", "GET", "/v1/features/quarantine").status_code == 401
    assert call(served, "developer@local", "GET", "/v1/features/quarantine/none").status_code == 404


def test_without_expectations_nothing_is_held_and_nothing_heavy_is_imported(tmp_path: Path) -> None:
    with world.serve(tmp_path, world.World()) as served:
        answer = call(served, "developer@local", "GET", "/v1/features/quarantine")
        assert answer.status_code == 404 and "serving.expectations_dir" in answer.json()["message"]
    code = "import sys, mainspring.serving.app\nprint('polars' in sys.modules, 'duckdb' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["False", "False"]


def test_expectations_that_a_push_cannot_be_held_against_stop_the_start(tmp_path: Path) -> None:
    refers = expectations.Suite(
        dataset="origin_stats", expectations=(expectations.References(columns=("weather",), of="weathers"),)
    )
    declare(tmp_path, refers)
    with pytest.raises(errors.Misconfigured, match="a push does not carry"):
        app.create_app(
            world.settings_in(tmp_path),
            online=world.filled_store(),
            loader=world.DictLoader({}),
            issuer=None,  # type: ignore[arg-type]
        )
