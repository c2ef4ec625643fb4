"""Recorded rows in a bundle, `samples.json`: a model is asked them before it serves, and must answer as it did.

Asking them first finds what is wrong before a caller does, and pays what a first request would pay: lazy imports, pages
of weights, the choice of kernels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from mainspring.core import canonical, errors, ports
from mainspring.core.contracts import base
from mainspring.core.features import schema

FILE: Final = "samples.json"

#: Between runtimes and CPUs; a model that is another one differs by far more.
RTOL: Final = 1e-3
ATOL: Final = 1e-4

Value = str | float | int | bool | None


class Samples(base.Message):
    """Rows of the plan's input columns, and the scores that they had when the bundle was made."""

    schema_version: Literal[1] = 1
    columns: dict[str, tuple[Value, ...]]
    """By name; None is a missing value."""
    scores: tuple[Annotated[float, Field(allow_inf_nan=False)], ...] = ()
    """One a row; empty: not recorded, and the model must only answer."""
    tolerances: dict[Literal["bfloat16", "float16"], Annotated[float, Field(gt=0, allow_inf_nan=False)]] = {}
    """How far scores may be off (absolute) where serving runs the model in that dtype; it does not in one that is absent."""

    @model_validator(mode="after")
    def _check(self) -> Samples:
        lengths = {len(values) for values in self.columns.values()}
        if len(lengths) != 1 or lengths == {0}:
            raise ValueError(
                f"the columns have {sorted(lengths)} rows; each has the same number, and at least one"
            )
        if self.scores and {len(self.scores)} != lengths:
            raise ValueError(f"there are {len(self.scores)} scores for {lengths.pop()} rows")
        return self

    @property
    def n_rows(self) -> int:
        return len(next(iter(self.columns.values())))

    def arrays(self, inputs: Sequence[schema.Column]) -> dict[str, NDArray[Any]]:
        """The rows as a program takes them. Errors: SchemaMismatch if a column is absent or holds another type."""
        made = {}
        for column in inputs:
            values = self.columns.get(column.name)
            if values is None:
                raise _mismatch(column.name, column.dtype, "no such column")
            try:
                made[column.name] = _array(values, column.dtype)
            except (TypeError, ValueError, OverflowError) as error:
                raise _mismatch(column.name, column.dtype, str(error)) from error
        return made


def record(
    columns: Mapping[str, NDArray[Any]],
    scores: NDArray[np.float32] | None = None,
    *,
    tolerances: Mapping[Literal["bfloat16", "float16"], float] | None = None,
) -> bytes:
    """The file's bytes, of rows as a program takes them.

    Errors: InvalidRequest if lengths differ, there is no row, or a tolerance is not above 0.
    """
    values = {name: tuple(map(_plain, column.tolist())) for name, column in columns.items()}
    try:
        made = Samples(
            columns=values,
            scores=() if scores is None else tuple(map(float, scores)),
            tolerances=dict(tolerances or {}),
        )
    except ValidationError as error:
        raise errors.InvalidRequest(
            f"samples are malformed: {error.errors()[0]['msg']}; correct them", field=FILE
        ) from error
    # Absent where there are none: such a file has the bytes that it always had.
    return canonical.dumps(made.model_dump(mode="json", exclude=None if made.tolerances else {"tolerances"}))


def parse(data: bytes, artifact: str) -> Samples:
    """Errors: CorruptArtifact if the bytes are not from :func:`record`."""
    try:
        return Samples.model_validate_json(data)
    except ValidationError as error:
        raise _corrupt(artifact, error.errors()[0]["msg"]) from error


def check(scores: NDArray[np.float32], recorded: Samples, artifact: str) -> None:
    """Whether a model answered as recorded. Errors: CorruptArtifact naming the row that differs most."""
    if not recorded.scores:
        return
    wanted = np.array(recorded.scores)
    beyond = np.abs(scores - wanted) - (ATOL + RTOL * np.abs(wanted))
    worst = int(np.argmax(beyond))
    if beyond[worst] > 0:
        raise _corrupt(
            artifact,
            f"row {worst} has score {scores[worst]:.6g}, and had {wanted[worst]:.6g} when it was made",
        )


def _array(values: tuple[Value, ...], dtype: ports.FieldType) -> NDArray[Any]:
    if dtype == "string":
        if not all(v is None or isinstance(v, str) for v in values):
            raise TypeError("a value is no string")
        return np.array(values, object)
    if any(isinstance(v, str) for v in values):
        raise TypeError("a value is a string")
    if dtype in ("float32", "float64"):
        return np.array([np.nan if v is None else v for v in values], dtype)
    if any(v is None or v != int(v) for v in values):
        raise ValueError("a value is missing or no whole number")
    return np.array([int(v) for v in values if v is not None], dtype)


def _plain(value: Any) -> Value:
    missing = isinstance(value, float) and not np.isfinite(value)
    return None if missing else value


def _mismatch(name: str, expected: str, got: str) -> errors.SchemaMismatch:
    return errors.SchemaMismatch(
        f"`{FILE}`: column `{name}` is not {expected}: {got}; record the plan's input columns",
        feature=name,
        expected=expected,
        got=got,
    )


def _corrupt(artifact: str, why: str) -> errors.CorruptArtifact:
    return errors.CorruptArtifact(
        f"`{artifact}/{FILE}`: {why}; build the bundle anew, or look at what executes it",
        artifact=artifact,
        expected="the recorded answers",
        got=why,
    )
