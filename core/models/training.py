"""The training loop, free of any cluster: the Ray job calls it on each worker, tests call it alone.

The same seed, data, worker count and torch build give the same weights. Randomness comes from the seed, the epoch's number
and the step at which progress was last handed over, so a resumed run continues as the first one would have.
"""

from __future__ import annotations

import dataclasses
import io
import math
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mainspring.core import errors, ports, projects
from mainspring.core.models import evaluation, network

_SCORING_ROWS = 65_536


@dataclass(frozen=True)
class Examples:
    """dense (n, d) float32, ids (n, k) int32, labels (n,) float32 of 0 and 1; all on one device."""

    dense: torch.Tensor
    ids: torch.Tensor
    labels: torch.Tensor

    @classmethod
    def of(cls, batch: ports.ModelInput, labels: NDArray[np.generic], device: str = "cpu") -> Self:
        """Copies the plan's output. Errors: SchemaMismatch unless all have the same number of rows."""
        if not batch.n_rows == batch.ids.shape[0] == len(labels):
            raise errors.SchemaMismatch(
                f"dense has {batch.n_rows} rows, ids {batch.ids.shape[0]}, labels {len(labels)}; pass one of each a row",
                feature="label",
                expected=f"{batch.n_rows} rows",
                got=f"{batch.ids.shape[0]} and {len(labels)}",
            )
        return cls(
            torch.tensor(batch.dense, dtype=torch.float32, device=device),
            torch.tensor(batch.ids, dtype=torch.int32, device=device),
            torch.tensor(np.asarray(labels, dtype=np.float32), device=device),
        )

    def __len__(self) -> int:
        return int(self.labels.shape[0])


@dataclass(frozen=True)
class EpochReport:
    """One finished epoch, counted from 0; `loss` is the mean training log loss, as the workers agreed on it."""

    epoch: int
    loss: float
    valid_auc: float
    is_best: bool


@dataclass(frozen=True)
class Partial:
    """An epoch that has begun: how many rows of its order all workers have visited, and each worker's summed log loss."""

    rows: int
    losses: tuple[float, ...]


@dataclass(frozen=True)
class Progress:
    """A fit at the end of an epoch, or within one: all that it needs to go on. The tensors are live: write before training."""

    epochs: tuple[EpochReport, ...]
    weights: dict[str, torch.Tensor]
    best_weights: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    partial: Partial | None = None
    """Of the epoch after those; None: it has not begun."""

    @property
    def best_epoch(self) -> int:
        """0 before the first has ended."""
        return max((e.epoch for e in self.epochs if e.is_best), default=0)

    def to_bytes(self) -> bytes:
        """torch's own format."""
        file = io.BytesIO()
        torch.save(
            {
                "epochs": [dataclasses.asdict(e) for e in self.epochs],
                "weights": self.weights,
                "best_weights": self.best_weights,
                "optimizer": self.optimizer,
                "partial": None if self.partial is None else dataclasses.asdict(self.partial),
            },
            file,
        )
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Runs no code that the bytes may hold. Errors: CorruptArtifact if they are not from :meth:`to_bytes`."""
        try:
            value = torch.load(io.BytesIO(data), weights_only=True)
            epochs = tuple(EpochReport(**e) for e in value.pop("epochs"))
            begun = value.pop("partial", None)
            if not epochs and begun is None:
                raise ValueError("it has no epoch")
            return cls(epochs=epochs, partial=None if begun is None else Partial(**begun), **value)
        except (
            RuntimeError,
            pickle.UnpicklingError,
            EOFError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
        ) as e:
            raise errors.CorruptArtifact(
                f"checkpoint cannot be read: {e}; delete it, and the training starts from its first epoch",
                artifact="checkpoint",
                expected="a fit's progress",
                got=str(e),
            ) from e


@dataclass(frozen=True)
class FitReport:
    """All epochs that ran; the model holds the weights of `best_epoch`."""

    epochs: tuple[EpochReport, ...]
    best_epoch: int
    stopped_early: bool

    @property
    def best_auc(self) -> float:
        return self.epochs[self.best_epoch].valid_auc


def epoch_order(
    rows: int, *, seed: int, epoch: int, rank: int = 0, world_size: int = 1, done: int = 0
) -> NDArray[np.int64]:
    """The rows this worker visits, in order. Every worker visits equally many: a few repeat if they do not divide.

    `done`: so many of the order were visited by all workers before; another number of workers shares what is left.
    """
    order = np.random.default_rng((seed, epoch)).permutation(rows)
    share = math.ceil((rows - done) / world_size)
    return np.resize(order, done + share * world_size)[done:][rank::world_size]


def train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    examples: Examples,
    *,
    batch_rows: int,
    seed: int,
    epoch: int,
    rank: int = 0,
    world_size: int = 1,
    begun: Partial | None = None,
    every_steps: int | None = None,
    on_steps: Callable[[int, float], None] = lambda rows, loss: None,
) -> float:
    """Visit every row of this worker's share once; returns the mean log loss. `model` may be wrapped (DDP).

    `begun` goes on in the middle, with as many workers or others. `on_steps` is called after every `every_steps` steps that
    are not the last, with the rows that all workers have visited and this worker's summed log loss; from there on dropout is
    drawn anew, so that who goes on from it draws the same.
    Errors: JobFailed if the loss is not finite.
    """
    device = examples.labels.device
    done = 0 if begun is None else begun.rows
    order = torch.from_numpy(
        epoch_order(len(examples), seed=seed, epoch=epoch, rank=rank, world_size=world_size, done=done)
    ).to(device)
    model.train()
    # Summed on the device: reading it every batch would make a GPU wait for Python.
    total = torch.full((), _loss_before(begun, rank, world_size), device=device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(_dropout_seed(seed, epoch, rank, done))
        batches = torch.split(order, batch_rows)
        for step, rows in enumerate(batches, start=1):
            optimizer.zero_grad(set_to_none=True)
            logits = model(examples.dense[rows], examples.ids[rows])
            loss = nn.functional.binary_cross_entropy_with_logits(logits, examples.labels[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.detach() * len(rows)
            if every_steps is not None and step % every_steps == 0 and step < len(batches):
                visited = done + step * batch_rows * world_size
                on_steps(visited, _finite(float(total), epoch))
                torch.manual_seed(_dropout_seed(seed, epoch, rank, visited))
    return _finite(float(total), epoch) / (done / world_size + len(order))


def _dropout_seed(seed: int, epoch: int, rank: int, done: int) -> int:
    """Differs between workers."""
    return (seed * 1_000_003 + epoch) * 1_009 + rank + done * 2_654_435_761


def _loss_before(begun: Partial | None, rank: int, world_size: int) -> float:
    """This worker's; of another number of workers, an equal share of theirs."""
    if begun is None:
        return 0.0
    if len(begun.losses) == world_size:
        return begun.losses[rank]
    return sum(begun.losses) / world_size


