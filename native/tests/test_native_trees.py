"""Trees: the answers of LightGBM and XGBoost to the last bit, over models they trained here, and every refusal."""

from __future__ import annotations

import functools
import json
import os
import re
import threading
from typing import Any

import hypothesis
import lightgbm
import numpy as np
import pytest
import xgboost
from hypothesis import strategies as st

from mainspring.native import status, targets, trees

CATEGORIES = 40
EDGES = [
    0.0,
    -0.0,
    np.inf,
    -np.inf,
    np.nan,
    1e-35,
    -1e-35,
    1.0000001e-35,
    1e-45,
    -1e-45,
    3.4e38,
    -0.5,
    -1.0,
    1e9,
]


def table(rows: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Six numbers with NaN, one of them mostly zero, and a category."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 8)).astype(np.float32)
    x[random.random(x.shape) < 0.1] = np.nan
    x[random.random(rows) < 0.5, 6] = 0
    x[:, 7] = random.integers(0, CATEGORIES, rows)
    return x


def odd_rows(seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Values at and beside every trap, categories that no training saw."""
    random = np.random.default_rng(seed)
    return random.choice(np.array([*EDGES, 0.3, -1.7, 7, 39, 40, 1000], np.float32), (70, 8))


X = table(1000)
NOISE = np.random.default_rng(1).normal(size=len(X))
Y = np.nan_to_num(X[:, 0]) + X[:, 7] % 5 + NOISE
CLASSES = np.clip(Y, 0, 3).astype(int)
POSITIVE = np.abs(Y) + 0.1
LIGHTGBM = {
    "regression": (Y, {}),
    "regression sqrt": (Y, {"objective": "regression", "reg_sqrt": True}),
    "regression_l1": (Y, {}),
    "huber": (Y, {}),
    "fair": (Y, {}),
    "quantile": (Y, {}),
    "mape": (Y, {}),
    "binary": (Y > 2, {"sigmoid": 0.7}),
    "multiclass": (CLASSES, {"num_class": 4}),
    "multiclassova": (CLASSES, {"num_class": 4}),
    "poisson": (POSITIVE, {}),
    "gamma": (POSITIVE, {}),
    "tweedie": (POSITIVE, {}),
    "cross_entropy": ((Y > 2) * 0.9, {}),
    "cross_entropy_lambda": ((Y > 2) * 0.9, {}),
    "forest": (Y > 2, {"objective": "binary", "boosting": "rf", "bagging_fraction": 0.5, "bagging_freq": 1}),
    "dart": (Y > 2, {"objective": "binary", "boosting": "dart"}),
    "zero as missing": (Y > 2, {"objective": "binary", "zero_as_missing": True}),
    "nothing missing": (Y > 2, {"objective": "binary", "use_missing": False}),
    "stumps": (Y, {"objective": "regression", "num_leaves": 2}),
    "no split": (Y, {"objective": "regression", "min_data_in_leaf": 900}),
    "many leaves": (Y, {"objective": "regression", "num_leaves": 200, "min_data_in_leaf": 2}),
}
XGBOOST = {
    "reg:squarederror": (Y, {}),
    "reg:squaredlogerror": (POSITIVE, {}),
    "reg:pseudohubererror": (Y, {}),
    "reg:absoluteerror": (Y, {}),
    "reg:quantileerror": (Y, {"quantile_alpha": [0.1, 0.5, 0.9]}),
    "reg:logistic": (Y > 2, {}),
    "binary:logistic": (Y > 2, {}),
    "binary:logitraw": (Y > 2, {}),
    "binary:hinge": (Y > 2, {}),
    "count:poisson": (POSITIVE, {}),
    "reg:gamma": (POSITIVE, {}),
    "reg:tweedie": (POSITIVE, {}),
    "multi:softprob": (CLASSES, {"num_class": 4}),
    "multi:softmax": (CLASSES, {"num_class": 4}),
    "several targets": (np.stack([Y, POSITIVE], 1), {"objective": "reg:squarederror"}),
    "parallel trees": (Y > 2, {"objective": "binary:logistic", "num_parallel_tree": 3, "subsample": 0.5}),
    "exact": (Y, {"objective": "reg:squarederror", "tree_method": "exact"}),
    "deep": (Y, {"objective": "reg:squarederror", "max_depth": 10, "min_child_weight": 0}),
    "no split": (Y, {"objective": "reg:squarederror", "min_child_weight": 1e6}),
}


def train_lightgbm(name: str, rounds: int = 20) -> lightgbm.Booster:
    labels, extra = LIGHTGBM[name]
    settings = {
        "objective": name,
        "num_leaves": 31,
        "verbose": -1,
        "num_threads": 1,
        "min_data_per_group": 5,
        **extra,
    }
    return lightgbm.train(settings, lightgbm.Dataset(X, labels, categorical_feature=[7]), rounds)


def matrix(x: Any, labels: Any = None, *, is_categorical: bool = True) -> xgboost.DMatrix:
    kinds = ["q"] * 7 + ["c" if is_categorical else "q"]
    return xgboost.DMatrix(x, labels, feature_types=kinds, enable_categorical=is_categorical, nthread=1)


def train_xgboost(name: str, rounds: int = 20) -> tuple[xgboost.Booster, bool]:
    labels, extra = XGBOOST[name]
    is_categorical = extra.get("tree_method") != "exact"
    settings = {"objective": name, "max_depth": 6, "nthread": 1, "max_cat_to_onehot": 3, "seed": 3, **extra}
    data = matrix(X, labels, is_categorical=is_categorical)
    return xgboost.train(settings, data, rounds), is_categorical


def batches() -> list[np.ndarray[Any, np.dtype[np.float32]]]:
    """Around the block (64 rows), the vectors and the eight that are walked together, none, and odd values."""
    return [table(n, seed=n) for n in (0, 1, 2, 5, 7, 8, 9, 17, 63, 64, 65, 300)] + [
        odd_rows(s) for s in range(3)
    ]


@pytest.mark.parametrize("target", targets.available())
@pytest.mark.parametrize("name", ["regression", "binary", "multiclass", "no split", "many leaves", "deep"])
def test_sealed_arrays_answer_as_own_ones(name: str, target: str) -> None:
    def read() -> trees.Trees:
        if name in LIGHTGBM and name != "no split":
            return trees.Trees.from_lightgbm(train_lightgbm(name).model_to_string(), target=target)
        return trees.Trees.from_xgboost(bytes(train_xgboost(name)[0].save_raw("json")), target=target)

    own, packer = read(), read()
    fd = packer.sealed()
    try:
        mapped = own.over(fd)
        with pytest.raises(TypeError):
            own.over("a file")  # type: ignore[arg-type]
    finally:
        os.close(fd)
    del packer
    assert (own.is_mapped, mapped.is_mapped) == (False, True)
    assert (mapped.target, mapped.n_nodes, mapped.dtype) == (target, own.n_nodes, own.dtype)
    assert mapped.packed.tobytes() == own.packed.tobytes()
    for features in batches():
        for raw in (False, True):
            assert mapped.run(features, raw=raw).tobytes() == own.run(features, raw=raw).tobytes()
    features = table(3)
    bound = mapped.bind(features)
    want = own.run(features)
    del own, mapped
    bound.run()
    assert bound.out.tobytes() == want.tobytes()


def test_arrays_of_others_are_refused() -> None:
    text = train_lightgbm("regression").model_to_string()
    own = trees.Trees.from_lightgbm(text)
    others = [trees.Trees.from_lightgbm(train_lightgbm("regression", 19).model_to_string())]
    others += [trees.Trees.from_lightgbm(text, target=t) for t in targets.available() if t != own.target]
    for other in others:
        fd = other.sealed()
        with pytest.raises(status.NativeError, match="own memory") as caught:
            own.over(fd)
        assert caught.value.code == "corrupt"
        os.close(fd)
    with pytest.raises(status.NativeError) as caught:
        own.over(fd)
    assert caught.value.code == "io"


@pytest.mark.parametrize("target", targets.available())
@pytest.mark.parametrize("name", LIGHTGBM)
def test_lightgbm_to_the_last_bit(name: str, target: str) -> None:
    booster = train_lightgbm(name)
    model = trees.Trees.from_lightgbm(booster.model_to_string(), target=target)
    assert model.target == target
    assert model.n_trees == booster.num_trees()
    assert (model.width, model.dtype) == (8, np.float64)
    assert list(model.feature_names) == booster.feature_name()
    for x in batches()[1:]:
        for raw in (False, True):
            want = booster.predict(x, raw_score=raw).reshape(len(x), -1)
            assert model.n_outputs == want.shape[1]
            np.testing.assert_array_equal(model.run(x, raw=raw), want)
            wide = x.astype(np.float64)
            np.testing.assert_array_equal(model.run(wide, raw=raw), want)
            wide += np.random.default_rng(2).normal(scale=1e-9, size=wide.shape)  # no float32 any more
            want = booster.predict(wide, raw_score=raw).reshape(len(x), -1)
            np.testing.assert_array_equal(model.run(wide, raw=raw), want)


@pytest.mark.parametrize("target", targets.available())
@pytest.mark.parametrize("name", XGBOOST)
def test_xgboost_to_the_last_bit(name: str, target: str) -> None:
    booster, is_categorical = train_xgboost(name)
    model = trees.Trees.from_xgboost(bytes(booster.save_raw("json")), target=target)
    assert (model.width, model.dtype) == (8, np.float32)
    for x in batches()[1:]:
        # XGBoost itself refuses infinities.
        x = np.where(np.isinf(x), np.float32(2), x)
        for raw in (False, True):
            data = matrix(x, is_categorical=is_categorical)
            want = booster.predict(data, output_margin=raw).reshape(len(x), -1)
            np.testing.assert_array_equal(model.run(x, raw=raw), want)


def test_thresholds_themselves() -> None:
    """x on a threshold, one float above, one below: `<=` in double for LightGBM, `<` in float for XGBoost."""
    booster = train_lightgbm("nothing missing")
    model = trees.Trees.from_lightgbm(booster.model_to_string())
    found = booster.trees_to_dataframe()
    cuts = found[found.decision_type == "<="].threshold.to_numpy(np.float64)
    assert len(cuts) > 100
    x = np.repeat(cuts[:, None], 8, axis=1)
    for near in (x, np.nextafter(x, np.inf), np.nextafter(x, -np.inf)):
        np.testing.assert_array_equal(model.run(near)[:, 0], booster.predict(near))
    single = x.astype(np.float32)
    for near32 in (
        single,
        np.nextafter(single, np.float32(np.inf)),
        np.nextafter(single, np.float32(-np.inf)),
    ):
        np.testing.assert_array_equal(model.run(near32)[:, 0], booster.predict(near32))

    boosted, is_categorical = train_xgboost("exact")
    model = trees.Trees.from_xgboost(bytes(boosted.save_raw("json")))
    splits = boosted.trees_to_dataframe().Split.dropna().to_numpy(np.float32)
    assert len(splits) > 100
    y = np.repeat(splits[:, None], 8, axis=1)
    for near32 in (y, np.nextafter(y, np.float32(np.inf)), np.nextafter(y, np.float32(-np.inf))):
        want = boosted.predict(matrix(near32, is_categorical=is_categorical))
        np.testing.assert_array_equal(model.run(near32)[:, 0], want)


values = st.sampled_from(EDGES) | st.floats(width=32) | st.integers(-2, 50).map(float)


@pytest.fixture(scope="module")
def pairs() -> list[tuple[trees.Trees, Any]]:
    """Ours and the library's, of a few models."""
    made: list[tuple[trees.Trees, Any]] = []
    for name in ("binary", "zero as missing", "multiclass"):
        booster = train_lightgbm(name, 5)
        made.append((trees.Trees.from_lightgbm(booster.model_to_string()), booster.predict))
    boosted, _ = train_xgboost("multi:softprob", 5)
    made.append(
        (trees.Trees.from_xgboost(bytes(boosted.save_raw("json"))), lambda x: boosted.predict(matrix(x)))
    )
    return made


@hypothesis.given(rows=st.lists(st.lists(values, min_size=8, max_size=8), min_size=1, max_size=12))
@hypothesis.settings(deadline=None, max_examples=60)
def test_any_values(pairs: list[tuple[trees.Trees, Any]], rows: list[list[float]]) -> None:
    x = np.array(rows, np.float32)
    for model, predict in pairs:
        y = x if model.dtype == np.float64 else np.where(np.isinf(x), np.float32(1e30), x)
        np.testing.assert_array_equal(model.run(y), predict(y).reshape(len(x), -1))
        for i in range(len(x)):
            assert model.run(y[i : i + 1]).tobytes() == model.run(y)[i : i + 1].tobytes()


def test_bound_arrays_are_read_anew() -> None:
    model = trees.Trees.from_lightgbm(train_lightgbm("binary").model_to_string())
    x, out = table(5), np.zeros((5, 1))
    bound = model.bind(x, out)
    assert bound.out is out
    for seed in (1, 2):
        x[:] = table(5, seed)
        assert bound.run() is None
        assert out.tobytes() == model.run(x).tobytes()
    assert model.run(x, out) is out
    raw = model.bind(x, raw=True)
    raw.run()
    assert raw.out.tobytes() == model.run(x, raw=True).tobytes()


def test_many_threads_at_once() -> None:
    model = trees.Trees.from_lightgbm(train_lightgbm("multiclass").model_to_string())
    x = np.tile(table(500), (12, 1))  # long enough to give up the lock
    want = model.run(x).tobytes()
    got: list[bytes] = []
    threads = [threading.Thread(target=lambda: got.append(model.run(x).tobytes())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [want] * 4


def refused(code: str, *words: str, run: Any) -> None:
    with pytest.raises(status.NativeError) as caught:
        run()
    assert caught.value.code == code, caught.value.message
    for word in words:
        assert word in caught.value.message


def test_arrays_that_are_refused() -> None:
    model = trees.Trees.from_lightgbm(train_lightgbm("binary").model_to_string())
    boosted, _ = train_xgboost("binary:logistic")
    float_model = trees.Trees.from_xgboost(bytes(boosted.save_raw("json")))
    x = table(4)
    refused("bad_shape", "(4, 8)", run=lambda: model.run(x[:, :7].copy()))
    refused("bad_shape", run=lambda: model.run(x[0]))
    refused("bad_dtype", run=lambda: model.run(np.zeros((4, 8), np.int64)))
    refused("bad_dtype", run=lambda: model.run([[0.0] * 8]))  # type: ignore[arg-type]
    refused("bad_dtype", "float32", run=lambda: float_model.run(x.astype(np.float64)))
    refused("not_contiguous", run=lambda: model.run(table(8)[::2]))
    refused("bad_dtype", run=lambda: model.run(x, np.zeros((4, 1), np.float32)))
    refused("bad_shape", run=lambda: model.run(x, np.zeros((4, 2))))
    locked = np.zeros((4, 1))
    locked.flags.writeable = False
    refused("not_writable", run=lambda: model.run(x, locked))
    refused("overlap", run=lambda: float_model.bind(x, x.reshape(-1)[:4].reshape(4, 1)))


def test_arguments_by_place_and_by_name() -> None:
    text = train_lightgbm("binary", 3).model_to_string()
    model = trees.Trees.from_lightgbm(text=text, target=None)
    x, out = table(4), np.zeros((4, 1))
    want = model.run(x, raw=True)
    assert model.run(x, out, raw=True) is out
    assert model.run(out=None, raw=np.True_, features=x).tobytes() == want.tobytes() == out.tobytes()  # type: ignore[arg-type]
    bound = model.bind(features=x, out=out, raw=True)
    bound.run()
    assert bound.out is out and out.tobytes() == want.tobytes()
    any_model: Any = model
    for words, call in {
        "missing required argument 'features'": lambda: any_model.run(),
        "missing required argument 'text'": lambda: any_model.from_lightgbm(),
        "at most 2 positional arguments (3 given)": lambda: any_model.run(x, out, True),
        "unexpected keyword argument 'größe'": lambda: any_model.run(x, größe=1),
        "multiple values for argument 'features'": lambda: any_model.bind(x, features=x),
        "cannot create": lambda: trees.Trees(),
    }.items():
        with pytest.raises(TypeError, match=re.escape(words)):
            call()
    with pytest.raises(ValueError, match="ambiguous"):
        any_model.run(x, raw=x)
    refused("unknown_target", "targets.available()", run=lambda: any_model.from_lightgbm(text, target="avx9"))
    refused("unknown_target", "`int`", run=lambda: any_model.from_xgboost("{}", target=7))


def edited(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new, 1)


LINES = {
    "truncated": ("end of trees", "", "bad_model", "end of trees"),
    "another file": ("tree\n", "three\n", "bad_model", "begin with"),
    "version": ("version=v4", "version=v9", "unsupported_model", "`v9`"),
    "objective": ("objective=binary", "objective=wizardry", "unsupported_model", "wizardry"),
    "objective's word": ("objective=binary sigmoid:1", "objective=binary magic", "unsupported_model", "magic"),
    "sigmoid": ("sigmoid:1", "sigmoid:-1", "bad_model", "positive"),
    "linear": ("is_linear=0", "is_linear=1", "unsupported_model", "linear"),
    "no width": ("max_feature_idx=7", "max_feature_idx=x", "bad_model", "max_feature_idx"),
    "too wide": ("max_feature_idx=7", "max_feature_idx=4000000000", "bad_model", "max_feature_idx"),
    "narrow": ("max_feature_idx=7", "max_feature_idx=2", "bad_model", "feature_names"),
    "rounds": ("num_tree_per_iteration=1", "num_tree_per_iteration=2", "bad_model", "rounds of 2"),
    "a leaf more": ("num_leaves=31", "num_leaves=32", "bad_model", "32 numbers"),
    "twice": ("num_cat=", "num_leaves=31\nnum_cat=", "bad_model", "twice"),
    "cycle": ("left_child=", "left_child=0 ", "bad_model", "30 numbers"),
    "sets": ("cat_boundaries=0 ", "cat_boundaries=5 ", "bad_model", "cat_boundaries"),
}  # fmt: skip


@pytest.mark.parametrize("name", LINES)
def test_lightgbm_texts_that_are_refused(name: str) -> None:
    old, new, code, word = LINES[name]
    text = edited(train_lightgbm("binary" if "objective" not in name else "forest", 3).model_to_string(), old, new) \
        if name not in ("objective's word", "sigmoid") else edited(SIMPLE, old, new)  # fmt: skip
    refused(code, word, run=lambda: trees.Trees.from_lightgbm(text))


#: The smallest text that is a model: one split with two leaves, and one tree without a split.
SIMPLE = """tree
version=v4
num_class=1
num_tree_per_iteration=1
max_feature_idx=0
objective=binary sigmoid:1
feature_names=a

Tree=0
num_leaves=2
num_cat=0
split_feature=0
threshold=0.5
decision_type=8
left_child=-1
right_child=-2
leaf_value=1 2

Tree=1
num_leaves=1
num_cat=0
leaf_value=10

end of trees
"""


def test_smallest_text() -> None:
    model = trees.Trees.from_lightgbm(SIMPLE.encode())
    x = np.array([[0.5], [0.6], [np.nan]], np.float32)
    assert model.run(x, raw=True)[:, 0].tolist() == [11.0, 12.0, 12.0]
    assert repr(model) == "Trees(2 trees, width=1, n_outputs=1)"
    assert (model.objective, model.n_nodes, model.feature_names) == ("binary", 4, ("a",))


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("left_child=-1", "left_child=0", "twice"),
        ("left_child=-1", "left_child=1", "does not exist"),
        ("left_child=-1", "left_child=-3", "does not exist"),
        ("left_child=-1", "left_child=-2", "twice"),
        ("left_child=-1", "left_child=-2147483648", "does not exist"),
        ("split_feature=0", "split_feature=1", "below 1"),
        ("split_feature=0", "split_feature=-1", "split_feature"),
        ("threshold=0.5", "threshold=nan", "NaN"),
        ("leaf_value=1 2", "leaf_value=1 inf", "finite"),
        ("leaf_value=1 2", "leaf_value=1 x", "`x`"),
        ("decision_type=8", "decision_type=9", "set of categories"),
        ("num_leaves=2", "num_leaves=268435457", "num_leaves"),
        ("num_leaves=1\n", "num_leaves=0\n", "num_leaves"),
    ],
)
def test_splits_that_are_no_tree(old: str, new: str, word: str) -> None:
    refused("bad_model", word, run=lambda: trees.Trees.from_lightgbm(edited(SIMPLE, old, new)))


def simple_json() -> Any:
    tree = {
        "left_children": [1, -1, -1], "right_children": [2, -1, -1], "split_indices": [0, 0, 0],
        "split_conditions": [0.5, -1.0, 2.0], "default_left": [1, 0, 0], "split_type": [0, 0, 0],
        "categories": [], "categories_nodes": [], "categories_segments": [], "categories_sizes": [],
        "tree_param": {"num_nodes": "3", "size_leaf_vector": "1"},
    }  # fmt: skip
    return {
        "learner": {
            "feature_names": ["größe"],
            "learner_model_param": {"num_feature": "1", "num_class": "0", "num_target": "1", "base_score": "5E-1"},
            "objective": {"name": "reg:squarederror"},
            "gradient_booster": {"name": "gbtree", "model": {"tree_info": [0], "trees": [tree]}},
        }
    }  # fmt: skip


TREE = ("learner", "gradient_booster", "model", "trees", 0)
PARAM = ("learner", "learner_model_param")
BAD_JSON: list[tuple[tuple[Any, ...], Any, str, str]] = [
    ((*TREE, "left_children"), [0, -1, -1], "bad_model", "twice"),
    ((*TREE, "left_children"), [3, -1, -1], "bad_model", "does not exist"),
    ((*TREE, "left_children"), [1.5, -1, -1], "bad_model", "does not exist"),
    ((*TREE, "left_children"), [2, -1, -1], "bad_model", "twice"),
    ((*TREE, "left_children"), [], "bad_model", "nodes"),
    ((*TREE, "right_children"), [-1, -1, -1], "bad_model", "two children"),
    ((*TREE, "right_children"), [2, -1], "bad_model", "one entry a node"),
    ((*TREE, "split_indices"), [1, 0, 0], "bad_model", "feature below 1"),
    ((*TREE, "split_conditions"), [float("nan"), 1, 1], "bad_model", "NaN"),
    ((*TREE, "split_conditions"), [0, float("inf"), 1], "bad_model", "finite"),
    ((*TREE, "split_type"), [2, 0, 0], "unsupported_model", "split_type"),
    ((*TREE, "categories_nodes"), [0], "bad_model", "belong together"),
    ((*TREE, "tree_param", "size_leaf_vector"), "3", "unsupported_model", "multi_output_tree"),
    ((*TREE, "tree_param", "size_leaf_vector"), "x", "bad_model", "size_leaf_vector"),
    (("learner", "gradient_booster", "name"), "dart", "unsupported_model", "dart"),
    (("learner", "gradient_booster", "name"), 7, "bad_model", "name"),
    (("learner", "gradient_booster", "model", "tree_info"), [1], "bad_model", "tree_info"),
    (("learner", "gradient_booster", "model", "trees"), [], "bad_model", "none"),
    (("learner", "objective", "name"), "survival:aft", "unsupported_model", "survival:aft"),
    (("learner", "objective"), None, "bad_model", "objective"),
    (("learner", "feature_names"), ["a", "b"], "bad_model", "feature_names"),
    (("learner",), [], "bad_model", "learner"),
    ((*PARAM, "num_feature"), "0", "bad_model", "num_feature"),
    ((*PARAM, "num_class"), "-1", "bad_model", "num_class"),
    ((*PARAM, "num_target"), "70000", "bad_model", "num_target"),
    ((*PARAM, "base_score"), "[1E0,2E0]", "bad_model", "base_score"),
    ((*PARAM, "base_score"), "NaN", "bad_model", "base_score"),
    ((*PARAM, "base_score"), "1E0,", "bad_model", "base_score"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "code", "word"), BAD_JSON)
def test_xgboost_models_that_are_refused(path: tuple[Any, ...], value: Any, code: str, word: str) -> None:
    model = simple_json()
    assert trees.Trees.from_xgboost(json.dumps(model)).feature_names == ("größe",)
    at = model
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    refused(code, word, run=lambda: trees.Trees.from_xgboost(json.dumps(model)))


def test_base_scores_beyond_their_range() -> None:
    for objective, score in (("binary:logistic", "1E0"), ("count:poisson", "0E0")):
        model = simple_json()
        model["learner"]["objective"]["name"] = objective
        model["learner"]["learner_model_param"]["base_score"] = score
        refused("bad_model", "base_score", run=lambda m=model: trees.Trees.from_xgboost(json.dumps(m)))


def test_categories_beyond_reason() -> None:
    """A set takes a bit for each category up to its largest: few bytes must not become many."""
    model = simple_json()
    tree = model["learner"]["gradient_booster"]["model"]["trees"][0]
    tree |= {
        "split_type": [1, 0, 0],
        "categories_nodes": [0],
        "categories_segments": [0],
        "categories_sizes": [1],
    }
    tree["categories"] = [2**24]
    refused("bad_model", "belong together", run=lambda: trees.Trees.from_xgboost(json.dumps(model)))
    tree |= {"categories": [2**24 - 1], "categories_nodes": [0] * 60, "categories_segments": [0] * 60}
    tree["categories_sizes"] = [1] * 60
    refused("unsupported_model", "bits", run=lambda: trees.Trees.from_xgboost(json.dumps(model)))
    tree["categories_sizes"] = [2] * 60
    refused("bad_model", "beyond", run=lambda: trees.Trees.from_xgboost(json.dumps(model)))


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "nul", '{"learner": {}}', '{"learner": 1}', "[" * 100_000, '{"a":' * 100_000, '{"a": 1, "a": 2}',
     '"\\ud800"', '"\\u12"', '"\x01"', "1e999", "[1,]", "[1 2]", "[true, fals]", '{"learner": {}} x', "\x00", "é"],
)  # fmt: skip
def test_texts_that_are_no_json(text: str) -> None:
    refused("bad_model", run=lambda: trees.Trees.from_xgboost(text))
    refused("bad_model", run=lambda: trees.Trees.from_lightgbm(text))
    refused("bad_dtype", run=lambda: trees.Trees.from_lightgbm(7))  # type: ignore[arg-type]


