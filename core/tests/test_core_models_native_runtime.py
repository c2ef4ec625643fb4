"""The native runtime answers as torch does, with the same bits in every batch, and needs no torch."""

from __future__ import annotations

import dataclasses
import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from bundle_contents import CONTENTS

from mainspring.core import errors, ports
from mainspring.core.models import architecture, bundle, native_runtime, network, signing, torch_runtime
from mainspring.native import targets

CARRIER = architecture.Table(column="carrier", rows=5, dimensions=3)
ORIGIN = architecture.Table(column="origin", rows=3, dimensions=2)
COLUMNS = ("origin", "carrier", "unused")

SHAPES = {
    "hidden": architecture.Architecture(
        dense_width=7, id_columns=COLUMNS, tables=(CARRIER, ORIGIN), hidden_sizes=(33, 16), dropout=0.1
    ),
    "no-dropout": architecture.Architecture(
        dense_width=64, id_columns=COLUMNS, tables=(CARRIER,), hidden_sizes=(256, 256)
    ),
    "no-ids": architecture.Architecture(dense_width=5, hidden_sizes=(8,)),
    "ids-only": architecture.Architecture(
        dense_width=0, id_columns=COLUMNS, tables=(ORIGIN,), hidden_sizes=(4,)
    ),
    "logistic": architecture.Architecture(
        dense_width=3,
        id_columns=COLUMNS,
        tables=tuple(t.model_copy(update={"dimensions": 1}) for t in (CARRIER, ORIGIN)),
    ),
    "logistic-dense": architecture.Architecture(dense_width=3),
    "logistic-ids": architecture.Architecture(
        dense_width=0, id_columns=COLUMNS, tables=(ORIGIN.model_copy(update={"dimensions": 1}),)
    ),
}


def model_of(spec: architecture.Architecture, seed: int = 3) -> network.EmbeddingMlp:
    """Weights far from their start, so that every one of them counts."""
    model = network.EmbeddingMlp(spec, seed=seed).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    return model


def batch_of(spec: architecture.Architecture, rows: int, seed: int = 0) -> ports.ModelInput:
    random = np.random.default_rng(seed)
    sizes = {"origin": 3, "carrier": 5, "unused": 1_000_000}
    ids = [random.integers(0, sizes[c], rows, np.int32) for c in spec.id_columns]
    return ports.ModelInput(
        random.normal(size=(rows, spec.dense_width)).astype(np.float32),
        np.ascontiguousarray(np.array(ids, np.int32).reshape(len(ids), rows).T),
    )


class Home:
    """Writes bundles and opens them verified."""

    def __init__(self, folder: Path) -> None:
        self._key = signing.ensure_key(folder / "key.pem")
        self._key.publish(folder / "trusted")
        self._trust = signing.TrustedKeys.load(folder / "trusted")
        self.store = bundle.BundleStore(folder / "bundles")

    def bundle(self, model: Any, weights: bytes) -> bundle.Bundle:
        contents = dataclasses.replace(CONTENTS, model=model, weights=weights)
        return self.store.open(self.store.write(contents, self._key).digest, self._trust)

    def of(self, model: network.EmbeddingMlp) -> bundle.Bundle:
        return self.bundle(model.architecture.model_dump(mode="json"), network.save_weights(model))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_architecture_names_every_weight(shape: str) -> None:
    state = network.EmbeddingMlp(SHAPES[shape]).state_dict()
    assert SHAPES[shape].tensors == {name: tuple(value.shape) for name, value in state.items()}


