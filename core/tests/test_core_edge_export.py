"""A bundle that was exported runs without us, to the bit, and refuses to run damaged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import core_edge_world
import pytest

from mainspring.core import canonical, errors
from mainspring.core.contracts import inputs
from mainspring.core.edge import channel, export
from mainspring.core.edge.device import run
from mainspring.core.features import frames
from mainspring.core.models import architecture, bundle, network, runtimes, signing

ROWS = core_edge_world.frame()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> core_edge_world.World:
    return core_edge_world.World(tmp_path_factory.mktemp("world"))


def device(folder: Path, code: str = "", lines: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    """Python with nothing of ours on its path but the release: `run.py` on `lines`, or `code`."""
    command = [sys.executable, *(["-c", code] if code else ["run.py"])]
    return subprocess.run(
        command,
        cwd=folder,
        env=core_edge_world.device_environment() | more,
        input=lines,
        capture_output=True,
        text=True,
        timeout=60,
    )


def as_lines(rows: Any = ROWS) -> str:
    def value(v: Any) -> Any:
        return None if isinstance(v, float) and v != v else v

    return "\n".join(json.dumps({k: value(v) for k, v in row.items()}) for row in rows.to_dicts())


def served(opened: bundle.Bundle, world: core_edge_world.World) -> list[float]:
    """What serving's runtime answers for the rows."""
    compiled = world.fitted.compile()
    runtime = runtimes.factories(runtimes.Options())[opened.manifest.kind](opened, compiled)
    assert runtime.name in ("native", "trees")
    scores: list[float] = runtime.predict(compiled.run(frames.to_numpy(ROWS, compiled.inputs))).tolist()
    return scores


@pytest.mark.parametrize(
    "hidden", [(16, 8), (32,), ()], ids=["two-layers", "one-layer", "logistic-regression"]
)
def test_a_device_answers_the_bits_of_serving(world: core_edge_world.World, hidden: tuple[int, ...]) -> None:
    opened = world.bundle(hidden=hidden)
    made = export.export(opened, world.directory / f"bits-{len(hidden)}", world.key)
    done = device(made.path, lines=as_lines())
    assert done.returncode == 0, done.stderr
    scores = [float(line) for line in done.stdout.split()]
    assert scores == served(opened, world)
    assert len(set(scores)) > 100


def test_trees_run_on_a_device_too(world: core_edge_world.World) -> None:
    opened = world.trees()
    made = export.export(opened, world.directory / "trees", world.key)
    done = device(made.path, lines=as_lines())
    assert done.returncode == 0, done.stderr
    scores = [float(line) for line in done.stdout.split()]
    assert scores == served(opened, world) and len(set(scores)) == 4


def test_a_device_answers_alike_on_every_kernel_and_alone(world: core_edge_world.World) -> None:
    made = world.export("targets")
    wanted = device(made.path, lines=as_lines()).stdout
    assert device(made.path, lines=as_lines(), MAINSPRING_FORCE_TARGET="generic").stdout == wanted
    alone = [device(made.path, lines=as_lines(ROWS[i])).stdout for i in (0, 5)]
    assert alone == [wanted.splitlines(keepends=True)[i] for i in (0, 5)]
    assert device(made.path, lines="").stdout == ""
    for bad in ("{", "7", "[1]"):
        done = device(made.path, lines=bad)
        assert (done.returncode, done.stdout) == (1, "") and "is no JSON object" in done.stderr


def test_a_release_needs_numpy_and_itself(world: core_edge_world.World) -> None:
    made = world.export("alone")
    code = (
        "import sys; before = set(sys.modules); import run; m = run.Model();"
        "import mainspring.native.program as p; print(p.__file__);"
        "print(sorted({n.partition('.')[0] for n in set(sys.modules) - before} - set(sys.stdlib_module_names)))"
    )
    done = device(made.path, code)
    assert done.returncode == 0, done.stderr
    where, packages = done.stdout.splitlines()
    assert Path(where).is_relative_to(made.path.resolve())
    assert packages == "['mainspring', 'numpy', 'run']"
    assert (
        sum(f.stat().st_size for f in made.path.rglob("*") if f.suffix != ".pyc" and f.is_file())
        == made.bytes
    )


