"""Every kind of bundle: made, signed, loaded and served over /v1 and v2, and refused once anybody touched it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import serving_kinds as kinds
import serving_world as world
from serving_bundles import FITTED, Home

from mainspring.core import errors
from mainspring.core.client.serving import ServingClient
from mainspring.core.contracts.deployment import TrafficTable
from mainspring.core.contracts.prediction import PredictRequest
from mainspring.core.models import bundle, signing

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module", params=kinds.MAKERS)
def made(request: pytest.FixtureRequest) -> kinds.Made:
    return kinds.MAKERS[request.param]()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def client(home: Home, tmp_path: Path) -> Iterator[ServingClient]:
    with world.serve(tmp_path, loaded_by=home.loader) as served:
        token = served.tokens.token_of("developer@local")
        with ServingClient(served.url, token=token) as opened:
            yield opened


def test_it_is_served_over_v1_and_v2(home: Home, client: ServingClient, made: kinds.Made) -> None:
    digest = home.write(**made.contents)
    assert home.loader.load(digest).runtime.name == made.runtime
    client.load_bundle(digest)
    client.set_traffic(TrafficTable(endpoint="tiny", version=1, stable=digest))

    asked = [world.entity(), world.entity(origin="EWR", carrier="ZZ", distance=10.0)]
    request = PredictRequest.model_validate({"as_of": world.AS_OF, "entities": asked})
    by_entity = [p.score for p in client.predict("tiny", request).predictions]
    columns = {
        "origin_stats__mean_delay": np.float32([1.5, np.nan]),
        "distance_km": np.float32([200.0, 20.0]),
        "carrier": np.array(["UA", "ZZ"], object),
    }
    expected = made.answer(FITTED.compile().run(columns))
    assert expected[0] != expected[1]
    np.testing.assert_allclose(by_entity, expected, rtol=1e-5)

    inputs = [
        {"name": "origin_stats__mean_delay", "shape": [2], "datatype": "FP32", "data": [1.5, 2.25]},
        {"name": "distance_km", "shape": [2], "datatype": "FP32", "data": [200.0, 20.0]},
        {"name": "carrier", "shape": [2], "datatype": "BYTES", "data": ["UA", "ZZ"]},
    ]
    url = f"{client._base_url}/v2/models/tiny/infer"
    body = httpx.post(url, content=json.dumps({"inputs": inputs}), trust_env=False).raise_for_status().json()
    assert body["model_version"] == digest
    columns["origin_stats__mean_delay"][1] = 2.25
    np.testing.assert_allclose(
        body["outputs"][0]["data"], made.answer(FITTED.compile().run(columns)), rtol=1e-5
    )


@pytest.mark.parametrize("touched", ["learned", "model.json", "card.md"])
def test_a_touched_file_does_not_load(
    home: Home, client: ServingClient, made: kinds.Made, touched: str
) -> None:
    digest = home.write(**made.contents)
    path = (
        home.store.root
        / digest.removeprefix("sha256:")
        / (made.learned_file if touched == "learned" else touched)
    )
    good = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(errors.CorruptArtifact, match="damaged"):
        client.load_bundle(digest)
    path.write_bytes(good)
    assert client.load_bundle(digest).digest == digest


def test_a_strangers_signature_does_not_load(
    home: Home, client: ServingClient, made: kinds.Made, tmp_path: Path
) -> None:
    digest = home.write(**made.contents)
    path = home.store.root / digest.removeprefix("sha256:") / bundle.SIGNATURE
    path.chmod(0o644)
    stranger = signing.ensure_key(tmp_path / "stranger.pem")
    path.write_bytes(stranger.sign(digest).to_bytes())
    with pytest.raises(errors.PolicyDenied, match="trusted keys"):
        client.load_bundle(digest)
    path.write_bytes(signing.Signature(home.key.key_id, stranger.sign(digest).value).to_bytes())
    with pytest.raises(errors.CorruptArtifact, match="does not verify"):
        client.load_bundle(digest)


def test_another_kinds_file_does_not_load(home: Home, client: ServingClient, made: kinds.Made) -> None:
    """A bundle that is signed and whole, and holds the model of another kind."""
    other = kinds.MAKERS["onnx" if made.kind in ("trees", "ensemble") else "trees"]().learned
    changed = {"extra_files": {**made.steps, made.learned_file: other}} if made.steps else {"weights": other}
    digest = home.write(**made.contents | changed)
    with pytest.raises(errors.CorruptArtifact):
        client.load_bundle(digest)
