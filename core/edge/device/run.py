"""Scores rows on this device: `python run.py < rows.jsonl`, a JSON object with every input a line; a score a line out.

Needs NumPy and the folder that it lies in. The bits are serving's: the same program, the same model, the same kernels.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
#: What a JSON value may be; null is a missing one.
ACCEPTED = {"float32": (int, float, type(None)), "int64": (int,), "string": (str, type(None))}


class absent:
    """Stands in a row for an input that it lacks."""


class Model:
    """The release in `folder`; no file of it is used before all have their digests. SystemExit names one that has not."""

    def __init__(self, folder: Path = HERE) -> None:
        release = json.loads((folder / "release.json").read_bytes())
        for name, entry in release["files"].items():
            data = (folder / name).read_bytes() if (folder / name).is_file() else b""
            if "sha256:" + hashlib.sha256(data).hexdigest() != entry["digest"]:
                raise SystemExit(
                    f"error: `{name}` is damaged or missing; run sync.py, or copy the release again"
                )
        from mainspring.native import mlp, program, trees

        self.inputs: dict[str, str] = release["inputs"]
        self._program = program.Program(json.loads((folder / "program.json").read_bytes()))
        about = dict(release["model"])
        kind, learned = about.pop("kind"), (folder / about.pop("file")).read_bytes()
        self._network = mlp.from_state(_tensors(learned), **about) if kind == "embedding_mlp" else None
        if kind == "trees":
            read = trees.Trees.from_lightgbm if about["format"] == "lightgbm" else trees.Trees.from_xgboost
            self._trees, self._output = read(learned), about["output"]

    def predict(self, columns: Mapping[str, Any]) -> NDArray[np.float32]:
        """Scores (n,) float32 of columns (n,) each: float32 (NaN: missing), int64, or lists of str (None: missing)."""
        dense, ids = self._program.run(columns)
        if self._network is not None:
            return self._network.run(dense, ids).ravel()
        features = np.concatenate([dense, ids.T], axis=1, dtype=np.float32, casting="unsafe")
        return self._trees.run(features)[:, self._output].astype(np.float32)

    def columns(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """JSON objects as columns, as strict as serving. SystemExit names an input that is not what it should be."""
        found: dict[str, Any] = {}
        for name, kind in self.inputs.items():
            values = [row.get(name, absent()) for row in rows]
            if other := {type(v).__name__ for v in values if type(v) not in ACCEPTED[kind]}:
                raise SystemExit(
                    f"error: input `{name}` is {', '.join(other)} in a row; give a {kind} in every row"
                )
            try:
                with np.errstate(over="ignore"):
                    found[name] = values if kind == "string" else np.array(values, kind)
            except OverflowError:
                raise SystemExit(
                    f"error: input `{name}` is beyond {kind} in a row; give a smaller number"
                ) from None
            if kind == "float32" and np.isinf(found[name]).any():
                raise SystemExit(f"error: input `{name}` is beyond float32 in a row; give a smaller number")
        return found


def _tensors(data: bytes) -> dict[str, NDArray[Any]]:
    """A safetensors file: eight bytes of length, a JSON header, the numbers, which are float32 here."""
    begin = 8 + int.from_bytes(data[:8], "little")
    header = {k: v for k, v in json.loads(data[8:begin]).items() if k != "__metadata__"}
    return {
        name: np.frombuffer(data[begin + about["data_offsets"][0] : begin + about["data_offsets"][1]], "<f4")
        .reshape(about["shape"])
        .copy()
        for name, about in header.items()
    }


if __name__ == "__main__":
    model = Model()
    try:
        rows = [dict(json.loads(line)) for line in sys.stdin if line.strip()]
    except (ValueError, TypeError) as error:
        raise SystemExit(f"error: a line is no JSON object: {error}; give one object a line") from None
    for score in model.predict(model.columns(rows)) if rows else ():
        print(repr(float(score)))
