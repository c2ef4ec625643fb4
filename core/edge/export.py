"""A bundle as a folder that runs by itself: the native core, the compiled plan, the weights, and a signature over all of it.

<out>/run.py, sync.py              what a device runs; see `device/`
      mainspring/native/           the compiled kernels and the Python that calls them
      program.json                 the plan, as the native program compiles it
      weights.safetensors          as in the bundle
      release.json                 what this is, and every other file's digest
      signature.json               over release.json's digest; the one file that it does not list
"""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from mainspring.core import canonical, durable, errors
from mainspring.core.contracts import inputs
from mainspring.core.edge.device import run
from mainspring.core.features import plan
from mainspring.core.models import architecture, bundle, model_spec, runtimes, sanitise, signing
from mainspring.native import _native, mlp, program, spec, status, trees

__all__ = ["DOMAIN", "RELEASE", "SIGNATURE", "Exported", "export"]

RELEASE: Final = "release.json"
SIGNATURE: Final = "signature.json"

#: A signature of a release can be none of anything else.
DOMAIN: Final = b"mainspring.edge.release.v1\x00"

_VERSION: Final = 1
_DEVICE: Final = Path(run.__file__).parent
#: What a device imports of `mainspring.native`.
_NATIVE: Final = (_native, mlp, program, spec, status, trees)


@dataclass(frozen=True)
class Exported:
    """A release. `digest` names it: that of `release.json`, which lists every other file's."""

    path: Path
    digest: str
    bytes: int


def export(source: bundle.Bundle, out: Path, key: signing.SigningKey) -> Exported:
    """Write a verified bundle's release to `out`, which must not be there; whole, or nothing is left.

    What was written is loaded and run once before it gets its name.
    Errors: MissingTool for a bundle whose kind or weights the native core does not run; Conflict if `out` is there;
    CorruptArtifact if the bundle's plan and network do not belong together; DependencyDown if the disk refuses.
    """
    model = _model(source)
    if os.path.lexists(out):
        raise errors.Conflict(
            f"`{out}` is there already; choose a folder that is not, or remove it",
            resource="folder",
            name=str(out),
        )
    files = _files(source)
    release = canonical.dumps(_release(source, model, files))
    digest = canonical.digest_bytes(release)
    files |= {RELEASE: release, SIGNATURE: key.sign(digest, domain=DOMAIN).to_bytes()}
    aside = out.with_name(f".{out.name}.{secrets.token_hex(6)}")
    try:
        _write(aside, files)
        _try(source, aside)
        aside.rename(out)
        durable.sync_folder(out.parent)
    except OSError as error:
        raise errors.DependencyDown(
            f"`{out}` cannot be written: {error}; check the disk and its rights, and export again",
            name=str(out),
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return Exported(out, digest, sum(map(len, files.values())))


def _files(source: bundle.Bundle) -> dict[str, bytes]:
    compiled = plan.FittedPlan.from_bytes(source.plan).compile()
    native = {f"mainspring/native/{p.name}": p.read_bytes() for p in (Path(str(m.__file__)) for m in _NATIVE)}
    return {
        "run.py": (_DEVICE / "run.py").read_bytes(),
        "sync.py": (_DEVICE / "sync.py").read_bytes(),
        "program.json": canonical.dumps(compiled.spec),
        bundle.LEARNED[source.manifest.kind]: source.weights,
        **native,
    }


def _release(source: bundle.Bundle, model: Mapping[str, Any], files: Mapping[str, bytes]) -> dict[str, Any]:
    return {
        "version": _VERSION,
        "name": source.manifest.name,
        "bundle": source.digest,
        "platform": {
            "system": platform.system(),
            "machine": platform.machine(),
            "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        },
        "inputs": {c.name: c.dtype for c in source.manifest.input_columns},
        "model": {"kind": source.manifest.kind, "file": bundle.LEARNED[source.manifest.kind], **model},
        "files": {
            name: {"digest": canonical.digest_bytes(data), "bytes": len(data)} for name, data in files.items()
        },
    }


def _model(source: bundle.Bundle) -> dict[str, Any]:
    """How a device asks the model; whether it can is found by loading it as serving does.

    Errors: MissingTool for a bundle that the native core does not run; CorruptArtifact.
    """
    kind = source.manifest.kind
    if kind not in ("embedding_mlp", "trees"):
        raise errors.MissingTool(
            f"the native core does not run bundles of kind `{kind}`; export one of kind `embedding_mlp` or `trees`",
            tool=kind,
        )
    policy = sanitise.policy_of(source)
    if changes := sorted(name for name, column in policy.columns.items() if _changes(column)):
        raise errors.MissingTool(
            f"bundle `{source.digest}` declares of inputs {changes} what a device does not do (clip, refuse); build it with"
            " `warn` or `accept` there, or serve it",
            tool="input_policy",
        )
    compiled = plan.FittedPlan.from_bytes(source.plan).compile()
    runtimes.factories(runtimes.Options(network="native"))[kind](source, compiled)
    if kind == "trees":
        return model_spec.read(source, model_spec.TreesSpec).model_dump(include={"format", "output"})
    spec = architecture.of_bundle(source)
    return {
        "dense_width": spec.dense_width,
        "id_indices": [spec.id_columns.index(table.column) for table in spec.tables],
        "n_ids": len(spec.id_columns),
        "output": "sigmoid",
    }


def _changes(column: inputs.ColumnPolicy) -> bool:
    """Whether the policy would give other answers than none."""
    is_bounded = column.low is not None or column.high is not None
    return column.missing == "refuse" or (is_bounded and column.out_of_range in ("clip", "refuse"))


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    for inside in (*(p for p in folder.rglob("*") if p.is_dir()), folder):
        durable.sync_folder(inside)


def _try(source: bundle.Bundle, folder: Path) -> None:
    """One row of missing values, through the files as they were written."""
    try:
        model = run.Model(folder)
        row = {name: 0 if kind == "int64" else None for name, kind in model.inputs.items()}
        scores = model.predict(model.columns([row]))
    except (status.NativeError, SystemExit) as error:
        # Serving's runtime took it a moment ago.
        raise errors.InvariantViolated(
            f"the release of bundle `{source.digest}` does not run: {error}; report it", where="edge.export"
        ) from error
    if scores.shape != (1,) or not np.isfinite(scores).all():
        raise errors.InvariantViolated(
            f"the release gave {scores} for one row of missing values", where="edge.export"
        )
