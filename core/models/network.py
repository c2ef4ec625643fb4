"""The network: embedding tables beside the dense block, then fully connected layers, then one logit.

Without hidden layers it is logistic regression over the dense columns and the one-hot ids, which is the baseline
every candidate has to beat: same inputs, same training loop, same runtime.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, Self

import safetensors
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import nn

from mainspring.core import errors, projects


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

    def baseline(self) -> Architecture:
        """Logistic regression over the same inputs."""
        tables = tuple(t.model_copy(update={"dimensions": 1}) for t in self.tables)
        return self.model_copy(update={"tables": tables, "hidden_sizes": (), "dropout": 0.0})


class EmbeddingMlp(nn.Module):
    """dense (n, d) float32 and ids (n, k) integer in, logits (n,) float32 out. Inputs are finite; ids in range."""

    def __init__(self, architecture: Architecture, *, seed: int = 0) -> None:
        super().__init__()
        self.architecture = architecture
        self._id_indices = [architecture.id_columns.index(t.column) for t in architecture.tables]
        # Initial weights depend on the seed alone, and making them leaves the caller's generator as it was.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.tables = nn.ModuleList(nn.Embedding(t.rows, t.dimensions) for t in architecture.tables)
            for table in self.tables:
                assert isinstance(table, nn.Embedding)
                # A rare id must start near "no opinion", not at a standard normal's draw.
                nn.init.normal_(table.weight, std=0.0 if architecture.is_logistic_regression else 0.05)
            self.head = self._head(architecture)

    @staticmethod
    def _head(architecture: Architecture) -> nn.Sequential:
        if architecture.is_logistic_regression:
            return (
                nn.Sequential(nn.Linear(architecture.dense_width, 1))
                if architecture.dense_width
                else (nn.Sequential(_Bias()))
            )
        width = architecture.dense_width + sum(t.dimensions for t in architecture.tables)
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise((width, *architecture.hidden_sizes)):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
            if architecture.dropout:
                layers.append(nn.Dropout(architecture.dropout))
        return nn.Sequential(*layers, nn.Linear(architecture.hidden_sizes[-1], 1))

    def forward(self, dense: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        embedded = [table(ids[:, i]) for i, table in zip(self._id_indices, self.tables, strict=True)]
        if self.architecture.is_logistic_regression:
            # One weight an id, added to the logit as it is: a factor in front would make two names for one model.
            logits: torch.Tensor = sum(embedded, self.head(dense))
        else:
            logits = self.head(torch.cat([dense, *embedded], dim=1))
        return logits[:, 0]


class _Bias(nn.Module):
    """The intercept of a logistic regression that has ids only."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, dense: torch.Tensor) -> torch.Tensor:
        return self.bias.expand(dense.shape[0], 1)


def save_weights(model: EmbeddingMlp) -> bytes:
    """The weights as safetensors bytes, on the CPU; the same weights give the same bytes."""
    state = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    data: bytes = safetensors.torch.save(state)
    return data


def load_weights(architecture: Architecture, data: bytes) -> EmbeddingMlp:
    """A network in evaluation mode. Errors: CorruptArtifact if the bytes are not this architecture's weights."""
    model = EmbeddingMlp(architecture)
    try:
        state = safetensors.torch.load(data)
        model.load_state_dict(state, strict=True)
    except (safetensors.SafetensorError, RuntimeError) as error:
        raise errors.CorruptArtifact(
            f"weights do not fit the architecture: {error}; write the bundle again from the run that trained it",
            artifact="weights.safetensors",
            expected="tensors " + ", ".join(f"{k} {tuple(v.shape)}" for k, v in model.state_dict().items()),
            got=str(error),
        ) from error
    if not all(bool(torch.isfinite(p).all()) for p in model.parameters()):
        raise errors.CorruptArtifact(
            "a weight is NaN or infinite; train again with a lower learning rate",
            artifact="weights.safetensors",
            expected="finite weights",
            got="NaN or infinity",
        )
    return model.eval()
