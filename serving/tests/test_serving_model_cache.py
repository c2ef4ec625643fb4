"""Warm-up, measured memory, and reloads, shifts and a tight budget under load: no failed request, no wrong answer."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import serving_kinds as kinds
import serving_world as world
from serving_bundles import ARCHITECTURE, FITTED, Home

from mainspring.core import errors
from mainspring.core.client.serving import ServingClient
from mainspring.core.contracts.deployment import TrafficTable
from mainspring.core.models import network, samples

COLUMNS = {
    "origin_stats__mean_delay": np.float32([1.5, np.nan, 3.0]),
    "distance_km": np.float32([200.0, 20.0, np.nan]),
    "carrier": np.array(["UA", None, "ZZ"], object),
}
BODY = json.dumps(
    {
        "inputs": [
            {"name": "origin_stats__mean_delay", "shape": [1], "datatype": "FP32", "data": [1.5]},
            {"name": "distance_km", "shape": [1], "datatype": "FP32", "data": [200.0]},
            {"name": "carrier", "shape": [1], "datatype": "BYTES", "data": ["UA"]},
        ]
    }
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def score_of(home: Home, digest: str) -> float:
    loaded = home.loader.load(digest)
    return float(
        loaded.runtime.predict(loaded.prepare({name: column[:1] for name, column in COLUMNS.items()}))[0]
    )


@pytest.mark.parametrize("kind", kinds.MAKERS)
def test_a_bundle_answers_its_own_samples_before_it_serves(home: Home, kind: str) -> None:
    made = kinds.MAKERS[kind]()
    scores = made.answer(FITTED.compile().run(COLUMNS))

    def load(recorded: bytes) -> str:
        written = home.write(**made.contents | {"extra_files": {**made.steps, samples.FILE: recorded}})
        return home.loader.load(written).digest

    assert load(samples.record(COLUMNS, scores))
    assert load(samples.record(COLUMNS))
    with pytest.raises(errors.CorruptArtifact, match="row 2 has score"):
        load(samples.record(COLUMNS, scores + np.float32([0, 0, 0.1])))
    absent = {name: column for name, column in COLUMNS.items() if name != "carrier"}
    with pytest.raises(errors.CorruptArtifact, match="does not answer its own samples.*`carrier`"):
        load(samples.record(absent, scores))
    with pytest.raises(errors.CorruptArtifact, match=r"samples\.json"):
        load(b"{}")


def test_memory_is_measured_when_a_bundle_is_loaded(home: Home) -> None:
    """A network of some 4 MB of weights takes them, and not twice; whatever else it takes is small."""
    spec = ARCHITECTURE.model_copy(update={"hidden_sizes": (1024, 1000)})
    weights = network.save_weights(network.EmbeddingMlp(spec))
    digest = home.write(model=spec.model_dump(mode="json"), weights=weights)
    taken = home.loader.load(digest).memory_bytes
    assert len(weights) > 4_000_000
    assert len(weights) <= taken < 1.25 * len(weights)
    small = home.loader.load(home.write_network()).memory_bytes
    assert 0 < small < 64 << 10


class Load:
    """Clients that ask endpoints in a loop; every answer must be 200 and its version's own."""

    def __init__(self, url: str, scores: dict[str, float], endpoints: tuple[str, ...]) -> None:
        self._url = url
        self._scores = scores
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(2 * len(endpoints))
        self.wrong: list[str] = []
        self.answers: dict[tuple[str, str], int] = {}
        self._running = [self._pool.submit(self._ask, e, i) for e in endpoints for i in range(2)]

    def end(self) -> None:
        self._stop.set()
        for one in self._running:
            one.result(60)
        self._pool.shutdown()

    def _ask(self, endpoint: str, way: int) -> None:
        request = self._infer if way else self._predict
        with httpx.Client(trust_env=False, timeout=30) as client:
            while not self._stop.is_set():
                answer, version, score = request(client, endpoint)
                if answer.status_code != 200 or abs(score - self._scores[version]) > 1e-6:
                    self.wrong.append(f"{answer.status_code} {answer.text[:300]}")
                self.answers[endpoint, version] = self.answers.get((endpoint, version), 0) + 1

    def _infer(self, client: httpx.Client, endpoint: str) -> tuple[httpx.Response, str, float]:
        answer = client.post(f"{self._url}/v2/models/{endpoint}/infer", content=BODY)
        body: Any = answer.json()
        if answer.status_code != 200:
            return answer, "", 0.0
        return answer, body["model_version"], body["outputs"][0]["data"][0]

    def _predict(self, client: httpx.Client, endpoint: str) -> tuple[httpx.Response, str, float]:
        row = {"origin_stats__mean_delay": 1.5, "distance_km": 200.0, "carrier": "UA"}
        answer = client.post(f"{self._url}/v1/endpoints/{endpoint}:predict", json={"rows": [row]})
        body: Any = answer.json()
        if answer.status_code != 200:
            return answer, "", 0.0
        return answer, body["model_version"], body["predictions"][0]["score"]


