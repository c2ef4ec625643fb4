"""Contributions of features: LightGBM's and XGBoost's own, and Shapley's definition by brute force."""

from __future__ import annotations

import itertools
import json
import math
import threading
from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost

from mainspring.native import contributions, status, trees

CATEGORIES = 12
WIDTH = 5


def table(rows: int, seed: int = 0) -> Any:
    """Numbers with NaN, one mostly zero, and a category, (rows, WIDTH) float32."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, WIDTH)).astype(np.float32)
    x[random.random(x.shape) < 0.1] = np.nan
    x[random.random(rows) < 0.5, 3] = 0
    x[:, 4] = random.integers(0, CATEGORIES, rows)
    return x


X = table(600)
Y = np.nan_to_num(X[:, 0]) * np.nan_to_num(X[:, 1]) + X[:, 4] % 5 + np.nan_to_num(X[:, 2])
CLASSES = np.clip(Y, 0, 2).astype(int)
LIGHTGBM: dict[str, tuple[Any, dict[str, Any]]] = {
    "regression": (Y, {}),
    "binary": (Y > 2, {"objective": "binary", "sigmoid": 0.7}),
    "multiclass": (CLASSES, {"objective": "multiclass", "num_class": 3}),
    "forest": (Y, {"objective": "regression", "boosting": "rf", "bagging_fraction": 0.5, "bagging_freq": 1}),
    "zero as missing": (Y, {"objective": "regression", "zero_as_missing": True}),
    "nothing missing": (Y, {"objective": "regression", "use_missing": False}),
    "no split": (Y, {"objective": "regression", "min_data_in_leaf": 590}),
    "deep": (Y, {"objective": "regression", "num_leaves": 120, "min_data_in_leaf": 2}),
}
XGBOOST: dict[str, tuple[Any, dict[str, Any]]] = {
    "regression": (Y, {}),
    "logistic": (Y > 2, {"objective": "binary:logistic"}),
    "softprob": (CLASSES, {"objective": "multi:softprob", "num_class": 3}),
    "deep": (Y, {"max_depth": 12, "min_child_weight": 0}),
    "subsampled": (Y > 2, {"objective": "binary:logistic", "subsample": 0.4, "num_parallel_tree": 2}),
    "no split": (Y, {"min_child_weight": 1e6}),
}


def of_lightgbm(name: str, rounds: int = 15) -> lightgbm.Booster:
    labels, extra = LIGHTGBM[name]
    chosen = {"objective": "regression", "verbose": -1, "num_threads": 1, "min_data_per_group": 5, **extra}
    return lightgbm.train(chosen, lightgbm.Dataset(X, labels, categorical_feature=[4]), rounds)


def matrix(x: Any, labels: Any = None) -> xgboost.DMatrix:
    kinds = ["q"] * (WIDTH - 1) + ["c"]
    return xgboost.DMatrix(x, labels, feature_types=kinds, enable_categorical=True, nthread=1)


def of_xgboost(name: str, rounds: int = 15) -> xgboost.Booster:
    labels, extra = XGBOOST[name]
    chosen = {"objective": "reg:squarederror", "nthread": 1, "max_cat_to_onehot": 3, "seed": 3, **extra}
    return xgboost.train(chosen, matrix(X, labels), rounds)


def odd(rows: int) -> Any:
    """Values at the traps: zeros, infinities that LightGBM takes, categories that no training saw."""
    random = np.random.default_rng(5)
    return random.choice(np.float32([0, -0.0, 1e-35, np.nan, 3.4e38, -0.5, -1, 0.3, 40, 11]), (rows, WIDTH))


@pytest.mark.parametrize("name", LIGHTGBM)
def test_they_are_lightgbms(name: str) -> None:
    booster = of_lightgbm(name)
    text = booster.model_to_string()
    model = contributions.Contributions.from_lightgbm(text)
    margins = trees.Trees.from_lightgbm(text)
    assert (model.width, model.n_trees) == (WIDTH, booster.num_trees())
    for x in (table(80, seed=3), odd(60), table(1)):
        want = np.asarray(booster.predict(x, pred_contrib=True)).reshape(len(x), -1, WIDTH + 1)
        for output in range(model.n_outputs):
            for same in (x, x.astype(np.float64)):
                ours = model.run(same, output=output)
                np.testing.assert_allclose(ours, want[:, output], rtol=1e-9, atol=1e-9)
            np.testing.assert_allclose(
                ours.sum(axis=1), margins.run(x, raw=True)[:, output], rtol=1e-9, atol=1e-9
            )


@pytest.mark.parametrize("name", XGBOOST)
def test_they_are_xgboosts(name: str) -> None:
    booster = of_xgboost(name)
    raw = bytes(booster.save_raw("json"))
    model, margins = contributions.Contributions.from_xgboost(raw), trees.Trees.from_xgboost(raw)
    for x in (table(80, seed=3), odd(60), table(1)):
        want = booster.predict(matrix(x), pred_contribs=True, strict_shape=True)
        for output in range(model.n_outputs):
            ours = model.run(x, output=output)
            # XGBoost itself computes in float32.
            np.testing.assert_allclose(ours, want[:, output], rtol=2e-5, atol=5e-6)
            np.testing.assert_allclose(
                ours.sum(axis=1), margins.run(x, raw=True)[:, output], rtol=1e-5, atol=1e-5
            )


TREE = {
    "left_children": [1, 3, 5, -1, -1, -1, 7, -1, -1],
    "right_children": [2, 4, 6, -1, -1, -1, 8, -1, -1],
    "split_indices": [0, 1, 2, 0, 0, 0, 0, 0, 0],  # feature 0 comes twice on one way
    "split_conditions": [0.5, 0.25, -1.0, 1.0, -2.0, 4.0, 2.0, 8.0, 16.0],
    "default_left": [1, 0, 1, 0, 0, 0, 1, 0, 0],
    "sum_hessian": [20, 8, 12, 3, 5, 2, 10, 4, 6],
}


def document(**changes: Any) -> str:
    model = {"tree_info": [0], "trees": [{**TREE, **changes}]}
    return json.dumps(
        {
            "learner": {
                "learner_model_param": {"num_feature": "3", "num_class": "0", "base_score": "[5E-1]"},
                "objective": {"name": "reg:squarederror"},
                "gradient_booster": {"name": "gbtree", "model": model},
            }
        }
    )


def expected(x: Any, known: frozenset[int], node: int = 0) -> float:
    """The tree's answer where only `known` features are: both sides of other splits, by their training rows."""
    left, right = TREE["left_children"][node], TREE["right_children"][node]
    cut = TREE["split_conditions"][node]
    if left < 0:
        return float(cut)
    feature = int(TREE["split_indices"][node])
    if feature in known:
        goes_left = bool(TREE["default_left"][node]) if math.isnan(x[feature]) else x[feature] < cut
        return expected(x, known, int(left if goes_left else right))
    cover = TREE["sum_hessian"]
    return sum(cover[int(c)] / cover[node] * expected(x, known, int(c)) for c in (left, right))


