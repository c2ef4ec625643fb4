"""A trained model asked for its scores or its time, without holding its library.

What native code runs is asked in the worker. torch and onnxruntime are libraries that no worker holds: their models are asked
in a process of their own, `python -m mainspring.workflows.training.apart`, with a question on its standard input.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mainspring.core import errors
from mainspring.core.contracts import evaluation
from mainspring.core.contracts.base import Message
from mainspring.core.features import frames, plan
from mainspring.core.models import latency, manifest, runtimes
from mainspring.core.models import source as sources

__all__ = ["Question", "scores", "timed"]

_TEST: Final = pl.col("split") == "test"
#: Rows that are scored at once.
_ROWS: Final = 4096
#: Rows that are timed, evenly spread over the test split.
_TIMED_ROWS: Final = 64
_NATIVE: Final = ("embedding_mlp", "trees")
#: Of a child: imports and the slowest model that one would train here.
_TIMEOUT_SECONDS: Final = 600.0


class Question(Message):
    """One model over one training set's test split. All paths are absolute."""

    kind: manifest.Kind
    model: dict[str, Any]
    weights: Path
    plan: Path
    training_set: Path
    network: Literal["auto", "native", "torch"] = "auto"
    """As `serving.runtime`."""
    torch_threads: int = 1
    onnx_threads: int = 1
    wanted: Literal["scores", "latency"] = "scores"


class Answer(Message):
    scores: list[float] = []
    latency: evaluation.Latency | None = None
    error: dict[str, Any] = {}


def scores(asked: Question) -> NDArray[np.float64]:
    """Of the test rows in the training set's order, (n,). Errors: SchemaMismatch for a column that the plan reads and the
    rows have not; those of plans and runtimes."""
    return np.asarray(_answer(asked.model_copy(update={"wanted": "scores"})).scores)


def timed(asked: Question) -> evaluation.Latency:
    """Errors: as :func:`scores`."""
    found = _answer(asked.model_copy(update={"wanted": "latency"})).latency
    assert found is not None
    return found


def _answer(asked: Question) -> Answer:
    if asked.kind in _NATIVE and asked.network != "torch":
        try:
            return answer(asked, runtimes.Options(network="native"))
        except errors.MissingTool:
            if asked.network == "native":
                raise
    return _child(asked)


def answer(asked: Question, options: runtimes.Options) -> Answer:
    """In this process."""
    known = runtimes.model_factories(options)
    if asked.kind not in known:
        raise errors.InvalidRequest(
            f"a model of kind `{asked.kind}` is not asked here; kinds are {', '.join(f'`{k}`' for k in known)}",
            field="kind",
        )
    compiled = plan.FittedPlan.from_bytes(asked.plan.read_bytes()).compile()
    part = sources.Part("the model that is asked", asked.kind, asked.model, asked.weights.read_bytes())
    runtime = known[asked.kind](part, compiled)
    names = [c.name for c in compiled.inputs]
    frames.check(
        pl.read_parquet_schema(asked.training_set),
        {c.name: frames.POLARS_TYPES[c.dtype] for c in compiled.inputs},
        what="training set",
    )
    test = pl.scan_parquet(asked.training_set).filter(_TEST).select(names).collect()
    if asked.wanted == "latency":
        some = np.unique(
            np.linspace(0, max(test.height - 1, 0), min(_TIMED_ROWS, test.height)).astype(np.int64)
        )
        return Answer(
            latency=latency.measure(runtime, compiled, frames.to_numpy(test[some], compiled.inputs))
        )
    found: list[float] = []
    for rows in test.iter_slices(_ROWS):
        found += runtime.predict(compiled.run(frames.to_numpy(rows, compiled.inputs))).tolist()
    return Answer(scores=found)


def _child(asked: Question) -> Answer:
    command = [sys.executable, "-m", "mainspring.workflows.training.apart"]
    try:
        done = subprocess.run(
            command, input=asked.model_dump_json().encode(), capture_output=True, timeout=_TIMEOUT_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise errors.DeadlineExceeded(
            f"a model of kind `{asked.kind}` did not answer within {_TIMEOUT_SECONDS:g} s; make it smaller",
            stage="evaluate",
        ) from error
    if done.returncode != 0:
        why = (done.stderr.decode(errors="replace").strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise errors.JobFailed(
            f"the process that asks a model of kind `{asked.kind}` ended: {why}; try it by hand with"
            " `python -m mainspring.workflows.training.apart`",
            status="crashed",
        )
    found = Answer.model_validate_json(done.stdout)
    if found.error:
        raise errors.from_wire(found.error)
    return found


def main() -> None:
    asked = Question.model_validate_json(sys.stdin.buffer.read())
    options = runtimes.Options(
        network=asked.network, torch_threads=asked.torch_threads, onnx_threads=asked.onnx_threads
    )
    try:
        found = answer(asked, options)
    except errors.MainspringError as error:
        found = Answer(error=errors.to_wire(error))
    sys.stdout.write(found.model_dump_json())


if __name__ == "__main__":
    main()