def _finite(loss: float, epoch: int) -> float:
    if not math.isfinite(loss):
        raise errors.JobFailed(
            f"training loss became {loss} in epoch {epoch}; lower `learning_rate`, or look for unscaled or infinite"
            " values in the plan's output",
            status="diverged",
        )
    return loss


def make_optimizer(model: nn.Module, spec: projects.ModelSpec) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=spec.learning_rate, weight_decay=spec.weight_decay)


def predict(model: nn.Module, examples: Examples) -> NDArray[np.float32]:
    """Probabilities (n,). The model is left in evaluation mode."""
    model.eval()
    with torch.inference_mode():
        parts = [
            torch.sigmoid(model(dense, ids)).cpu()
            for dense, ids in zip(
                torch.split(examples.dense, _SCORING_ROWS),
                torch.split(examples.ids, _SCORING_ROWS),
                strict=True,
            )
        ]
        scores: NDArray[np.float32] = torch.cat(parts).numpy()
    return scores


def fit(
    model: network.EmbeddingMlp,
    train: Examples,
    valid: Examples,
    spec: projects.ModelSpec,
    *,
    patience_epochs: int = 2,
    resume: Progress | None = None,
    on_epoch: Callable[[Progress], None] = lambda progress: None,
    every_steps: int | None = None,
    on_steps: Callable[[Progress], None] = lambda progress: None,
    gather: Callable[[float], Sequence[float]] = lambda loss: (loss,),
    step_model: nn.Module | None = None,
    agree: Callable[[float, float], tuple[float, float]] = lambda loss, auc: (loss, auc),
    rank: int = 0,
    world_size: int = 1,
) -> FitReport:
    """Train until `spec.epochs`, or until the validation AUC has not risen for `patience_epochs`; keep the best.

    `resume` goes on where `on_epoch` or `on_steps` was called with it, and ends with the weights of a fit that never stopped.
    `on_steps` is called within epochs, every `every_steps` steps; None: never. `gather`: what every worker says there.
    `step_model` is `model` wrapped for distribution. `agree` turns this worker's loss and AUC into everybody's, so
    that all workers stop together. `on_epoch` and `on_steps` may raise to stop.
    Errors: DataInvalid if a split is empty or `valid` has one class; JobFailed if the loss is not finite;
    CorruptArtifact if `resume` belongs to another network.
    """
    if len(train) == 0:
        raise errors.DataInvalid(
            "split `train` has no rows; raise the sample fraction", dataset="train", failed=("rows",)
        )
    stepped = model if step_model is None else step_model
    optimizer = make_optimizer(model, spec)
    reports: list[EpochReport] = []
    best_epoch, best_weights = 0, {}
    begun: Partial | None = None
    if resume is not None:
        _restore(model, optimizer, resume)
        reports, best_epoch, best_weights = list(resume.epochs), resume.best_epoch, resume.best_weights
        begun = resume.partial

    def progress(partial: Partial | None = None) -> Progress:
        return Progress(tuple(reports), model.state_dict(), best_weights, optimizer.state_dict(), partial)

    while len(reports) < spec.epochs and (not reports or reports[-1].epoch - best_epoch < patience_epochs):
        epoch = len(reports)
        loss = train_epoch(
            stepped,
            optimizer,
            train,
            batch_rows=spec.batch_rows,
            seed=spec.seed,
            epoch=epoch,
            rank=rank,
            world_size=world_size,
            begun=begun,
            every_steps=every_steps,
            on_steps=lambda rows, loss: on_steps(progress(Partial(rows, tuple(gather(loss))))),
        )
        begun = None
        loss, auc = agree(loss, evaluation.auc(valid.labels.cpu().numpy(), predict(model, valid)))
        is_best = not reports or auc > reports[best_epoch].valid_auc
        reports.append(EpochReport(epoch, loss, auc, is_best))
        if is_best:
            best_epoch, best_weights = epoch, {k: v.detach().clone() for k, v in model.state_dict().items()}
        on_epoch(progress())
    model.load_state_dict(best_weights)
    return FitReport(tuple(reports), best_epoch, stopped_early=len(reports) < spec.epochs)


def _restore(model: network.EmbeddingMlp, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
    try:
        model.load_state_dict(progress.weights)
        optimizer.load_state_dict(progress.optimizer)
    except (RuntimeError, ValueError, KeyError) as error:
        raise errors.CorruptArtifact(
            f"checkpoint does not fit the network: {error}; give another training another name",
            artifact="checkpoint",
            expected="the weights of this architecture",
            got=str(error),
        ) from error
