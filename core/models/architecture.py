"""What a network is made of: read without torch, so that a process which only serves need not import it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mainspring.core import errors, projects
from mainspring.core.models import manifest
from mainspring.core.models import source as sources


class Table(BaseModel):
    """One embedding table: for the plan's id column `column`, ids 0 to `rows` - 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str
    rows: int = Field(gt=0)
    dimensions: int = Field(gt=0)


class Architecture(BaseModel):
    """What a network is made of; the content of a bundle's `model.json`.

    `dense_width` and `id_columns` are the plan's output: dense (n, dense_width), ids (n, len(id_columns)).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dense_width: int = Field(ge=0)
    id_columns: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    hidden_sizes: tuple[int, ...] = ()
    dropout: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        columns = [t.column for t in self.tables]
        if len(set(columns)) != len(columns) or len(set(self.id_columns)) != len(self.id_columns):
            raise ValueError(f"a column is named twice in {columns} or {list(self.id_columns)}")
        if absent := sorted(set(columns) - set(self.id_columns)):
            raise ValueError(f"the plan has no id columns {absent}, only {list(self.id_columns)}")
        if any(size <= 0 for size in self.hidden_sizes):
            raise ValueError(f"hidden sizes are positive, got {self.hidden_sizes}")
        if not self.hidden_sizes and any(t.dimensions != 1 for t in self.tables):
            raise ValueError("without hidden layers every embedding has one dimension (logistic regression)")
        if self.dense_width + len(self.tables) == 0:
            raise ValueError("the network has no input")
        return self

    @property
    def is_logistic_regression(self) -> bool:
        return not self.hidden_sizes

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Self:
        """Errors: InvalidRequest saying which field is wrong."""
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            path = ".".join(str(p) for p in first["loc"])
            raise errors.InvalidRequest(
                f"architecture field `{path}` is malformed: {first['msg']}; compare it with the plan's output",
                field=path,
            ) from error

    @classmethod
    def of(cls, spec: projects.ModelSpec, *, dense_width: int, id_columns: Mapping[str, int]) -> Self:
        """A project's spec over a fitted plan's output; `id_columns`: vocabulary size by id column, in plan order."""
        return cls.parse(
            {
                "dense_width": dense_width,
                "id_columns": tuple(id_columns),
                "tables": [
                    # An unknown column keeps size 1 and is then refused by name.
                    {"column": e.column, "rows": id_columns.get(e.column, 1), "dimensions": e.dimensions}
                    for e in spec.embeddings
                ],
                "hidden_sizes": spec.hidden_sizes,
                "dropout": spec.dropout,
            }
        )

    @property
    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every weight: what the file of weights holds, and all that it holds."""
        shapes: dict[str, tuple[int, ...]] = {
            f"tables.{i}.weight": (t.rows, t.dimensions) for i, t in enumerate(self.tables)
        }
        # Layers are numbered with what stands between them: an activation, and dropout where there is some.
        step = 3 if self.dropout else 2
        width = self.dense_width
        if not self.is_logistic_regression:
            width += sum(t.dimensions for t in self.tables)
        for i, size in enumerate((*self.hidden_sizes, 1)):
            if width:
                shapes[f"head.{i * step}.weight"] = (size, width)
            shapes[f"head.{i * step}.bias"] = (size,)
            width = size
        return shapes

    def baseline(self) -> Architecture:
        """Logistic regression over the same inputs."""
        tables = tuple(t.model_copy(update={"dimensions": 1}) for t in self.tables)
        return self.model_copy(update={"tables": tables, "hidden_sizes": (), "dropout": 0.0})


def of_bundle(source: sources.ModelSource) -> Architecture:
    """What a verified bundle's network is made of. Errors: CorruptArtifact if it says no such thing."""
    try:
        return Architecture.parse(source.model)
    except errors.InvalidRequest as error:
        raise errors.CorruptArtifact(
            f"`{source.digest}/{manifest.MODEL}` is no architecture: {error.message}",
            artifact=source.digest,
            expected="an architecture",
            got=error.field,
        ) from error
