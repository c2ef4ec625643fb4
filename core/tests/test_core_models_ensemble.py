"""Ensembles: a graph of models in one bundle answers as its steps put together by hand, or does not load."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import bundle_kinds as kinds
import lightgbm
import numpy as np
import pytest
from bundle_contents import CONTENTS

from mainspring.core import errors, ports
from mainspring.core.models import architecture, bundle, ensemble, network, runtimes

TREES = {"format": "lightgbm", "dense_width": 3, "id_columns": ["carrier"]}
TABLE = architecture.Table(column="carrier", rows=5, dimensions=2)
#: Over the plan's three columns and the trees' score.
STACKED = architecture.Architecture(
    dense_width=4, id_columns=("carrier",), tables=(TABLE,), hidden_sizes=(8,)
)
#: Over two scores alone.
JUDGE = architecture.Architecture(dense_width=2)

STEPS: list[dict[str, Any]] = [
    {"name": "trees", "kind": "trees", "model": TREES},
    {
        "name": "net",
        "kind": "embedding_mlp",
        "model": STACKED.model_dump(mode="json"),
        "scores_of": ["trees"],
    },
    {
        "name": "judge",
        "kind": "embedding_mlp",
        "model": JUDGE.model_dump(mode="json"),
        "takes_plan": False,
        "scores_of": ["net", "trees"],
    },
    {"name": "blend", "kind": "mean", "scores_of": ["trees", "judge"], "weights": [1, 3]},
]
MODEL: dict[str, Any] = {"dense_width": 3, "id_columns": ["carrier"], "output": "blend", "steps": STEPS}


@pytest.fixture(scope="module")
def learned() -> dict[str, tuple[Any, bytes]]:
    batch = kinds.batch(400, seed=5)
    features = np.concatenate([batch.dense, batch.ids], axis=1)
    labels = features[:, 0] * features[:, 1] > (features[:, 3] == 2)
    options = {"objective": "binary", "num_leaves": 7, "min_data_in_leaf": 5, "verbose": -1}
    booster = lightgbm.train(options, lightgbm.Dataset(features, labels), 10)
    return {
        "trees": ("trees", str(booster.model_to_string()).encode()),
        "net": ("embedding_mlp", network.save_weights(network.EmbeddingMlp(STACKED, seed=1))),
        "judge": ("embedding_mlp", network.save_weights(network.EmbeddingMlp(JUDGE, seed=2))),
    }


@pytest.fixture
def store(tmp_path: Path) -> kinds.Store:
    return kinds.Store(tmp_path)


def write(
    store: kinds.Store,
    learned: dict[str, tuple[Any, bytes]],
    model: dict[str, Any] = MODEL,
    **extra_files: bytes,
) -> bundle.Bundle:
    contents = dataclasses.replace(
        CONTENTS,
        kind="ensemble",
        model=model,
        weights=b"",
        plan=kinds.FITTED.to_bytes(),
        input_columns=kinds.FITTED.inputs,
        extra_files={**ensemble.files_of(learned), **extra_files},
    )
    return store.bundles.open(store.bundles.write(contents, store.key).digest, store.trust)


def changed(**steps: dict[str, Any] | None) -> dict[str, Any]:
    """MODEL with fields of steps changed, or steps left out."""
    kept = [{**s, **(steps.get(s["name"]) or {})} for s in STEPS if steps.get(s["name"], {}) is not None]
    return {**MODEL, "steps": kept}


def test_it_answers_as_its_steps_put_together(
    store: kinds.Store, learned: dict[str, tuple[Any, bytes]]
) -> None:
    runtime: ports.ModelRuntime = store.load(write(store, learned))
    assert runtime.name == "ensemble"
    trees = store.runtime("trees", TREES, learned["trees"][1])
    net = network.load_weights(STACKED, learned["net"][1])
    judge = network.load_weights(JUDGE, learned["judge"][1])
    for rows in (1, 2, 50):
        batch = kinds.batch(rows, seed=rows)
        by_trees = trees.predict(batch)
        wide = ports.ModelInput(np.concatenate([batch.dense, by_trees[:, None]], axis=1), batch.ids)
        by_net = kinds.torch_scores(net, wide)
        no_ids = np.zeros((rows, 0), np.int32)
        by_judge = kinds.torch_scores(judge, ports.ModelInput(np.stack([by_net, by_trees], axis=1), no_ids))
        got = runtime.predict(batch)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, (by_trees + 3 * by_judge) / 4, rtol=1e-5, atol=1e-6)
    assert runtime.predict(kinds.batch(0)).shape == (0,)
    assert np.ptp(runtime.predict(kinds.batch(50))) > 0.01


def test_a_row_has_the_same_bits_in_any_batch(
    store: kinds.Store, learned: dict[str, tuple[Any, bytes]]
) -> None:
    runtime, batch = store.load(write(store, learned)), kinds.batch(40)
    whole = runtime.predict(batch)
    for first, last in itertools.pairwise([0, 1, 5, 22, 40]):
        part = ports.ModelInput(batch.dense[first:last], batch.ids[first:last])
        assert np.array_equal(runtime.predict(part), whole[first:last])


def test_steps_share_the_plans_arrays(
    store: kinds.Store, learned: dict[str, tuple[Any, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two models over the plan's own output see the caller's arrays, not copies of them."""
    twice = {"trees": learned["trees"], "again": learned["trees"]}
    steps = [{"name": n, "kind": "trees", "model": TREES} for n in twice]
    steps.append({"name": "blend", "kind": "mean", "scores_of": list(twice)})
    runtime: Any = store.load(write(store, twice, {**MODEL, "steps": steps}))
    seen: list[ports.ModelInput] = []
    for bound in runtime._steps[:2]:
        monkeypatch.setattr(
            type(bound.runtime), "predict", lambda self, batch: seen.append(batch) or np.ones(3, np.float32)
        )
    batch = kinds.batch(3)
    assert runtime.predict(batch).tolist() == [1, 1, 1]
    assert len(seen) == 2 and all(one is batch for one in seen)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({**MODEL, "output": "nobody"}, "no step is called `nobody`"),
        ({**MODEL, "output": "net"}, r"\['blend', 'judge'\] lead to nothing"),
        (changed(trees=None), r"takes scores of \['trees'\], which do not come before it"),
        (changed(trees={"scores_of": ["net"]}), r"\['net'\], which do not come before it"),
        (changed(trees={"scores_of": ["trees"]}), r"\['trees'\], which do not come before it"),
        (changed(blend={"weights": [1]}), "a weight for each or none"),
        (changed(blend={"weights": [1, -3]}), "greater than 0"),
        (changed(blend={"scores_of": []}), "names the steps it is of"),
        (changed(blend={"scores_of": ["trees", "trees"]}), "names a step twice"),
        (changed(net={"weights": [1]}), "only a mean has"),
        (changed(net={"name": "trees"}), "two steps are called `trees`"),
        (changed(judge={"scores_of": []}), "takes nothing"),
        (changed(net={"kind": "ensemble"}), "steps.1.kind"),
        ({**MODEL, "steps": []}, "steps"),
        ({**MODEL, "dense_width": 2}, "plan gives 3 columns, the model takes 2"),
    ],
)
def test_graphs_that_make_no_sense_do_not_load(
    store: kinds.Store, learned: dict[str, tuple[Any, bytes]], model: dict[str, Any], words: str
) -> None:
    with pytest.raises(errors.CorruptArtifact, match=words):
        store.load(write(store, learned, model))


