"""Models of bundles without their plan, over v2: by the native front where their input is one matrix, else by the app."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import serving_kinds as kinds
import serving_world as world
from serving_bundles import Home, dense_plan
from serving_process import free_port, start

from mainspring.core import errors, identity, ports
from mainspring.core.models import architecture, network
from mainspring.serving.models import bundle_models, native_model, repository

MATRIX = architecture.Architecture(dense_width=2, hidden_sizes=(16,))
X = np.float32([[1.5, 200.0], [-2.25, 3.0]])


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def write_matrix(home: Home, **changes: Any) -> str:
    """A network over a plan without ids."""
    fitted = dense_plan()
    contents = {
        "plan": fitted.to_bytes(),
        "input_columns": fitted.inputs,
        "model": MATRIX.model_dump(mode="json"),
        "weights": network.save_weights(network.EmbeddingMlp(MATRIX, seed=3)),
    }
    return home.write(**contents | changes)


def of(home: Home, written: str) -> Mapping[str, repository.ModelFactory]:
    return bundle_models.factories(written, home.loader.load, max_rows=100)


def tensor(name: str, datatype: str, values: np.ndarray) -> dict[str, Any]:
    return {
        "name": name,
        "datatype": datatype,
        "shape": list(values.shape),
        "data": values.ravel().tolist(),
    }


def infer(url: str, *inputs: dict[str, Any]) -> httpx.Response:
    body = json.dumps({"inputs": inputs})
    return httpx.post(url, content=body, trust_env=False, timeout=30)


@pytest.mark.integration
@pytest.mark.parametrize("front", ["on", "off"])
def test_a_matrix_is_answered_by_the_front_if_there_is_one(home: Home, tmp_path: Path, front: str) -> None:
    digest = write_matrix(home)
    loaded = home.loader.load(digest)
    expected = loaded.runtime.predict(ports.ModelInput(X, np.zeros((2, 0), np.int32)))
    models = of(home, f"ranker={digest}")
    with world.serve(tmp_path, loaded_by=home.loader, models=models, front=front) as served:
        answer = infer(f"{served.url}/v2/models/ranker/infer", tensor("dense", "FP32", X)).json()
        assert answer["model_version"] == digest
        assert np.array_equal(np.float32(answer["outputs"][0]["data"]), expected)
        assert answer["outputs"][0]["shape"] == [2, 1]
        assert served.front.counts().get("answered", 0) == (1 if front == "on" else 0)
        token = {"authorization": f"Bearer {served.tokens.token_of('developer@local')}"}
        url = f"{served.url}/v2/repository/models/ranker/load"
        assert httpx.post(url, headers=token, trust_env=False, timeout=30).status_code == 200
        card = home.store.root / digest.removeprefix("sha256:") / "card.md"
        card.chmod(0o644)
        card.write_text("# changed\n")
        refused = httpx.post(url, headers=token, trust_env=False, timeout=30)
        assert refused.status_code == 500 and "damaged" in refused.json()["error"]
        again = infer(f"{served.url}/v2/models/ranker/infer", tensor("dense", "FP32", X))
        assert again.json()["outputs"] == answer["outputs"], "a bad reload leaves what answers"


@pytest.mark.parametrize("kind", kinds.MAKERS)
def test_every_kind_takes_its_plans_output(home: Home, kind: str) -> None:
    made = kinds.MAKERS[kind]()
    digest = home.write(**made.contents)
    model = of(home, f" scorer = {digest} , ")["scorer"]()
    (dense, ids), (score,) = model.signature("").inputs, model.signature("").outputs
    assert (dense.name, dense.datatype, dense.shape) == ("dense", "FP32", (-1, 2))
    assert (ids.name, ids.datatype, ids.shape) == ("ids", "INT32", (-1, 1))
    assert (score.name, score.datatype, score.shape) == ("score", "FP32", (-1, 1))
    known = np.int32([[2], [3]])
    got = model.infer("", {"dense": X, "ids": known})
    assert got.version == digest == model.versions()[0]
    expected = made.answer(ports.ModelInput(X, known))
    np.testing.assert_allclose(got.outputs["score"][:, 0], expected, rtol=1e-5)
    with pytest.raises(errors.NotFound, match="no version `2`"):
        model.infer("2", {"dense": X, "ids": known})


def test_what_a_model_has_no_answer_to_is_the_callers(home: Home) -> None:
    model = of(home, f"scorer={home.write_network()}")["scorer"]()
    with pytest.raises(errors.InvalidRequest, match="an id has no embedding"):
        model.infer("", {"dense": X, "ids": np.int32([[0], [4]])})
    with pytest.raises(errors.InvalidRequest, match="not finite"):
        model.infer("", {"dense": np.float32([[np.nan, 1]]), "ids": np.int32([[0]])})


def test_native_ones_of_one_matrix_are_the_fronts(home: Home) -> None:
    digest = write_matrix(home)
    assert isinstance(of(home, f"ranker={digest}")["ranker"](), native_model.NativeModel)
    ids = home.write_network()
    assert isinstance(of(home, f"ranker={ids}")["ranker"](), bundle_models.BundleModel)


@pytest.mark.parametrize(
    "entry",
    ["ranker", "ranker=", "=sha256:" + "0" * 64, "Ranker=sha256:" + "0" * 64, "ranker=sha256:0", "a/b=x"],
)
def test_malformed_settings_are_all_named(home: Home, entry: str) -> None:
    good = "good=sha256:" + "1" * 64
    with pytest.raises(errors.InvalidSettings, match=r"`serving.tensor_models` has") as refused:
        of(home, f"{good},{entry},{good}")
    assert refused.value.problems == (f"`{entry}`", f"`{good}`")
    assert of(home, "") == {}


def test_a_bundle_that_does_not_load_is_said_by_the_models_name(home: Home) -> None:
    factory = of(home, "ranker=sha256:" + "1" * 64)["ranker"]
    with pytest.raises(
        errors.Misconfigured, match="tensor model `ranker` needs bundle `sha256:1+`, which does not"
    ):
        factory()


@pytest.mark.integration
def test_a_process_serves_them_by_its_settings(home: Home, tmp_path: Path) -> None:
    digest = write_matrix(home, project="flight-delay")
    state = tmp_path / ".mainspring"
    identity.ensure_token_file(state / "tokens.json")
    home.store.root.rename(state / "bundles")
    (state / "keys").mkdir()
    home.trusted.rename(state / "keys" / "trusted")
    port = str(free_port())
    process = start(
        tmp_path, MAINSPRING_SERVING_PORT=port, MAINSPRING_SERVING_TENSOR_MODELS=f"ranker={digest}"
    )
    try:
        assert process.stderr is not None
        while "Application startup complete" not in (line := process.stderr.readline()):
            assert line
        url = f"http://127.0.0.1:{port}"
        assert infer(f"{url}/v2/models/ranker/infer", tensor("dense", "FP32", X)).status_code == 200
        metrics = httpx.get(f"{url}/metrics", trust_env=False).text
        assert "mainspring_front_answered_total 1.0" in metrics
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 0
