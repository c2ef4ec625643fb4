"""`:explain` over HTTP: of real signed bundles, by row and by entity, with the numbers of the libraries."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
import serving_kinds as kinds
import serving_world as world
from serving_bundles import FITTED, Home

from mainspring.core import errors
from mainspring.core.client import serving as client_module
from mainspring.core.contracts import prediction
from mainspring.core.contracts.deployment import TrafficTable

MODEL = {"dense_width": 2, "id_columns": ["carrier"], "format": "lightgbm"}
COLUMNS = ["carrier", "distance_km", "origin_stats__mean_delay"]
ROWS = [
    {"carrier": "UA", "distance_km": 2.0, "origin_stats__mean_delay": 1.0},
    {"carrier": None, "distance_km": 9.0, "origin_stats__mean_delay": None},
    {"carrier": "ZZ", "distance_km": 0.5, "origin_stats__mean_delay": 3.0},
]


def booster() -> lightgbm.Booster:
    random = np.random.default_rng(2)
    features = np.column_stack([random.normal(2, 2, (400, 2)), random.integers(0, 4, 400)])
    labels = features[:, 0] * features[:, 1] + features[:, 2] > 6
    options = {"objective": "binary", "num_leaves": 7, "verbose": -1, "num_threads": 1}
    return lightgbm.train(options, lightgbm.Dataset(features, labels, categorical_feature=[2]), 10)


TREES = booster()


class Endpoints:
    """A server over one store, with an endpoint `trees` and one for each bundle that is put behind it."""

    def __init__(self, served: world.Served, home: Home, client: client_module.ServingClient) -> None:
        self.served, self.home, self.client = served, home, client

    def put(self, name: str, **contents: Any) -> str:
        digest = self.home.write(**contents)
        self.client.load_bundle(digest)
        self.client.set_traffic(TrafficTable(endpoint=name, version=1, stable=digest))
        return digest

    def put_trees(self, name: str = "trees") -> str:
        return self.put(name, kind="trees", model=MODEL, weights=TREES.model_to_string().encode())


@pytest.fixture
def endpoints(tmp_path: Path) -> Iterator[Endpoints]:
    home = Home(tmp_path)
    with (
        world.serve(tmp_path, loaded_by=home.loader, front="off", max_explain_rows=8) as served,
        client_module.ServingClient(served.url, token=served.tokens.token_of("service@local")) as client,
    ):
        yield Endpoints(served, home, client)


def by_row(rows: list[dict[str, Any]]) -> prediction.PredictRequest:
    return prediction.PredictRequest.model_validate({"rows": rows})


def model_input() -> Any:
    columns = {
        "carrier": np.array([r["carrier"] for r in ROWS], object),
        **{
            name: np.array([r[name] for r in ROWS], np.float32)
            for name in ("distance_km", "origin_stats__mean_delay")
        },
    }
    return FITTED.compile().run(columns)


def test_trees_by_row_are_lightgbms_numbers_by_input_column(endpoints: Endpoints) -> None:
    digest = endpoints.put_trees()
    answer = endpoints.client.explain("trees", by_row(ROWS), request_id="why-1")
    scored = endpoints.client.predict("trees", by_row(ROWS))
    assert (answer.method, answer.model_version, answer.role) == ("tree_shap", digest, "stable")
    assert (answer.request_id, answer.endpoint) == ("why-1", "trees")
    batch = model_input()
    want = np.asarray(TREES.predict(np.concatenate([batch.dense, batch.ids], axis=1), pred_contrib=True))
    # The plan gives the mean delay, then the distance, then the id.
    for row, (found, expected) in enumerate(zip(answer.explanations, want, strict=True)):
        assert sorted(found.contributions) == COLUMNS
        assert found.contributions["origin_stats__mean_delay"] == pytest.approx(expected[0], abs=1e-9)
        assert found.contributions["distance_km"] == pytest.approx(expected[1], abs=1e-9)
        assert found.contributions["carrier"] == pytest.approx(expected[2], abs=1e-9)
        assert found.base_value == pytest.approx(expected[3], abs=1e-9)
        total = found.base_value + sum(found.contributions.values()) + found.residual
        assert found.margin == pytest.approx(total, abs=1e-9)
        assert found.score == scored.predictions[row].score
        assert found.score == pytest.approx(1 / (1 + np.exp(-found.margin)), rel=1e-5)
    assert endpoints.client.stats("trees").bundles[0].requests == 2


def test_a_network_by_entity_says_what_was_looked_up(endpoints: Endpoints) -> None:
    made = kinds.MAKERS["embedding_mlp"]()
    endpoints.put("net", **made.contents)
    asked = {"as_of": world.AS_OF, "entities": [world.entity(), world.entity(origin="EWR", distance=1000.0)]}
    answer = endpoints.client.explain("net", prediction.PredictRequest.model_validate(asked))
    assert answer.method == "integrated_gradients"
    present, absent = answer.explanations
    assert present.feature_status["origin_stats"] == "present"
    assert absent.feature_status["origin_stats"] == "not_found"
    # Nothing was looked up, so the plan filled in what the baseline has: that adds nothing.
    assert absent.contributions["origin_stats__mean_delay"] == pytest.approx(0, abs=1e-9)
    assert abs(absent.contributions["distance_km"]) > 0.1
    for found in answer.explanations:
        assert abs(found.residual) < 1e-3
        assert found.score == pytest.approx(1 / (1 + np.exp(-found.margin)), rel=1e-4)


@pytest.mark.parametrize("kind", ["onnx", "ensemble", "torch_export"])
def test_kinds_without_a_method_are_refused_and_say_what_to_do(endpoints: Endpoints, kind: str) -> None:
    made = kinds.MAKERS[kind]()
    digest = endpoints.put("other", **made.contents)
    for _ in range(2):
        with pytest.raises(errors.Conflict, match="cannot be explained") as caught:
            endpoints.client.explain("other", by_row(ROWS))
        assert caught.value.name == digest
    assert len(endpoints.client.predict("other", by_row(ROWS)).predictions) == 3


def test_bad_requests_are_refused_before_anything_is_computed(endpoints: Endpoints) -> None:
    endpoints.put_trees()
    with pytest.raises(errors.InvalidRequest, match="expected 1 to 8"):
        endpoints.client.explain("trees", by_row(ROWS * 3))
    with pytest.raises(errors.InvalidRequest, match="unknown field"):
        endpoints.client.explain("trees", by_row([{**ROWS[0], "tail": 1}]))
    with pytest.raises(errors.SchemaMismatch):
        endpoints.client.explain("trees", by_row([{**ROWS[0], "carrier": 7}]))
    with pytest.raises(errors.NotFound):
        endpoints.client.explain("treez", by_row(ROWS))
    with pytest.raises(errors.DeadlineExceeded):
        endpoints.client.explain("trees", by_row(ROWS), deadline_seconds=1e-6)


def test_a_bundle_whose_files_went_away_still_predicts_and_explains_later(endpoints: Endpoints) -> None:
    digest = endpoints.put_trees()
    kept = endpoints.home.store.root / digest.removeprefix("sha256:")
    shutil.move(kept, kept.with_suffix(".away"))
    with pytest.raises(errors.DependencyDown, match="cannot be read again"):
        endpoints.client.explain("trees", by_row(ROWS))
    endpoints.client.predict("trees", by_row(ROWS))
    shutil.move(kept.with_suffix(".away"), kept)
    assert len(endpoints.client.explain("trees", by_row(ROWS)).explanations) == 3


def test_rows_of_explanations_count_against_limits(endpoints: Endpoints) -> None:
    import httpx

    endpoints.put_trees()
    admin = {"authorization": f"Bearer {endpoints.served.tokens.token_of('admin@local')}"}
    rules = {"version": 1, "rules": [{"endpoint": "trees", "rows_per_day": 5}]}
    with httpx.Client(base_url=endpoints.served.url, trust_env=False) as http:
        assert http.put("/v1/limits", json=rules, headers=admin).status_code == 200
        path = "/v1/endpoints/trees:explain"
        assert [http.post(path, json={"rows": ROWS}).status_code for _ in range(3)] == [200, 200, 429]
