"""Programs of `torch.export`: saved without a pickle, checked before torch reads them, executed as a bundle's model.

What `torch.export.save` writes is a zip file of JSON and raw weights, and a pickle of sample inputs, which :func:`save`
leaves out. A program is code all the same: torch resolves the operators that it names. So only `aten`'s operators and
Python's arithmetic are let through, and nobody's but a trusted signer's program gets so far.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from mainspring.core import errors, ports
from mainspring.core.models import model_input, model_spec, torch_threads
from mainspring.core.models import source as sources

_SAMPLES: Final = re.compile(r"[\w.-]+/data/sample_inputs/[\w.-]+\.pt")
_MEMBERS: Final = re.compile(
    r"[\w.-]+/(models/[\w.-]+\.json|data/(weights/weight_\d+|constants/tensor_\d+|(weights|constants)/\w+\.json)"
    r"|archive_format|archive_version|byteorder|\.data/(version|serialization_id|alignment)|version)"
)
_OPERATORS: Final = re.compile(
    r"torch\.ops\.aten\.\w+\.\w+|torch\.sym_\w+"
    r"|_operator\.(getitem|add|sub|mul|truediv|floordiv|mod|neg|pow|eq|ne|lt|le|gt|ge|and_|or_|not_)"
)
# Of shapes: torch gives them to sympy, which evaluates them as Python.
_EXPRESSION: Final = re.compile(r"(Symbol\('\w+'|[\w\s+\-*/%(),<>=])*")
_CALLED: Final = re.compile(r"(\w+)\s*\(")
_FUNCTIONS: Final = frozenset(
    [
        "Symbol",
        "Integer",
        "Add",
        "Mul",
        "Pow",
        "Mod",
        "PythonMod",
        "Max",
        "Min",
        "Abs",
        "FloorDiv",
        "CleanDiv",
        "CeilDiv",
        "ModularIndexing",
        "PowByNatural",
        "IntTrueDiv",
        "Eq",
        "Ne",
        "Lt",
        "Le",
        "Gt",
        "Ge",
        "And",
        "Or",
        "Not",
    ]
)


class ExportedRuntime:
    """A :class:`mainspring.core.ports.ModelRuntime`. Thread-safe.

    A row's score may differ in its last bits between batches of different size.
    """

    name: Final = "torch_export"

    def __init__(
        self, module: Callable[..., Any], spec: model_spec.ExportedSpec, *, threads: int = 1
    ) -> None:
        self._module = module
        self._threads = threads
        self._spec = spec
        self._expected = model_input.ExpectedInput(spec.dense_width, len(spec.id_columns))

    @classmethod
    def load(
        cls, source: sources.ModelSource, compiled: sources.PlanOutput, *, threads: int
    ) -> ExportedRuntime:
        """Read a verified bundle's program, to run on `threads`.

        Errors: CorruptArtifact if it is no program, holds a pickle or an operator that is not let through, or does not
        take what the plan gives, found by a run on two rows of zeros.
        """
        spec = model_spec.read(source, model_spec.ExportedSpec)
        ids = dict.fromkeys(spec.id_columns, 0)
        model_input.check_plan(compiled, source.digest, dense_width=spec.dense_width, ids=ids)
        data = source.weights
        if problem := problem_of(data):
            raise model_spec.unfit(source, problem, expected="a program of torch.export", got=problem)
        torch_threads.settle(threads)
        try:
            module = torch.export.load(io.BytesIO(data)).module()
        except Exception as error:  # torch raises whatever it stumbles over
            raise model_spec.unfit(source, f"torch cannot read it: {error}"[:300]) from error
        loaded = cls(module, spec, threads=threads)
        try:
            for rows in (1, 2):
                loaded.predict(_zeros(spec, rows))
        except errors.InvariantViolated as error:
            raise model_spec.unfit(source, error.message, expected="(dense, ids) in, (n,) out") from error
        return loaded

    def variant(self, *, threads: int) -> ExportedRuntime:
        """The same program, not a copy, on another number of threads."""
        return ExportedRuntime(self._module, self._spec, threads=threads)

    def compiled(self, program: bytes, *, seconds: float) -> ExportedRuntime:
        """The same `program` as machine code, on one thread. Errors: those of :func:`aot.compiled`."""
        from mainspring.core.models import aot  # for the few that have the time

        widths = [self._spec.dense_width, *([len(self._spec.id_columns)] if self._spec.id_columns else [])]
        return ExportedRuntime(aot.compiled(program, widths, seconds=seconds), self._spec)

    @property
    def module(self) -> Callable[..., Any]:
        """The program: (dense, ids) in, tensors."""
        return self._module

    def predict(self, batch: ports.ModelInput) -> NDArray[np.float32]:
        """Scores (n,) float32; n may be 0.

        Errors: SchemaMismatch for other widths or dtypes; InvariantViolated if the program fails on the batch (an id that
        it has no row for), or its answer is not one finite number a row.
        """
        self._expected.check(batch)
        if not batch.n_rows:
            return np.zeros(0, np.float32)  # a program may demand a row
        inputs = [torch.from_numpy(_writeable(batch.dense))]
        if self._spec.id_columns:
            inputs.append(torch.from_numpy(_writeable(batch.ids)))
        torch_threads.use(self._threads)
        try:
            with torch.inference_mode():
                answer = self._module(*inputs)
        except Exception as error:  # as above
            raise errors.InvariantViolated(
                f"the program failed on {batch.n_rows} rows: {str(error)[:300]}; roll back and look at its input",
                where="exported.run",
            ) from error
        given = answer.numpy() if isinstance(answer, torch.Tensor) else answer
        return model_input.score_of(given, batch.n_rows, 0, self._spec.activation, "exported.scores")


def save(exported: torch.export.ExportedProgram) -> bytes:
    """A program as a bundle holds it: the same program gives the same bytes.

    Errors: InvalidRequest if it needs what a bundle may not have: a pickled constant, an operator that is not let through.
    """
    file = io.BytesIO()
    torch.export.save(exported, file)
    out = io.BytesIO()
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as kept:
        for member in archive.infolist():
            # Their place must be there for torch, which takes an empty one for none.
            data = b"" if _SAMPLES.fullmatch(member.filename) else archive.read(member)
            if member.filename.endswith("/.data/serialization_id"):
                continue  # differs from one torch to the next, and nobody reads it
            kept.writestr(zipfile.ZipInfo(member.filename), data)
    if problem := problem_of(out.getvalue()):
        raise errors.InvalidRequest(f"program cannot go into a bundle: {problem}", field="weights")
    return out.getvalue()


def problem_of(data: bytes) -> str:
    """Why torch must not read these bytes; empty: it may. Nothing of them is executed."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [member.filename for member in archive.infolist()]
            # Torch's reader and ours must mean the same file by a name.
            if data[:4] != b"PK\x03\x04" or len(set(names)) != len(names):
                return "it is no archive that torch writes"
            for member in archive.infolist():
                if problem := _problem(member, archive):
                    return problem
    except Exception as error:  # noqa: BLE001 - zipfile and json raise many kinds of errors on bad bytes
        return f"it is no archive of a program: {error}"
    return ""


