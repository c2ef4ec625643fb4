"""The transform plan: declared by people, fitted on the training split, named by its digest, compiled to a Program.

>>> import polars as pl
>>> declared = TransformPlan(name="demo", columns=(
...     dense("delay", ops.Impute(), ops.Standardise(), ops.Indicator()),
...     vocabulary("carrier"),
... ))
>>> fitted = declared.fit(pl.DataFrame({"delay": [1.0, None, 3.0], "carrier": ["UA", "AA", None]},
...                                    schema={"delay": pl.Float32, "carrier": pl.String}))
>>> fitted.compile().dense_names
('delay', 'delay__missing')
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mainspring.core import canonical, errors
from mainspring.core.features import ops, program, schema

if TYPE_CHECKING:
    import polars as pl

__all__ = ["SCHEMA_VERSION", "FittedPlan", "PlanColumn", "TransformPlan", "dense", "vocabulary"]

#: Of the JSON form. A reader refuses a newer one; it never guesses.
SCHEMA_VERSION: Final = 1


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PlanColumn(_Model):
    """One input column and its ops: dense ops in the kernel's order, or one vocabulary."""

    input: schema.Column
    ops: tuple[Annotated[ops.DenseOp | ops.Vocabulary, Field(discriminator="op")], ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        name, kinds = self.input.name, [op.op for op in self.ops]
        if len(set(kinds)) != len(kinds):
            raise ValueError(f"column `{name}` has an op twice: {kinds}")
        if "vocabulary" in kinds:
            if len(kinds) > 1:
                raise ValueError(f"column `{name}` mixes a vocabulary with {kinds}; it goes alone")
            if self.input.dtype not in ("string", "int64"):
                raise ValueError(f"column `{name}` is {self.input.dtype}; a vocabulary wants string or int64")
            return self
        if self.input.dtype != "float32":
            raise ValueError(f"column `{name}` is {self.input.dtype}; dense ops want float32")
        if "impute" not in kinds:
            raise ValueError(f"column `{name}` does not say what a missing value becomes; add an impute op")
        ordered = [kind for kind in ops.DENSE_ORDER if kind in kinds]
        if [kind for kind in kinds if kind != "indicator"] != ordered:
            raise ValueError(f"column `{name}` has its ops as {kinds}; the kernel runs them as {ordered}")
        return self


def dense(name: str, *column_ops: ops.DenseOp) -> PlanColumn:
    """A float32 input column of the dense matrix. Without a Standardise op the imputed value passes through."""
    return PlanColumn(input=schema.Column(name=name, dtype="float32"), ops=column_ops)


def vocabulary(
    name: str,
    *,
    dtype: Literal["string", "int64"] = "string",
    min_count: int = 1,
    max_values: int | None = None,
) -> PlanColumn:
    """An id column."""
    op = ops.Vocabulary(min_count=min_count, max_values=max_values)
    return PlanColumn(input=schema.Column(name=name, dtype=dtype), ops=(op,))


class TransformPlan(_Model):
    """A declared plan: which columns, which ops, in the order of the model's input."""

    name: str = Field(min_length=1)
    columns: tuple[PlanColumn, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [c.input.name for c in self.columns]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"plan `{self.name}` names a column twice: {twice}")
        return self

    @property
    def inputs(self) -> tuple[schema.Column, ...]:
        """The columns to fit on and to run on."""
        return tuple(c.input for c in self.columns)

    @property
    def digest(self) -> str:
        """Names the declaration; a fitted plan has its own digest."""
        return canonical.digest(self.model_dump(mode="json"))

    def fit(self, frame: pl.DataFrame | pl.LazyFrame) -> FittedPlan:
        """Learn every parameter from `frame`, which must be the training split alone.

        Missing: null and NaN; in strings "" too. The result depends on the multiset of values, not on row order.
        Errors: SchemaMismatch if a column is absent or of another type; DataInvalid if the frame is empty or a
        column has nothing to learn from.
        """
        from mainspring.core.features import fitting, frames  # Polars: serving loads plans without it

        data = frames.collect(frame, self.inputs, what=f"training split of plan `{self.name}`")
        if data.is_empty():
            raise errors.DataInvalid(
                f"plan `{self.name}` cannot be fitted on 0 rows; check the split and the sample fraction",
                dataset="training split",
                failed=("rows",),
            )
        dense_outputs: list[ops.DenseOutput] = []
        id_outputs: list[ops.IdOutput] = []
        for column in self.columns:
            name, first = column.input.name, column.ops[0]
            if isinstance(first, ops.Vocabulary):
                id_outputs.append(fitting.fit_ids(name, data[name], first))
            else:
                declared = [op for op in column.ops if not isinstance(op, ops.Vocabulary)]
                dense_outputs.extend(fitting.fit_dense(name, data[name], declared))
        return FittedPlan(
            declared=self, fit_rows=data.height, dense=tuple(dense_outputs), ids=tuple(id_outputs)
        )


class FittedPlan(_Model):
    """A plan with its numbers. The digest of its canonical JSON is its name in bundles and in lineage."""

    schema_version: Literal[1] = SCHEMA_VERSION
    declared: TransformPlan
    fit_rows: int = Field(ge=1)
    dense: tuple[ops.DenseOutput, ...]
    ids: tuple[ops.IdOutput, ...]

    @model_validator(mode="after")
    def _sources_declared(self) -> Self:
        known: dict[str, str] = {c.name: c.dtype for c in self.declared.inputs}
        reads = [(o.name, o.source, ("float32",)) for o in self.dense]
        reads_ids = [(o.name, o.source, ("string", "int64")) for o in self.ids]
        for name, source, wanted in (*reads, *reads_ids):
            if known.get(source, "") not in wanted:
                raise ValueError(
                    f"output `{name}` reads `{source}`, which the plan does not declare as {wanted}"
                )
        return self

    @property
    def inputs(self) -> tuple[schema.Column, ...]:
        return self.declared.inputs

    @property
    def digest(self) -> str:
        return canonical.digest_bytes(self.to_bytes())

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical.dumps(self.model_dump(mode="json"))

    @classmethod
    def from_bytes(cls, data: bytes) -> FittedPlan:
        """Read :meth:`to_bytes`'s form.

        Errors: CorruptArtifact if it is not JSON, not canonical or not a plan; SchemaMismatch if its schema version
        is one this library does not know.
        """
        try:
            value: Any = json.loads(data)
        except ValueError as error:
            raise _corrupt(f"plan is not JSON: {error}", got="other bytes") from error
        version = value.get("schema_version") if isinstance(value, dict) else None
        if version != SCHEMA_VERSION:
            raise errors.SchemaMismatch(
                f"plan has schema version `{version}`, this library reads `{SCHEMA_VERSION}`;"
                " load it with the mainspring release that wrote it, or fit it again",
                feature="schema_version",
                expected=str(SCHEMA_VERSION),
                got=str(version),
            )
        try:
            plan = cls.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise _corrupt(f"plan does not hold together at `{where}`: {first['msg']}", got=where) from error
        if plan.to_bytes() != data:
            raise _corrupt(
                "plan is not in canonical form, so its digest names nothing", got=canonical.digest_bytes(data)
            )
        return plan

    def compile(self) -> program.Program:
        """The program that this plan's models are trained and served with."""
        return program.Program(self.inputs, self.dense, self.ids)


def _corrupt(problem: str, *, got: str) -> errors.CorruptArtifact:
    return errors.CorruptArtifact(
        f"{problem}; fetch the bundle again",
        artifact="plan",
        expected=f"plan schema {SCHEMA_VERSION}",
        got=got,
    )
