"""Programs of torch.export: from a signed bundle as they were exported, without a pickle, or not at all."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bundle_kinds as kinds
import numpy as np
import pytest
import torch
from torch import nn

from mainspring.core import errors, ports
from mainspring.core.models import architecture, exported, network, pickles

MODEL = {"dense_width": 3, "id_columns": ["carrier"], "activation": "sigmoid"}
SPEC = architecture.Architecture(
    dense_width=3,
    id_columns=("carrier",),
    tables=(architecture.Table(column="carrier", rows=5, dimensions=2),),
    hidden_sizes=(8,),
)


def program(module: nn.Module) -> torch.export.ExportedProgram:
    rows = torch.export.Dim("rows", min=1)
    return torch.export.export(
        module.eval(),
        (torch.zeros(3, 3), torch.zeros(3, 1, dtype=torch.int32)),
        dynamic_shapes=({0: rows}, {0: rows}),
    )


@pytest.fixture(scope="module")
def made() -> tuple[network.EmbeddingMlp, bytes]:
    model = network.EmbeddingMlp(SPEC, seed=4).eval()
    return model, exported.save(program(model))


@pytest.fixture
def store(tmp_path: Path) -> kinds.Store:
    return kinds.Store(tmp_path)


def rewritten(data: bytes, change: Callable[[str, bytes], bytes | None], **added: bytes) -> bytes:
    """The archive with its members changed, or left out where `change` gives None."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(out, "w") as changed:
        for member in archive.namelist():
            content = change(member, archive.read(member))
            if content is not None:
                changed.writestr(member, content)
        for name, content in added.items():
            changed.writestr(name, content)
    return out.getvalue()


def test_scores_are_the_modules(store: kinds.Store, made: tuple[network.EmbeddingMlp, bytes]) -> None:
    model, data = made
    runtime: ports.ModelRuntime = store.runtime("torch_export", MODEL, data)
    assert runtime.name == "torch_export"
    for rows in (0, 1, 2, 33):
        batch = kinds.batch(rows, seed=rows)
        got = runtime.predict(batch)
        assert (got.dtype, got.shape) == (np.dtype(np.float32), (rows,))
        if rows:
            with torch.inference_mode():
                logits = model(torch.from_numpy(batch.dense), torch.from_numpy(batch.ids))
            np.testing.assert_allclose(got, torch.sigmoid(logits).numpy(), rtol=1e-5, atol=1e-6)
            batch.dense.setflags(write=False)
            batch.ids.setflags(write=False)
            assert np.array_equal(runtime.predict(batch), got)
    assert torch.get_num_threads() == 1


def test_it_is_saved_without_a_pickle_and_always_alike(made: tuple[network.EmbeddingMlp, bytes]) -> None:
    model, data = made
    assert exported.save(program(model)) == data
    assert not pickles.is_pickle(data)
    theirs = io.BytesIO()
    torch.export.save(program(model), theirs)
    assert pickles.is_pickle(theirs.getvalue())
    assert "pickle" in exported.problem_of(theirs.getvalue())


def test_what_torch_wrote_itself_does_not_go_into_a_bundle(
    store: kinds.Store, made: tuple[network.EmbeddingMlp, bytes]
) -> None:
    theirs = io.BytesIO()
    torch.export.save(program(made[0]), theirs)
    with pytest.raises(errors.InvalidRequest, match=r"is a pickle.*`exported.save`") as refused:
        store.write("torch_export", MODEL, theirs.getvalue())
    assert refused.value.field == "program.pt2"


def test_an_archive_with_anything_else_is_not_read(made: tuple[network.EmbeddingMlp, bytes]) -> None:
    _, data = made
    keep = lambda name, content: content  # noqa: E731 - a name for the control
    assert exported.problem_of(rewritten(data, keep)) == ""
    for added in (
        "archive/data/aotinductor/model/model.so",
        "archive/data/constants/custom_obj_0",
        "archive/data/weights/evil.pt",
        "archive/code/model.py",
        "../outside",
    ):
        assert "nothing that a program needs" in exported.problem_of(rewritten(data, keep, **{added: b"x"}))
    assert "no archive" in exported.problem_of(b"x" + data)
    assert "no archive" in exported.problem_of(data[:-30])
    assert "no archive" in exported.problem_of(b"")
    pickled = rewritten(data, lambda n, c: pickle.dumps(0) if "sample_inputs" in n else c)
    assert "is a pickle" in exported.problem_of(pickled)


