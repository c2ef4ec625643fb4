"""Trees from a signed bundle answer as the library that made them, or do not load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bundle_kinds as kinds
import lightgbm
import numpy as np
import pytest
import xgboost

from mainspring.core import errors, ports

LIGHTGBM = {"format": "lightgbm", "dense_width": 3, "id_columns": ["carrier"]}
XGBOOST = {**LIGHTGBM, "format": "xgboost"}
NAMES = ["delay", "distance", "wind", "carrier"]


def examples(rows: int = 400) -> tuple[np.ndarray, np.ndarray]:
    batch = kinds.batch(rows, seed=5)
    features = np.concatenate([batch.dense, batch.ids], axis=1).astype(np.float32)
    return features, (features[:, 0] * features[:, 1] > (features[:, 3] == 2)).astype(np.float32)


def lgb(names: list[str] | str = "auto", **changes: Any) -> lightgbm.Booster:
    options = {"objective": "binary", "num_leaves": 7, "min_data_in_leaf": 5, "verbose": -1, "num_threads": 1}
    features, labels = examples()
    data = lightgbm.Dataset(features, labels, feature_name=names, categorical_feature=[3])
    return lightgbm.train(options | changes, data, 12)


@pytest.fixture
def store(tmp_path: Path) -> kinds.Store:
    return kinds.Store(tmp_path)


def text(booster: lightgbm.Booster) -> bytes:
    return str(booster.model_to_string()).encode()


def test_lightgbm_answers_with_ids_as_categories(store: kinds.Store) -> None:
    booster = lgb(NAMES)
    runtime: ports.ModelRuntime = store.runtime("trees", LIGHTGBM, text(booster))
    assert runtime.name == "trees"
    for rows in (0, 1, 7, 200):
        batch = kinds.batch(rows, seed=rows)
        got = runtime.predict(batch)
        assert (got.dtype, got.shape) == (np.dtype(np.float32), (rows,))
        if rows:
            features = np.concatenate([batch.dense, batch.ids], axis=1)
            assert np.array_equal(got, booster.predict(features, num_threads=1).astype(np.float32))
    assert np.ptp(runtime.predict(kinds.batch(200))) > 0.3


def test_a_row_has_the_same_bits_in_any_batch(store: kinds.Store) -> None:
    runtime = store.runtime("trees", LIGHTGBM, text(lgb()))
    batch = kinds.batch(40)
    whole = runtime.predict(batch)
    for i in range(40):
        assert runtime.predict(ports.ModelInput(batch.dense[i : i + 1], batch.ids[i : i + 1])) == whole[i]


def test_xgboost_and_one_class_of_several(store: kinds.Store) -> None:
    features, _ = examples()
    labels = np.digitize(features[:, 0] + features[:, 3] / 5, [-0.3, 0.8])
    booster = xgboost.train(
        {"objective": "multi:softprob", "num_class": 3, "max_depth": 3, "nthread": 1},
        xgboost.DMatrix(features, labels),
        8,
    )
    batch = kinds.batch(50, seed=1)
    expected = booster.predict(xgboost.DMatrix(np.concatenate([batch.dense, batch.ids], axis=1)))
    learned = bytes(booster.save_raw("json"))
    for output in range(3):
        runtime = store.runtime("trees", {**XGBOOST, "output": output}, learned)
        np.testing.assert_allclose(runtime.predict(batch), expected[:, output], rtol=1e-6)
    with pytest.raises(errors.CorruptArtifact, match="`output` is 3, the trees give 3"):
        store.runtime("trees", {**XGBOOST, "output": 3}, learned)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({**LIGHTGBM, "dense_width": 2}, "plan gives 3 columns, the model takes 2"),
        ({**LIGHTGBM, "id_columns": []}, "ids `carrier`, the model takes none"),
        ({**LIGHTGBM, "id_columns": ["origin"]}, "ids `carrier`, the model takes `origin`"),
        ({**LIGHTGBM, "format": "xgboost"}, "is not what its `model.json` says"),
        ({**LIGHTGBM, "format": "catboost"}, "`format`: Input should be 'lightgbm' or 'xgboost'"),
        ({**LIGHTGBM, "surprise": 1}, "`surprise`: Extra inputs"),
        ({"format": "lightgbm"}, "`dense_width`: Field required"),
    ],
)
def test_a_wrong_signature_does_not_load(store: kinds.Store, model: dict[str, Any], words: str) -> None:
    with pytest.raises(errors.CorruptArtifact, match=words):
        store.runtime("trees", model, text(lgb()))


def test_trees_over_other_columns_do_not_load(store: kinds.Store) -> None:
    with pytest.raises(
        errors.CorruptArtifact, match="want the columns as .*distance.*the plan gives .*delay"
    ):
        store.runtime("trees", LIGHTGBM, text(lgb(["distance", "delay", "wind", "carrier"])))
    features, labels = examples()
    narrow = lightgbm.train(
        {"objective": "binary", "verbose": -1}, lightgbm.Dataset(features[:, :3], labels), 3
    )
    with pytest.raises(errors.CorruptArtifact, match="take 3 features, not 4"):
        store.runtime("trees", LIGHTGBM, text(narrow))


def test_damaged_and_unknown_trees_do_not_load(store: kinds.Store) -> None:
    good = text(lgb())
    for bad in (b"", good[: len(good) // 2], b"{}"):
        with pytest.raises(errors.CorruptArtifact, match="build the bundle anew"):
            store.runtime("trees", LIGHTGBM, bad)
    with pytest.raises(errors.MissingTool, match="export the model as ONNX"):
        store.runtime("trees", LIGHTGBM, text(lgb(linear_tree=True)))


def test_what_the_plan_would_not_give_is_refused(store: kinds.Store) -> None:
    runtime, batch = store.runtime("trees", LIGHTGBM, text(lgb())), kinds.batch(3)
    for bad in (
        ports.ModelInput(batch.dense[:, :2].copy(), batch.ids),
        ports.ModelInput(batch.dense, batch.ids[:2]),
        ports.ModelInput(batch.dense.astype(np.float64), batch.ids),  # type: ignore[arg-type]
    ):
        with pytest.raises(errors.SchemaMismatch, match="model input"):
            runtime.predict(bad)


def test_an_answer_that_float32_has_not_is_our_mistake(store: kinds.Store) -> None:
    features, labels = examples()
    booster = lightgbm.train(
        {"objective": "regression", "verbose": -1, "min_data_in_leaf": 5},
        lightgbm.Dataset(features, labels * 1e30),
        1,
    )
    huge = text(booster)
    marker = b"leaf_value="
    at = huge.index(marker) + len(marker)
    count = len(huge[at : huge.index(b"\n", at)].split())
    huge = huge[:at] + b" ".join([b"1e300"] * count) + huge[huge.index(b"\n", at) :]
    runtime = store.runtime("trees", LIGHTGBM, huge)
    with pytest.raises(errors.InvariantViolated, match="not finite"):
        runtime.predict(kinds.batch(2))