def test_they_are_shapley_values_by_definition() -> None:
    model = contributions.Contributions.from_xgboost(document())
    assert model.depth == 3
    rows = np.array(list(itertools.product([0.0, 1.0, 3.0, np.nan], [0.0, 1.0], [-2.0, 0.0])), np.float32)
    for x, ours in zip(rows, model.run(rows), strict=True):
        for feature in range(3):
            others = [f for f in range(3) if f != feature]
            phi = 0.0
            for size in range(3):
                for chosen in itertools.combinations(others, size):
                    share = math.factorial(size) * math.factorial(2 - size) / math.factorial(3)
                    known = frozenset(chosen)
                    phi += share * (expected(x, known | {feature}) - expected(x, known))
            assert ours[feature] == pytest.approx(phi, abs=1e-12)
        assert ours[3] == pytest.approx(0.5 + expected(x, frozenset()), abs=1e-12)


def test_a_side_that_no_training_row_took_weighs_nothing_until_it_is_taken() -> None:
    model = contributions.Contributions.from_xgboost(document(sum_hessian=[20, 0, 20, 0, 0, 2, 18, 8, 10]))
    margins = trees.Trees.from_xgboost(document())
    rows = np.float32([[0, 0, 0], [0, 1, 0], [3, 0, 0]])
    ours = model.run(rows)
    assert np.isfinite(ours).all()
    np.testing.assert_allclose(ours.sum(axis=1), margins.run(rows, raw=True)[:, 0], rtol=1e-6)


