"""Explanations of bundles: the libraries' own numbers, torch's own derivatives, and sums that add up."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import bundle_kinds as kinds
import lightgbm
import numpy as np
import pytest
import torch
import xgboost
from torch import nn

from mainspring.core import errors, ports
from mainspring.core.features import plan
from mainspring.core.models import (
    architecture,
    explain,
    explainers,
    exported,
    manifest,
    network,
    runtimes,
)
from mainspring.core.models import source as sources

SPEC = architecture.Architecture(
    dense_width=3,
    id_columns=("carrier",),
    tables=(architecture.Table(column="carrier", rows=kinds.N_IDS, dimensions=4),),
    hidden_sizes=(16, 8),
)
COMPILED = kinds.FITTED.compile()


def part(kind: manifest.Kind, model: dict[str, Any], learned: bytes) -> sources.Part:
    return sources.Part(digest="sha256:" + "a" * 64, kind=kind, model=model, weights=learned)


def net(spec: architecture.Architecture, seed: int = 2) -> network.EmbeddingMlp:
    """With weights that make every part of the network matter."""
    model = network.EmbeddingMlp(spec, seed=seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.from_numpy(np.random.default_rng(seed).normal(size=parameter.shape) * 0.6))
    return model.eval()


def of_net(model: network.EmbeddingMlp) -> explain.Explainer:
    return explainers.of_bundle(
        part("embedding_mlp", model.architecture.model_dump(mode="json"), network.save_weights(model)),
        COMPILED,
    )


def embedded(model: network.EmbeddingMlp, batch: ports.ModelInput) -> torch.Tensor:
    """What the head of the network takes, float64."""
    return torch.cat(
        [torch.from_numpy(batch.dense).double(), model.tables[0](torch.from_numpy(batch.ids[:, 0]))], dim=1
    ).detach()


def test_a_network_by_torchs_derivatives() -> None:
    """Against equal steps, as torch has them, so many that what they leave is small."""
    batch, model, steps = kinds.batch(12, seed=1), net(SPEC), 20_000
    found = of_net(model).explain(batch)
    model = model.double()
    rows, base = embedded(model, batch), embedded(model, explain.baseline_of(COMPILED))
    shares = (torch.arange(steps, dtype=torch.float64) + 0.5) / steps
    for i, row in enumerate(rows):
        points = (base + shares[:, None] * (row - base)).requires_grad_()
        slopes = torch.autograd.grad(model.head(points).sum(), points)[0]
        want = (slopes.mean(dim=0) * (row - base)[0]).numpy()
        np.testing.assert_allclose(found.dense[i], want[:3], rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(found.ids[i, 0], want[3:].sum(), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(found.margins, model.head(rows)[:, 0].detach().numpy(), rtol=1e-12)


def test_a_networks_contributions_add_up_and_say_what_is_left() -> None:
    model = net(SPEC)
    batch = kinds.batch(100, seed=3)
    found = of_net(model).explain(batch)
    with torch.inference_mode():
        logits = model(torch.from_numpy(batch.dense), torch.from_numpy(batch.ids)).numpy()
    np.testing.assert_allclose(found.margins, logits, rtol=1e-4, atol=1e-5)
    change = np.abs(found.margins - found.base)
    assert (np.abs(found.residuals) <= 1e-4 * np.maximum(1, change)).all()
    assert np.abs(found.dense).mean() > 0.1
    assert np.abs(found.ids).mean() > 0.1


def test_the_baseline_itself_has_nothing_to_explain() -> None:
    baseline = explain.baseline_of(COMPILED)
    # The plan imputes medians; the id is that of a missing value.
    assert baseline.dense.tolist() == [[2.0, 20.0, 1.0]]
    assert baseline.ids.tolist() == [[0]]
    found = of_net(net(SPEC)).explain(baseline)
    assert not found.dense.any()
    assert not found.ids.any()
    # One row and a batch of rows are added up in another order on some CPUs.
    np.testing.assert_allclose(found.margins, found.base, rtol=1e-6)


@pytest.mark.parametrize("dense_width", [3, 0])
def test_a_logistic_regression_is_exact(dense_width: int) -> None:
    spec = SPEC.baseline().model_copy(update={"dense_width": dense_width})
    model = net(spec)
    rows = kinds.batch(20, seed=4)
    batch = ports.ModelInput(rows.dense[:, :dense_width], rows.ids)
    baseline = explain.baseline_of(COMPILED)
    source = part("embedding_mlp", spec.model_dump(mode="json"), network.save_weights(model))
    from mainspring.core.models import explain_network

    cut = ports.ModelInput(baseline.dense[:, :dense_width], baseline.ids)
    found = explain_network.NetworkExplainer.load(source, cut).explain(batch)
    state = {name: t.numpy().astype(np.float64) for name, t in model.state_dict().items()}
    table = state["tables.0.weight"][:, 0]
    np.testing.assert_allclose(found.ids[:, 0], table[batch.ids[:, 0]] - table[0], atol=1e-12)
    if dense_width:
        want = state["head.0.weight"] * (batch.dense - baseline.dense)
        np.testing.assert_allclose(found.dense, want, atol=1e-12)
    np.testing.assert_allclose(found.residuals, 0, atol=1e-12)


def test_weights_that_only_torch_reads_are_explained_too() -> None:
    model = net(SPEC)
    half = part("embedding_mlp", SPEC.model_dump(mode="json"), network.save_weights(net(SPEC).bfloat16()))
    found = explainers.of_bundle(half, COMPILED).explain(kinds.batch(10))
    whole = of_net(model).explain(kinds.batch(10))
    np.testing.assert_allclose(found.dense, whole.dense, atol=0.1)
    assert (found.dense != whole.dense).any()


def boosted(**changes: Any) -> tuple[lightgbm.Booster, bytes]:
    batch = kinds.batch(400, seed=5)
    features = np.concatenate([batch.dense, batch.ids], axis=1)
    labels = features[:, 0] * features[:, 1] > (features[:, 3] == 2)
    options = {"objective": "binary", "num_leaves": 7, "verbose": -1, "num_threads": 1, **changes}
    booster = lightgbm.train(options, lightgbm.Dataset(features, labels, categorical_feature=[3]), 12)
    return booster, str(booster.model_to_string()).encode()


def test_trees_by_lightgbm() -> None:
    booster, text = boosted()
    model = {"format": "lightgbm", "dense_width": 3, "id_columns": ["carrier"]}
    explainer = explainers.of_bundle(part("trees", model, text), COMPILED)
    batch = kinds.batch(50, seed=6)
    found = explainer.explain(batch)
    want = np.asarray(booster.predict(np.concatenate([batch.dense, batch.ids], axis=1), pred_contrib=True))
    np.testing.assert_allclose(found.dense, want[:, :3], atol=1e-9)
    np.testing.assert_allclose(found.ids, want[:, 3:4], atol=1e-9)
    np.testing.assert_allclose(found.base, want[:, 4], atol=1e-9)
    np.testing.assert_allclose(found.residuals, 0, atol=1e-12)
    runtime = runtimes.factories(runtimes.Options())["trees"](part("trees", model, text), COMPILED)  # type: ignore[arg-type]
    np.testing.assert_allclose(1 / (1 + np.exp(-found.margins)), runtime.predict(batch), rtol=1e-6)
    assert explainer.method == "tree_shap"


def test_one_class_of_several_by_xgboost() -> None:
    batch = kinds.batch(300, seed=7)
    features = np.concatenate([batch.dense, batch.ids], axis=1)
    labels = (features[:, 0] > 0).astype(int) + (features[:, 3] > 2)

    def trained(objective: str) -> bytes:
        data = xgboost.DMatrix(features, labels, nthread=1)
        booster = xgboost.train({"objective": objective, "num_class": 3, "nthread": 1}, data, 5)
        kept.append(booster)
        return bytes(booster.save_raw("json"))

    kept: list[xgboost.Booster] = []
    model = {"format": "xgboost", "dense_width": 3, "id_columns": ["carrier"], "output": 2}
    found = explainers.of_bundle(part("trees", model, trained("multi:softprob")), COMPILED).explain(batch)
    want = kept[0].predict(xgboost.DMatrix(features, nthread=1), pred_contribs=True)[:, 2]
    np.testing.assert_allclose(found.dense, want[:, :3], rtol=2e-5, atol=5e-6)
    # The number of a class is no margin.
    with pytest.raises(errors.Conflict, match="multi:softprob"):
        explainers.of_bundle(part("trees", {**model, "output": 0}, trained("multi:softmax")), COMPILED)


class Dense(nn.Module):
    """A small network over the dense columns alone; `is_cut` hides it from derivatives."""

    def __init__(self, is_cut: bool = False) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
        self.is_cut = is_cut

    def forward(self, dense: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layers(dense.detach() if self.is_cut else dense)[:, 0]
        return out


def program(module: nn.Module) -> bytes:
    rows = torch.export.Dim("rows", min=1)
    return exported.save(
        torch.export.export(module.eval(), (torch.zeros(3, 3),), dynamic_shapes=({0: rows},))
    )


def test_an_exported_program_by_its_own_derivatives() -> None:
    module = Dense()
    compiled = kinds.DENSE.compile()
    source = part("torch_export", {"dense_width": 3, "activation": "sigmoid"}, program(module))
    batch = ports.ModelInput(kinds.batch(20).dense, np.zeros((20, 0), np.int32))
    found = explainers.of_bundle(source, compiled).explain(batch)
    with torch.inference_mode():
        np.testing.assert_allclose(found.margins, module(torch.from_numpy(batch.dense)).numpy(), atol=1e-6)
    assert np.abs(found.residuals).max() <= 1e-3
    assert (np.abs(found.dense).max(axis=0) > 0.01).all()


def test_what_has_no_method_says_what_to_do() -> None:
    for kind, hint in (("onnx", "torch_export"), ("ensemble", "endpoint of its own")):
        with pytest.raises(errors.Conflict, match=hint) as caught:
            explainers.of_bundle(part(kind, {}, b""), COMPILED)  # type: ignore[arg-type]
        assert caught.value.name.startswith("sha256:")
    with pytest.raises(errors.Conflict, match="embedding_mlp"):
        model = {"dense_width": 3, "id_columns": ["carrier"]}
        explainers.of_bundle(part("torch_export", model, b""), COMPILED)
    with pytest.raises(errors.Conflict, match="torch.no_grad"):
        source = part("torch_export", {"dense_width": 3}, program(Dense(is_cut=True)))
        explainers.of_bundle(source, kinds.DENSE.compile())
    _, text = boosted()
    lines = [line for line in text.decode().splitlines() if not line.startswith(("internal_c", "leaf_c"))]
    with pytest.raises(errors.Conflict, match="train it anew"):
        model = {"format": "lightgbm", "dense_width": 3, "id_columns": ["carrier"]}
        explainers.of_bundle(part("trees", model, "\n".join(lines).encode()), COMPILED)


def test_other_batches_are_refused() -> None:
    with pytest.raises(errors.SchemaMismatch):
        of_net(net(SPEC)).explain(ports.ModelInput(np.zeros((2, 4), np.float32), np.zeros((2, 1), np.int32)))
    found = of_net(net(SPEC)).explain(kinds.batch(0))
    assert (found.dense.shape, found.ids.shape, found.residuals.shape) == ((0, 3), (0, 1), (0,))


def test_outputs_come_back_to_the_columns_that_they_are_made_of(tmp_path: Path) -> None:
    from mainspring.core.features import ops

    fitted = kinds.fitted(
        plan.dense("delay", ops.Impute(), ops.Standardise(), ops.Indicator()),
        plan.vocabulary("carrier"),
        plan.dense("wind", ops.Impute()),
    )
    compiled = fitted.compile()
    assert compiled.dense_names == ("delay", "delay__missing", "wind")
    baseline = explain.baseline_of(compiled)
    assert baseline.dense.tolist() == [[0.0, 0.0, 1.0]]  # standardised median; nothing is marked as missing
    found = explain.Explained(
        margins=np.array([10.0]),
        base=np.array([1.0]),
        dense=np.array([[2.0, 0.5, -1.0]]),
        ids=np.array([[4.0]]),
    )
    assert {n: c.tolist() for n, c in explain.by_input(found, compiled).items()} == {
        "delay": [2.5],
        "carrier": [4.0],
        "wind": [-1.0],
    }
    assert found.residuals.tolist() == [3.5]
    assert dataclasses.replace(found, margins=np.array([6.5])).residuals.tolist() == [0.0]