@pytest.mark.parametrize(
    "name", ["weights.safetensors", "program.json", "mainspring/native/program.py", "run.py", "_native"]
)
def test_one_bit_that_flipped_stops_the_device(world: core_edge_world.World, name: str) -> None:
    made = world.export("flipped-" + name.replace("/", "-"))
    path = next(made.path.glob("mainspring/native/_native*.so")) if name == "_native" else made.path / name
    data = bytearray(path.read_bytes())
    # At the end, which is a comment's or a number's: the file still parses.
    data[-2] ^= 1
    path.write_bytes(data)
    done = device(made.path, "import run; run.Model()", lines=as_lines())
    assert done.returncode == 1 and done.stdout == ""
    assert "is damaged or missing; run sync.py" in done.stderr or name == "run.py"
    with pytest.raises(errors.CorruptArtifact):
        channel.check_release(made.path, world.trust)
    path.unlink()
    if name != "run.py":
        assert "is damaged or missing" in device(made.path, "import run; run.Model()").stderr


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x": ...}, "input `x` is absent in a row; give a float32"),
        ({"stats__share": "1.5"}, "input `stats__share` is str in a row; give a float32"),
        ({"stats__share": True}, "input `stats__share` is bool"),
        ({"carrier": 7}, "input `carrier` is int in a row; give a string"),
        ({"gate": None}, "input `gate` is NoneType in a row; give a int64"),
        ({"gate": 1.5}, "input `gate` is float"),
        ({"gate": 2**70}, "input `gate` is beyond int64"),
        ({"x": 1e39}, "input `x` is beyond float32"),
        ({"x": float("inf")}, "input `x` is beyond float32"),
    ],
)
def test_a_row_that_cannot_be_scored_is_named(
    world: core_edge_world.World, change: dict[str, Any], words: str
) -> None:
    folder = world.directory / "rows"
    model = run.Model(folder if folder.exists() else world.export("rows").path)
    row = {"stats__share": 1, "x": None, "carrier": None, "gate": 1, "more": "is not read"}
    assert model.predict(model.columns([row])).shape == (1,)
    with pytest.raises(SystemExit, match="error: ") as caught:
        model.columns([row, {k: v for k, v in (row | change).items() if v is not ...}])
    assert words in str(caught.value)


def test_the_same_bundle_is_the_same_release_and_is_never_written_over(world: core_edge_world.World) -> None:
    one, two = world.export("one"), world.export("two")
    assert one.digest == two.digest != world.export("other", seed=4).digest
    with pytest.raises(errors.Conflict, match="is there already"):
        world.export("one")
    assert channel.check_release(one.path, world.trust)[0] == one.digest


def test_what_a_device_cannot_run_is_not_exported(world: core_edge_world.World) -> None:
    spec = architecture.of_bundle(world.bundle())
    half = network.save_weights(network.EmbeddingMlp(spec).half())
    with pytest.raises(errors.MissingTool, match="does not take this network"):
        world.export("half", weights=half)
    with pytest.raises(errors.CorruptArtifact, match="weights do not fit the architecture"):
        world.export("no-weights", weights=b"x" * 9)
    with pytest.raises(errors.CorruptArtifact, match="is no architecture"):
        world.export("no-model", model={"dense_width": -3})
    narrow = architecture.Architecture.parse({**spec.model_dump(), "dense_width": spec.dense_width - 1})
    weights = network.save_weights(network.EmbeddingMlp(narrow))
    with pytest.raises(errors.CorruptArtifact, match="does not hold together"):
        world.export("narrow", model=narrow.model_dump(mode="json"), weights=weights)
    with pytest.raises(errors.MissingTool, match="export one of kind `embedding_mlp` or `trees`"):
        world.export("onnx", kind="onnx", model={"dense_width": 3}, weights=b"graph")
    left = {p.name for p in world.directory.iterdir()}
    assert not left & {"half", "no-weights", "no-model", "narrow", "onnx"}
    assert not [name for name in left if name.startswith(".")]


@pytest.mark.parametrize(
    ("policy", "is_let"),
    [
        (inputs.ColumnPolicy(low=0, high=1), True),
        (inputs.ColumnPolicy(out_of_range="clip"), True),
        (inputs.ColumnPolicy(low=0, out_of_range="clip"), False),
        (inputs.ColumnPolicy(high=1, out_of_range="refuse"), False),
        (inputs.ColumnPolicy(missing="refuse"), False),
    ],
)
def test_a_policy_that_a_device_does_not_apply_is_not_left_out(
    world: core_edge_world.World, policy: inputs.ColumnPolicy, is_let: bool, tmp_path: Path
) -> None:
    declared = inputs.InputPolicy(columns={"x": policy}).model_dump(mode="json")
    opened = world.bundle(extra_files={inputs.FILE: canonical.dumps(declared)})
    if is_let:
        export.export(opened, tmp_path / "out", world.key)
        return
    with pytest.raises(errors.MissingTool, match=r"declares of inputs \['x'\]"):
        export.export(opened, tmp_path / "out", world.key)


def test_a_signature_is_of_a_release_only(world: core_edge_world.World, tmp_path: Path) -> None:
    made = world.export("signed")
    listing = (made.path / export.RELEASE).read_bytes()
    as_bundle = world.key.sign(made.digest)
    (made.path / export.SIGNATURE).write_bytes(as_bundle.to_bytes())
    with pytest.raises(errors.CorruptArtifact, match="does not verify"):
        channel.check_release(made.path, world.trust)
    stranger = signing.ensure_key(tmp_path / "stranger.pem")
    (made.path / export.SIGNATURE).write_bytes(stranger.sign(made.digest, domain=export.DOMAIN).to_bytes())
    with pytest.raises(errors.PolicyDenied):
        channel.check_release(made.path, world.trust)
    (made.path / export.SIGNATURE).unlink()
    with pytest.raises(errors.NotFound, match="mainspring bundle export"):
        channel.check_release(made.path, world.trust)
    assert json.loads(listing)["bundle"] == world.bundle().digest