@pytest.mark.parametrize("shape", SHAPES)
def test_scores_are_torchs(home: Home, shape: str) -> None:
    spec = SHAPES[shape]
    opened = home.of(model_of(spec))
    native: ports.ModelRuntime = native_runtime.NativeRuntime.load(opened)
    reference = torch_runtime.TorchRuntime.load(opened, threads=1)
    assert (native.name, reference.name) == ("native", "torch")
    for rows in (0, 1, 2, 15, 16, 17, 300):
        batch = batch_of(spec, rows, seed=rows)
        got = native.predict(batch)
        assert (got.dtype, got.shape) == (np.dtype(np.float32), (rows,))
        np.testing.assert_allclose(
            got, reference.predict(batch), rtol=native_runtime.RTOL, atol=native_runtime.ATOL
        )
    assert np.ptp(native.predict(batch_of(spec, 300))) > 0.005, (
        "rows must differ for the test to say anything"
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_a_row_has_the_same_bits_in_any_batch(home: Home, shape: str) -> None:
    spec = SHAPES[shape]
    native = native_runtime.NativeRuntime.load(home.of(model_of(spec)))
    batch = batch_of(spec, 97)
    whole = native.predict(batch)
    for first, last in itertools.pairwise([0, 1, 3, 8, 24, 25, 60, 97]):
        part = ports.ModelInput(batch.dense[first:last], batch.ids[first:last])
        assert np.array_equal(native.predict(part), whole[first:last])


@pytest.mark.parametrize("shape", ["hidden", "logistic"])
def test_every_target_gives_the_same_bits(home: Home, shape: str) -> None:
    opened, batch = home.of(model_of(SHAPES[shape])), batch_of(SHAPES[shape], 33)
    loaded = [native_runtime.NativeRuntime.load(opened, target=t) for t in targets.available()]
    assert [n.model.target for n in loaded] == list(targets.available())
    assert len({n.predict(batch).tobytes() for n in loaded}) == 1


def test_what_the_plan_would_not_give_is_refused(home: Home) -> None:
    spec = SHAPES["hidden"]
    native = native_runtime.NativeRuntime.load(home.of(model_of(spec)))
    batch = batch_of(spec, 4)
    for bad in (
        ports.ModelInput(batch.dense[:, :1].copy(), batch.ids),
        ports.ModelInput(batch.dense, batch.ids[:, :1].copy()),
        ports.ModelInput(batch.dense[:2], batch.ids),
        ports.ModelInput(batch.dense[0], batch.ids[0]),
        ports.ModelInput(batch.dense.astype(np.float64), batch.ids),  # type: ignore[arg-type]
        ports.ModelInput(batch.dense, batch.ids.astype(np.int64)),  # type: ignore[arg-type]
    ):
        with pytest.raises(errors.SchemaMismatch, match="run the plan of the same bundle"):
            native.predict(bad)
    for bad_id in (-1, 5):
        ids = batch.ids.copy()
        ids[2, 1] = bad_id
        with pytest.raises(errors.InvariantViolated, match="embedding.*row 2") as caught:
            native.predict(ports.ModelInput(batch.dense, ids))
        assert caught.value.where == "native_runtime.ids"
    for value in (np.nan, np.inf):
        dense = batch.dense.copy()
        dense[3, 0] = value
        with pytest.raises(errors.InvariantViolated, match="finite"):
            native.predict(ports.ModelInput(dense, batch.ids))


def test_weights_of_another_network_do_not_load(home: Home) -> None:
    spec = SHAPES["hidden"]
    good = network.save_weights(model_of(spec))
    state = safetensors.torch.load(good)
    for bad in (
        b"",
        good[:-1],
        good[1:],
        network.save_weights(model_of(SHAPES["logistic"])),
        safetensors.torch.save({**state, "surprise": torch.zeros(1)}),
        safetensors.torch.save({k: v for k, v in state.items() if k != "head.0.bias"}),
    ):
        with pytest.raises(errors.CorruptArtifact, match="do not fit the architecture"):
            native_runtime.NativeRuntime.load(home.bundle(spec.model_dump(mode="json"), bad))
    for value in (float("nan"), float("inf")):
        state["head.3.bias"][0] = value
        with pytest.raises(errors.CorruptArtifact, match="NaN or infinite"):
            native_runtime.NativeRuntime.load(
                home.bundle(spec.model_dump(mode="json"), safetensors.torch.save(state))
            )
    with pytest.raises(errors.CorruptArtifact, match="is no architecture"):
        native_runtime.NativeRuntime.load(home.bundle({"dense_width": -1}, good))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_weights_of_another_type_are_left_to_torch(home: Home, dtype: torch.dtype) -> None:
    spec = SHAPES["no-ids"]
    state = {k: v.to(dtype) for k, v in model_of(spec).state_dict().items()}
    opened = home.bundle(spec.model_dump(mode="json"), safetensors.torch.save(state))
    with pytest.raises(errors.MissingTool, match="serving.runtime") as caught:
        native_runtime.NativeRuntime.load(opened)
    assert caught.value.tool == "native"
    batch = batch_of(spec, 3)
    assert torch_runtime.TorchRuntime.load(opened, threads=1).predict(batch).shape == (3,)


def test_a_network_that_is_too_wide_is_left_to_torch(home: Home) -> None:
    spec = architecture.Architecture(dense_width=16_385)
    with pytest.raises(errors.MissingTool, match="16384"):
        native_runtime.NativeRuntime.load(home.of(network.EmbeddingMlp(spec)))


def test_no_torch_is_imported(home: Home, tmp_path: Path) -> None:
    spec = SHAPES["hidden"]
    opened = home.of(model_of(spec))
    batch = batch_of(spec, 2)
    np.savez(tmp_path / "batch.npz", dense=batch.dense, ids=batch.ids)
    code = f"""
import pathlib, sys
import numpy as np
from mainspring.core import ports
from mainspring.core.models import bundle, native_runtime, signing
folder = pathlib.Path({str(tmp_path)!r})
opened = bundle.BundleStore(folder / "bundles").open({opened.digest!r}, signing.TrustedKeys.load(folder / "trusted"))
arrays = np.load(folder / "batch.npz")
print(native_runtime.NativeRuntime.load(opened).predict(ports.ModelInput(arrays["dense"], arrays["ids"])).tobytes().hex())
print([m for m in ("torch", "pyarrow", "polars", "pandas", "mlflow", "ray") if m in sys.modules])
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    answer, imported = ran.stdout.splitlines()
    assert answer == native_runtime.NativeRuntime.load(opened).predict(batch).tobytes().hex()
    assert imported == "[]"
