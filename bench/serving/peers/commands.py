"""How each peer starts: files laid in a folder of its own, and a command line."""

from __future__ import annotations

import json
import pathlib
import shutil
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from mainspring.bench.serving import compiled
from mainspring.bench.serving.peers import environments

TRITON: Final = "triton"
MLSERVER: Final = "mlserver"
LITSERVE: Final = "litserve"
BENTOML: Final = "bentoml"
RAY: Final = "ray-serve"

#: One thread for arithmetic, as everywhere in this suite; and no word to their makers.
_VARIABLES: Final = (
    "-u", "PYTHONPATH", "OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1",
    "BENTOML_DO_NOT_TRACK=True", "RAY_SERVE_ENABLE_HA_PROXY=1", "RAY_SERVE_HAPROXY_METRICS_ENABLED=0",
    "RAY_USAGE_STATS_ENABLED=0",
)  # fmt: skip

_CONFIGURATION: Final = """
name: "%s"
backend: "mainspring"
max_batch_size: 4096
input [ { name: "x", data_type: TYPE_FP32, dims: [ %d ] } ]
output [ { name: "y", data_type: TYPE_FP32, dims: [ %d ] } ]
instance_group [ { kind: KIND_CPU, count: 1 } ]
%s
"""


def lay(name: str, folder: pathlib.Path, layers: Any, *, port: int, grpc_port: int) -> list[str]:
    """Write what the peer reads, and return its command line; it is started in `folder`.

    Errors: NotInstalled; NotBuilt for Triton's backend.
    """
    return ["/usr/bin/env", *_VARIABLES, *_MAKERS[name](folder, layers, port, grpc_port)]


def _lay_apps(folder: pathlib.Path, layers: Any) -> None:
    apps = pathlib.Path(__file__).parent / "apps"
    shutil.copytree(apps, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    arrays = {f"w{i}": weights for i, (weights, _) in enumerate(layers)}
    np.savez(folder / "weights.npz", **arrays, **{f"b{i}": bias for i, (_, bias) in enumerate(layers)})


def _triton(folder: pathlib.Path, layers: Any, port: int, grpc_port: int) -> list[str]:
    home = environments.found(TRITON)
    backend = compiled.triton_backend()
    (folder / "backends" / "mainspring").mkdir(parents=True)
    shutil.copy(backend, folder / "backends" / "mainspring")
    for model, more in (("mlp", ""), ("batching", "dynamic_batching { }")):
        version = folder / "models" / model / "1"
        version.mkdir(parents=True)
        (version / "weights.bin").write_bytes(weights_of(layers))
        widths = layers[0][0].shape[0], layers[-1][0].shape[1]
        (version.parent / "config.pbtxt").write_text(_CONFIGURATION % (model, *widths, more))
    (program,) = home.glob("lib/python*/site-packages/pytriton/tritonserver/bin/tritonserver")
    return [
        str(program),
        "--model-repository", str(folder / "models"),
        "--backend-directory", str(folder / "backends"),
        "--http-address", "127.0.0.1", "--http-port", str(port),
        "--grpc-address", "127.0.0.1", "--grpc-port", str(grpc_port),
        "--allow-metrics", "false", "--disable-auto-complete-config",
        # It watches for SIGTERM this often, and waits so long for what is under way.
        "--exit-timeout-secs", "3", "--model-control-mode", "explicit",
        "--load-model", "mlp", "--load-model", "batching",
    ]  # fmt: skip


def weights_of(layers: Any) -> bytes:
    """(inputs x outputs, bias) for each layer, as `src/triton_mlp.cc` reads them: relu, and nothing after the last."""
    written = []
    for i, (weights, bias) in enumerate(layers):
        head = np.array([*weights.shape, 1 if i < len(layers) - 1 else 0], np.int32)
        written += [head.tobytes(), np.ascontiguousarray(weights.T, np.float32).tobytes(), bias.tobytes()]
    return b"".join(written)


def _mlserver(folder: pathlib.Path, layers: Any, port: int, grpc_port: int) -> list[str]:
    python = environments.found(MLSERVER) / "bin" / "python"
    _lay_apps(folder, layers)
    # With workers of its own it does not start beside uvloop 0.23: its worker asks for a loop that nobody made.
    settings = {
        "host": "127.0.0.1", "http_port": port, "grpc_port": grpc_port, "parallel_workers": 0, "debug": False,
        "metrics_endpoint": None,
    }  # fmt: skip
    (folder / "settings.json").write_text(json.dumps(settings))
    for model, implementation in (("mlp", "Mlp"), ("slow", "Slow")):
        (folder / model).mkdir()
        described = {"name": model, "implementation": f"mlserver_app.{implementation}"}
        (folder / model / "model-settings.json").write_text(json.dumps(described))
    start = "import sys; sys.path.insert(0, '.'); from mlserver.cli import main; main()"
    return [str(python), "-c", start, "start", "."]


def _litserve(folder: pathlib.Path, layers: Any, port: int, grpc_port: int) -> list[str]:
    python = environments.found(LITSERVE) / "bin" / "python"
    _lay_apps(folder, layers)
    return [str(python), "litserve_app.py", str(port)]


def _bentoml(folder: pathlib.Path, layers: Any, port: int, grpc_port: int) -> list[str]:
    python = environments.found(BENTOML) / "bin" / "python"
    _lay_apps(folder, layers)
    how = ["serve", "bentoml_app:Mlp", "--host", "127.0.0.1", "--port", str(port)]
    return [f"BENTOML_HOME={folder / 'home'}", str(python), "-m", "bentoml", *how]


def _ray(folder: pathlib.Path, layers: Any, port: int, grpc_port: int) -> list[str]:
    _lay_apps(folder, layers)
    return [sys.executable, "ray_app.py", str(port)]


_MAKERS: Final[Mapping[str, Callable[[pathlib.Path, Any, int, int], list[str]]]] = {
    TRITON: _triton,
    MLSERVER: _mlserver,
    LITSERVE: _litserve,
    BENTOML: _bentoml,
    RAY: _ray,
}
NAMES: Final = tuple(_MAKERS)