@pytest.mark.parametrize(
    ("target", "is_let_through"),
    [
        ("torch.ops.aten.relu.default", True),
        ("torch.ops.prim.device.default", False),
        ("torch.ops.higher_order.cond", False),
        ("torch.hub.load", False),
        ("os.system", False),
        ("_operator.attrgetter", False),
        ("_operator.getitem", True),
    ],
)
def test_operators_that_are_not_let_through(
    made: tuple[network.EmbeddingMlp, bytes], target: str, is_let_through: bool
) -> None:
    def change(name: str, content: bytes) -> bytes:
        if not name.endswith("models/model.json"):
            return content
        document = json.loads(content)
        document["graph_module"]["graph"]["nodes"][0]["target"] = target
        return json.dumps(document).encode()

    problem = exported.problem_of(rewritten(made[1], change))
    assert problem == "" if is_let_through else f"calls `{target}`" in problem


@pytest.mark.parametrize(
    "expression",
    ["__import__('os').system('false')", "s0; f()", "a['b']", "().__class__", "exec(s0)", "Symbol('s0').x"],
)
def test_expressions_that_are_not_let_through(
    made: tuple[network.EmbeddingMlp, bytes], expression: str
) -> None:
    found = 0

    def change(name: str, content: bytes) -> bytes:
        nonlocal found
        if not name.endswith("models/model.json"):
            return content
        text = content.decode()
        found += text.count('"expr_str": "')
        start = text.index('"expr_str": "') + len('"expr_str": "')
        return (text[:start] + expression + text[text.index('"', start) :]).encode()

    assert "has the expression" in exported.problem_of(rewritten(made[1], change))
    assert found


class TwoColumns(nn.Module):
    def forward(self, dense: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        return dense[:, :2] + ids


class Pair(nn.Module):
    def forward(self, dense: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return dense[:, 0] + ids[:, 0], dense[:, 1]


def test_a_program_that_gives_no_score_does_not_load(store: kinds.Store) -> None:
    with pytest.raises(errors.CorruptArtifact, match="gave tuple"):
        store.runtime("torch_export", MODEL, exported.save(program(Pair())))
    fixed = torch.export.export(
        network.EmbeddingMlp(SPEC).eval(), (torch.zeros(2, 3), torch.zeros(2, 1, dtype=torch.int32))
    )
    with pytest.raises(errors.CorruptArtifact, match="failed on 1 rows"):
        store.runtime("torch_export", MODEL, exported.save(fixed))


def test_of_a_matrix_the_first_column_is_the_score(store: kinds.Store) -> None:
    runtime = store.runtime(
        "torch_export", {**MODEL, "activation": "identity"}, exported.save(program(TwoColumns()))
    )
    batch = kinds.batch(4)
    assert np.array_equal(runtime.predict(batch), batch.dense[:, 0] + np.float32(batch.ids[:, 0]))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({**MODEL, "dense_width": 4}, "plan gives 3 columns, the model takes 4"),
        ({**MODEL, "id_columns": []}, "ids `carrier`, the model takes none"),
        ({**MODEL, "activation": "relu"}, "`activation`"),
        ({}, "`dense_width`: Field required"),
    ],
)
def test_a_wrong_signature_does_not_load(
    store: kinds.Store, made: tuple[network.EmbeddingMlp, bytes], model: dict[str, Any], words: str
) -> None:
    with pytest.raises(errors.CorruptArtifact, match=words):
        store.runtime("torch_export", model, made[1])


def test_damaged_programs_do_not_load(store: kinds.Store, made: tuple[network.EmbeddingMlp, bytes]) -> None:
    without = rewritten(made[1], lambda name, content: None if name.endswith("model.json") else content)
    garbled = rewritten(made[1], lambda name, content: b"{" if name.endswith("model.json") else content)
    for bad in (b"", b"no program", without, garbled):
        with pytest.raises(errors.CorruptArtifact, match="build the bundle anew"):
            store.runtime("torch_export", MODEL, bad)


def test_an_id_without_a_row_is_our_mistake(
    store: kinds.Store, made: tuple[network.EmbeddingMlp, bytes]
) -> None:
    runtime, batch = store.runtime("torch_export", MODEL, made[1]), kinds.batch(3)
    with pytest.raises(errors.InvariantViolated, match="failed on 3 rows"):
        runtime.predict(ports.ModelInput(batch.dense, batch.ids + 5))
    batch.dense[0, 0] = np.inf
    with pytest.raises(errors.InvariantViolated, match="not finite"):
        runtime.predict(batch)