@functools.cache  # no fixture: Hypothesis would print its bytes
def files() -> list[tuple[Any, bytes]]:
    boosted, _ = train_xgboost("multi:softprob", 2)
    return [
        (trees.Trees.from_lightgbm, train_lightgbm("multiclass", 2).model_to_string().encode()),
        (trees.Trees.from_lightgbm, SIMPLE.encode()),
        (trees.Trees.from_xgboost, bytes(boosted.save_raw("json"))),
        (trees.Trees.from_xgboost, json.dumps(simple_json()).encode()),
    ]


PIECES = [
    b"-",
    b"9",
    b" ",
    b"\n",
    b"inf",
    b"nan",
    b"e9",
    b"[",
    b"]",
    b"{",
    b'"',
    b",",
    b"=",
    b"\x00",
    b"\xff",
]


@hypothesis.given(which=st.integers(0, 3), seed=st.integers(0, 2**32 - 1))
@hypothesis.settings(deadline=None, max_examples=400)
def test_damaged_files_are_refused_or_run(which: int, seed: int) -> None:
    """Bytes changed, cut, doubled or moved: a NativeError, or a model that still answers every row."""
    read, original = files()[which]
    text, random = bytearray(original), np.random.default_rng(seed)
    for _ in range(random.integers(1, 5)):
        at, n = random.integers(0, len(text) + 1), random.integers(1, 60)
        kind = random.integers(0, 5)
        if kind == 0:
            text[at : at + 1] = PIECES[random.integers(0, len(PIECES))]
        elif kind == 1 and random.random() < 0.2:
            del text[at:]
        elif kind == 2:
            text[at:at] = text[at : at + n]
        elif kind == 3:
            del text[at : at + n]
        else:
            text[at : at + 1] = bytes([random.integers(0, 256)])
    try:
        model = read(bytes(text))
    except status.NativeError as error:
        assert error.code in ("bad_model", "unsupported_model")
        return
    x = np.full((9, model.width), 0.25, np.float32)
    assert model.run(x).shape == (9, model.n_outputs)