def _problem(member: zipfile.ZipInfo, archive: zipfile.ZipFile) -> str:
    name = member.filename
    if _SAMPLES.fullmatch(name):
        return f"`{name}` is a pickle; write it with `exported.save`" if member.file_size else ""
    if not _MEMBERS.fullmatch(name):
        return f"`{name}` is nothing that a program needs"
    if not name.endswith(".json"):
        return ""
    return _problem_in(json.loads(archive.read(member)), name)


def _problem_in(document: Any, where: str) -> str:
    """A pickled tensor, a script object, an operator or an expression that is not let through, anywhere in the JSON."""
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()
            if value.get("use_pickle"):
                return f"`{where}` names a pickled tensor"
            operator = value.get("target") if "inputs" in value and "outputs" in value else None
            if isinstance(operator, str) and not _OPERATORS.fullmatch(operator):
                return f"`{where}` calls `{operator[:100]}`"
            expression = value.get("expr_str")
            if isinstance(expression, str) and not _is_arithmetic(expression):
                return f"`{where}` has the expression `{expression[:100]}`"
    return ""


def _is_arithmetic(expression: str) -> bool:
    return _EXPRESSION.fullmatch(expression) is not None and set(_CALLED.findall(expression)) <= _FUNCTIONS


def _zeros(spec: model_spec.ExportedSpec, rows: int) -> ports.ModelInput:
    return ports.ModelInput(
        np.zeros((rows, spec.dense_width), np.float32), np.zeros((rows, len(spec.id_columns)), np.int32)
    )


def _writeable(array: NDArray[Any]) -> NDArray[Any]:
    # torch has no read-only tensors: it warns about such an array, so that one is copied.
    return array if array.flags.writeable else array.copy()