def test_steps_are_checked_against_what_they_will_be_given(
    store: kinds.Store, learned: dict[str, tuple[Any, bytes]]
) -> None:
    """The net wants a fourth column, the trees' score; the judge two scores and no plan."""
    without = changed(net={"scores_of": []})
    with pytest.raises(
        errors.CorruptArtifact, match=r"/net` does not hold together: .*gives 3 columns.*takes 4"
    ):
        store.load(write(store, learned, without))
    with_plan = changed(judge={"takes_plan": True})
    with pytest.raises(errors.CorruptArtifact, match="/judge` does not hold together: .*gives 5 columns"):
        store.load(write(store, learned, with_plan))
    other = {**learned, "net": learned["judge"]}
    with pytest.raises(errors.CorruptArtifact, match="do not fit the architecture"):
        store.load(write(store, other))


def test_files_of_steps_are_all_there_and_no_others(
    store: kinds.Store, learned: dict[str, tuple[Any, bytes]]
) -> None:
    fewer = {name: one for name, one in learned.items() if name != "judge"}
    with pytest.raises(errors.CorruptArtifact, match=r"missing or extra.*steps/judge/weights.safetensors"):
        store.load(write(store, fewer))
    with pytest.raises(errors.CorruptArtifact, match=r"missing or extra.*steps/more/trees.model"):
        store.load(write(store, {**learned, "more": learned["trees"]}))
    with pytest.raises(errors.InvalidRequest, match="cannot be of kind `ensemble`"):
        ensemble.files_of({"inner": ("ensemble", b"")})
    opened = write(store, learned)
    assert opened.weights == b""
    path = opened.path / "steps" / "trees" / "trees.model"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(errors.CorruptArtifact, match="damaged"):
        store.load(opened)


def test_what_the_plan_would_not_give_is_refused(
    store: kinds.Store, learned: dict[str, tuple[Any, bytes]]
) -> None:
    runtime, batch = store.load(write(store, learned)), kinds.batch(3)
    with pytest.raises(errors.SchemaMismatch, match="model input"):
        runtime.predict(ports.ModelInput(batch.dense[:, :2].copy(), batch.ids))
    with pytest.raises(errors.InvariantViolated, match="embedding"):
        runtime.predict(ports.ModelInput(batch.dense, batch.ids + 5))


def test_steps_run_on_what_the_settings_say(
    store: kinds.Store, learned: dict[str, tuple[Any, bytes]]
) -> None:
    on_torch: Any = store.load(write(store, learned), runtimes.Options(network="torch"))
    assert [b.runtime.name for b in on_torch._steps if b.runtime] == ["trees", "torch", "torch"]
    native: Any = store.load(write(store, learned))
    assert [b.runtime.name for b in native._steps if b.runtime] == ["trees", "native", "native"]
    batch = kinds.batch(9)
    np.testing.assert_allclose(native.predict(batch), on_torch.predict(batch), rtol=1e-5, atol=1e-6)
