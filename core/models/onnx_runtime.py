"""Executes a bundle's ONNX graph. The one file that imports onnxruntime, with the first bundle that needs it."""

from __future__ import annotations

import os
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from mainspring.core import errors, ports
from mainspring.core.models import model_input, model_spec
from mainspring.core.models import source as sources

_IDS: Final = {"tensor(int32)": np.int32, "tensor(int64)": np.int64}
_OUTPUTS: Final = ("tensor(float)", "tensor(double)")


class OnnxRuntime:
    """A :class:`mainspring.core.ports.ModelRuntime`. Thread-safe, as a session is.

    A row's score may differ in its last bits between batches of different size.
    """

    name: Final = "onnx"

    def __init__(self, session: Any, spec: model_spec.OnnxSpec, ids_dtype: Any) -> None:
        self._session = session
        self._spec = spec
        self._ids_dtype = ids_dtype
        self._expected = model_input.ExpectedInput(spec.dense_width, len(spec.id_columns))

    @classmethod
    def load(cls, source: sources.ModelSource, compiled: sources.PlanOutput, *, threads: int) -> OnnxRuntime:
        """Build a session of a verified bundle's graph, on `threads` of its own.

        Errors: CorruptArtifact if it is no graph, keeps its weights in other files, uses operators that onnxruntime
        has not, or does not take what the plan gives.
        """
        spec = model_spec.read(source, model_spec.OnnxSpec)
        ids = dict.fromkeys(spec.id_columns, 0)
        model_input.check_plan(compiled, source.digest, dense_width=spec.dense_width, ids=ids)
        session = _session(source, threads)
        return cls(session, spec, _check_graph(session, spec, source))

    def predict(self, batch: ports.ModelInput) -> NDArray[np.float32]:
        """Scores (n,) float32; n may be 0.

        Errors: SchemaMismatch for other widths or dtypes; InvariantViolated if the graph fails on the batch (an id that
        it has no row for), or its answer is not one finite number a row.
        """
        self._expected.check(batch)
        spec, fed = self._spec, {}
        if spec.dense_width:
            fed[spec.dense_input] = np.ascontiguousarray(batch.dense)
        if spec.id_columns:
            fed[spec.ids_input] = np.ascontiguousarray(batch.ids, dtype=self._ids_dtype)
        try:
            (answer,) = self._session.run([spec.output], fed)
        except Exception as error:  # onnxruntime's errors have no class in common but this
            raise errors.InvariantViolated(
                f"the graph failed on {batch.n_rows} rows: {_short(error)}; roll back and look at its input",
                where="onnx_runtime.run",
            ) from error
        return model_input.score_of(answer, batch.n_rows, spec.column, spec.activation, "onnx_runtime.scores")


def _session(source: sources.ModelSource, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # it would write to stderr what it raises as well
    # Weights in other files would not be what was signed: there is nothing where they are looked for.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(source.weights, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # as above
        raise model_spec.unfit(
            source, _short(error), expected="an ONNX graph with its weights", got=type(error).__name__
        ) from error


def _check_graph(session: Any, spec: model_spec.OnnxSpec, source: sources.ModelSource) -> Any:
    """Whether names, types and shapes are what `spec` says; returns the dtype of the ids."""
    wanted: dict[str, tuple[tuple[str, ...], int]] = {}
    if spec.dense_width:
        wanted[spec.dense_input] = (("tensor(float)",), spec.dense_width)
    if spec.id_columns:
        wanted[spec.ids_input] = (tuple(_IDS), len(spec.id_columns))
    inputs = {i.name: i for i in session.get_inputs()}
    if inputs.keys() != wanted.keys():
        raise model_spec.unfit(source, f"the graph takes {sorted(inputs)}, not {sorted(wanted)}")
    for name, (types, width) in wanted.items():
        got = inputs[name]
        rows, *rest = got.shape or [None]
        if got.type not in types or isinstance(rows, int) or rest not in ([width], [None]):
            raise model_spec.unfit(
                source,
                f"its input `{name}` is {got.type} {got.shape}, not {' or '.join(types)} ['n', {width}]",
            )
    outputs = {o.name: o for o in session.get_outputs()}
    if spec.output not in outputs:
        raise model_spec.unfit(source, f"the graph gives {sorted(outputs)}, no `{spec.output}`")
    out = outputs[spec.output]
    columns = out.shape[1] if len(out.shape) == 2 else 1
    if (
        out.type not in _OUTPUTS
        or len(out.shape) not in (1, 2)
        or (isinstance(columns, int) and columns <= spec.column)
    ):
        raise model_spec.unfit(
            source, f"its output `{spec.output}` is {out.type} {out.shape}; column {spec.column} is asked for"
        )
    return _IDS[inputs[spec.ids_input].type] if spec.id_columns else np.int32


def _short(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