def refused(call: Any) -> status.NativeError:
    with pytest.raises(status.NativeError) as caught:
        call()
    return caught.value


def test_models_that_cannot_be_explained_are_refused() -> None:
    make = contributions.Contributions.from_xgboost
    assert refused(lambda: make(document(sum_hessian=[]))).code == "unsupported_model"
    assert refused(lambda: make(document(sum_hessian=[0] * 9))).code == "unsupported_model"
    assert refused(lambda: make(document(sum_hessian=[20, -8, 28, 3, 5, 2, 10, 4, 6]))).code == "bad_model"
    # A circle, and a node with two parents.
    assert (
        refused(lambda: make(document(right_children=[2, 4, 6, -1, -1, -1, 0, -1, -1]))).code == "bad_model"
    )
    assert (
        refused(lambda: make(document(right_children=[1, 4, 6, -1, -1, -1, 8, -1, -1]))).code == "bad_model"
    )
    assert refused(lambda: make("{")).code == "bad_model"
    assert refused(lambda: make(7)).code == "bad_dtype"  # type: ignore[arg-type]
    text = of_lightgbm("regression", 2).model_to_string()
    without = "\n".join(line for line in text.splitlines() if not line.startswith(("internal_c", "leaf_c")))
    trees.Trees.from_lightgbm(without)
    assert refused(lambda: contributions.Contributions.from_lightgbm(without)).code == "unsupported_model"
    cut = text.replace("leaf_count=", "leaf_count=1 ", 1)
    assert refused(lambda: trees.Trees.from_lightgbm(cut)).code == "bad_model"


def test_a_chain_of_splits_is_explained_up_to_a_limit() -> None:
    def chain(depth: int) -> str:
        n = 2 * depth + 1
        left = [i + 1 if i % 2 == 0 and i < n - 1 else -1 for i in range(n)]
        right = [i + 2 if i % 2 == 0 and i < n - 1 else -1 for i in range(n)]
        return document(
            left_children=left,
            right_children=right,
            split_indices=[i // 2 % 3 for i in range(n)],
            split_conditions=[-float(i) for i in range(n)],
            default_left=[0] * n,
            sum_hessian=[1.0 if i % 2 else float(depth + 1 - i // 2) for i in range(n)],
        )

    deepest = contributions.Contributions.from_xgboost(chain(1024))
    rows = table(2)[:, :3].copy()
    margins = trees.Trees.from_xgboost(chain(1024)).run(rows, raw=True)[:, 0]
    np.testing.assert_allclose(deepest.run(rows).sum(axis=1), margins, rtol=1e-5)
    assert refused(lambda: contributions.Contributions.from_xgboost(chain(1025))).code == "unsupported_model"


def test_arrays_that_are_not_rows_of_the_model_are_refused() -> None:
    model = contributions.Contributions.from_xgboost(document())
    assert model.run(np.zeros((0, 3), np.float32)).shape == (0, 4)
    for wrong, code in (
        (np.zeros((2, 4), np.float32), "bad_shape"),
        (np.zeros(3, np.float32), "bad_shape"),
        (np.zeros((2, 3)), "bad_dtype"),
        (np.zeros((2, 6), np.float32)[:, ::2], "not_contiguous"),
    ):
        assert refused(lambda wrong=wrong: model.run(wrong)).code == code
    assert refused(lambda: model.run(np.zeros((1, 3), np.float32), output=1)).code == "out_of_range"


def test_threads_share_a_model() -> None:
    model = contributions.Contributions.from_lightgbm(of_lightgbm("deep").model_to_string())
    x = table(40, seed=9)
    want, found = model.run(x), []

    def ask() -> None:
        found.append(np.array_equal(model.run(x), want))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 6
