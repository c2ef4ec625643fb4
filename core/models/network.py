"""The network: embedding tables beside the dense block, then fully connected layers, then one logit.

Without hidden layers it is logistic regression over the dense columns and the one-hot ids, which is the baseline
every candidate has to beat: same inputs, same training loop, same runtime.
"""

from __future__ import annotations

import itertools

import safetensors
import safetensors.torch
import torch
from torch import nn

from mainspring.core import errors
from mainspring.core.models.architecture import Architecture, Table

__all__ = ["Architecture", "EmbeddingMlp", "Table", "load_weights", "save_weights"]


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