@pytest.fixture
def digests(home: Home) -> list[str]:
    """Large enough for their weights to be what they are measured by."""
    spec = ARCHITECTURE.model_copy(update={"hidden_sizes": (256, 256)})
    return [
        home.write(
            model=spec.model_dump(mode="json"),
            weights=network.save_weights(network.EmbeddingMlp(spec, seed=i)),
        )
        for i in (1, 2, 3)
    ]


@pytest.fixture(params=[False, True], ids=["all-stay", "one-fits"])
def served(
    home: Home, tmp_path: Path, digests: list[str], request: pytest.FixtureRequest
) -> Iterator[tuple[world.Served, ServingClient]]:
    """Two endpoints; with the smaller budget their bundles push each other out at every turn."""
    sizes = [home.loader.load(digest).memory_bytes for digest in digests]
    budget = max(sizes) + min(sizes) // 2 if request.param else 0
    with world.serve(tmp_path, loaded_by=home.loader, bundle_memory_bytes=budget) as running:
        with ServingClient(running.url, token=running.tokens.token_of("developer@local")) as client:
            for digest in digests:
                client.load_bundle(digest)
            for endpoint, digest in (("first", digests[0]), ("second", digests[2])):
                client.set_traffic(TrafficTable(endpoint=endpoint, version=1, stable=digest))
            yield running, client


@pytest.mark.integration
def test_reloads_and_shifts_under_load_fail_no_request(
    home: Home, digests: list[str], served: tuple[world.Served, ServingClient]
) -> None:
    running, client = served
    scores = {digest: score_of(home, digest) for digest in digests}
    assert len(set(scores.values())) == 3
    load = Load(running.url, scores, ("first", "second"))
    try:
        token = {"authorization": f"Bearer {running.tokens.token_of('developer@local')}"}
        for turn in range(8):
            chosen = digests[(turn + 1) % 2]
            client.set_traffic(TrafficTable(endpoint="first", version=2 + turn, stable=chosen))
            for endpoint in ("first", "second"):
                url = f"{running.url}/v2/repository/models/{endpoint}/load"
                assert httpx.post(url, headers=token, trust_env=False, timeout=30).status_code == 200
            time.sleep(0.05)
    finally:
        load.end()
    assert load.wrong == []
    assert {version for endpoint, version in load.answers if endpoint == "first"} == set(digests[:2])
    assert {version for endpoint, version in load.answers if endpoint == "second"} == {digests[2]}
    assert min(load.answers.values()) > 5


@pytest.mark.integration
def test_a_bad_reload_leaves_what_answers(
    home: Home, digests: list[str], served: tuple[world.Served, ServingClient]
) -> None:
    running, client = served
    token = {"authorization": f"Bearer {running.tokens.token_of('developer@local')}"}
    url = f"{running.url}/v2/models/second/infer"
    assert httpx.post(url, content=BODY, trust_env=False).status_code == 200  # it is in memory now
    card = home.store.root / digests[2].removeprefix("sha256:") / "card.md"
    card.chmod(0o644)
    card.write_text("# changed\n")
    refused = httpx.post(
        f"{running.url}/v2/repository/models/second/load", headers=token, trust_env=False, timeout=30
    )
    assert refused.status_code == 400 and "damaged" in refused.json()["error"]
    assert httpx.post(url, content=BODY, trust_env=False).status_code == 200
    assert {v.digest for v in client.bundles() if v.resident} >= {digests[2]}
