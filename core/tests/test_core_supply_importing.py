"""A model of others is scanned, asked for its licence and tried before it is signed; a pickle comes in under no name."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mainspring.core import errors, settings
from mainspring.core.features import plan
from mainspring.core.models import bundle, runtimes, signing
from mainspring.core.supply import admission, builders, gates, importing, scanning

DESCRIBED = """
kind = "onnx"
file = "model.onnx"
source = "https://models.example/credit/7"
licence = "Apache-2.0"
[model]
dense_input = "x"
output = "y"
[[inputs]]
name = "income"
missing = 2.0
[[inputs]]
name = "age"
"""


def graph(width: int = 2) -> bytes:
    """y (n,) = sum of x (n, width)."""
    made = helper.make_graph(
        [helper.make_node("ReduceSum", ["x", "axis"], ["y"], keepdims=0)],
        "sums",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
        [numpy_helper.from_array(np.array([1], np.int64), "axis")],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 10
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "credit"
    made.mkdir()
    (made / "model.onnx").write_bytes(graph())
    (made / "README.md").write_text("# Credit\n")
    (made / "import.toml").write_text(DESCRIBED)
    return made


def read(folder: Path, rules: gates.Rules | None = None) -> importing.Import:
    return importing.read(folder, "credit", "credit-score", rules or gates.Rules())


def denied(folder: Path) -> errors.PolicyDenied:
    with pytest.raises(errors.PolicyDenied) as refused:
        read(folder)
    return refused.value


def test_it_becomes_a_bundle_that_answers_and_may_serve_in_prod(folder: Path, tmp_path: Path) -> None:
    s = settings.load({}, directory=tmp_path)
    key = signing.ensure_key(s.models.signing_key)
    key.publish(s.serving.trusted_keys_dir)
    store = bundle.BundleStore(s.serving.bundle_dir)
    found, at = read(folder), datetime(2026, 11, 1, tzinfo=UTC)
    written = found.write(store, key, by="ana", at=at, version="1")
    assert read(folder).write(store, key, by="eva", at=at, version="1") == written, "the same folder again"
    gate = admission.Admission(s)
    gate.require(written.digest, "prod")
    opened = gate.open(written.digest)
    origin = opened.origin
    assert origin is not None and origin.builder == builders.IMPORT
    assert origin.materials[0].uri == "https://models.example/credit/7"
    assert origin.parameters["imported_by"] == "ana" and "picklescan 1.0" in origin.scanners[1]
    program = plan.FittedPlan.from_bytes(opened.plan).compile()
    runtime = runtimes.factories(runtimes.Options())["onnx"](opened, program)
    sent = {"income": np.array([np.nan, 3.0], np.float32), "age": np.array([10.0, np.nan], np.float32)}
    np.testing.assert_array_equal(runtime.predict(program.run(sent)), np.array([12.0, 3.0], np.float32))
    (tmp_path / "trusted-only").mkdir()
    (s.serving.trusted_keys_dir / builders.FILE).write_text("train\n")
    with pytest.raises(errors.PolicyDenied, match="was built by `urn:mainspring:builder:import`"):
        gate.open(written.digest)


class _Evil:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("true",)


def _zipped(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, data)
    return out.getvalue()


EVIL = pickle.dumps(_Evil())


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("model.onnx", EVIL),
        ("model.onnx", pickle.dumps(_Evil(), 0)),
        ("weights.safetensors", EVIL),
        ("notes.txt", EVIL),
        ("notes.txt", _zipped("data.pkl", EVIL)),
        ("notes.txt", _zipped("inner.zip", _zipped("archive/data.pkl", EVIL))),
        ("model.pt2", _zipped("archive/data.pkl", EVIL)),
        ("model.pt", b"anything"),
        ("model.PKL", b""),
        ("model.joblib", b"x"),
        ("array.npy", b"\x93NUMPY\x01\x00\x10\x00{'descr': '|O'}\n"),
        ("torn.zip", _zipped("a", b"b" * 99)[:-30]),
        ("harmless.txt", pickle.dumps({"a": 1})),
    ],
)
def test_a_pickle_comes_in_under_no_name(folder: Path, name: str, data: bytes) -> None:
    (folder / name).write_bytes(data)
    error = denied(folder)
    assert error.rule_id == scanning.RULE and name in error.message


def test_picklescan_is_asked_and_heard(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ours silent, theirs alone refuses; with a harmless file it does not."""
    monkeypatch.setattr(scanning.pickles, "is_pickle", lambda _data: False)
    read(folder)
    (folder / "notes.zip").write_bytes(_zipped("data.pkl", EVIL))
    error = denied(folder)
    assert "picklescan says: posix.system" in error.message


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        (lambda f: (f / "link.md").symlink_to("/etc/hostname"), "link"),
        (lambda f: (f / "out").symlink_to("/etc", target_is_directory=True), "link"),
        (lambda f: (f / ".hidden").write_text("x"), "hidden"),
        (lambda f: os.mkfifo(f / "pipe"), "special"),
        (lambda f: (f / "import.toml").unlink(), "has no `import.toml`"),
        (lambda f: (f / "README.md").unlink(), "`card` of `import.toml` names `README.md`"),
        (lambda f: (f / "import.toml").write_text("kind = "), "cannot be read"),
        (lambda f: (f / "import.toml").write_bytes(b"\xff"), "cannot be read"),
        (lambda f: change(f, 'kind = "onnx"', 'kind = "pickle"'), "`kind` of `import.toml`"),
        (lambda f: change(f, '"model.onnx"', '"../model.onnx"'), "has not"),
        (lambda f: change(f, 'licence = "Apache-2.0"', ""), "`licence` of `import.toml`"),
        (lambda f: change(f, 'name = "age"', 'name = "a b"'), "`inputs.1.name`"),
        (lambda f: change(f, "[model]", "[model]\ndense_width = 9"), "`inputs` say it"),
    ],
)
def test_what_makes_no_sense_names_its_field(
    folder: Path, attack: Callable[[Path], object], words: str
) -> None:
    attack(folder)
    with pytest.raises(errors.InvalidRequest, match=words):
        read(folder)


def change(folder: Path, before: str, after: str) -> None:
    path = folder / "import.toml"
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after))


def test_a_licence_is_asked_of_the_rules(folder: Path) -> None:
    change(folder, "Apache-2.0", "AGPL-3.0-only")
    assert denied(folder).rule_id == "import.licence"
    with pytest.raises(errors.InvalidRequest, match="`name` is wrong"):
        importing.read(folder, "credit", "Not A Slug", gates.Rules())


def test_a_model_that_does_not_answer_is_not_signed(folder: Path, tmp_path: Path) -> None:
    (folder / "model.onnx").write_bytes(graph(width=3))
    with pytest.raises(errors.CorruptArtifact, match="not what its `model.json` says"):
        read(folder)
    (folder / "model.onnx").write_bytes(b"no graph at all")
    with pytest.raises(errors.CorruptArtifact):
        read(folder)
    (folder / "model.onnx").write_bytes(graph())
    change(folder, 'output = "y"', 'output = "z"')
    with pytest.raises(errors.CorruptArtifact):
        read(folder)
    shutil.rmtree(folder)
    assert list(tmp_path.iterdir()) == []
