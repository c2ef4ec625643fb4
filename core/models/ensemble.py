"""Several models in one bundle as one model: a graph of steps, each of which takes what the plan gives, scores of earlier
steps, or both.

    {"dense_width": 3, "id_columns": ["carrier"], "output": "blend", "steps": [
        {"name": "trees", "kind": "trees", "model": {...}},
        {"name": "net", "kind": "embedding_mlp", "model": {...}, "scores_of": ["trees"]},
        {"name": "blend", "kind": "mean", "scores_of": ["trees", "net"], "weights": [1, 3]}]}

A step's own files lie in `steps/<name>/`, as those of a bundle of its kind. Steps that take the plan's output as it is
share its arrays; scores are put beside it, once for each step that asks for them, as further dense columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from mainspring.core import errors, ports
from mainspring.core.contracts import base
from mainspring.core.models import bundle, manifest, model_input, model_spec, packed
from mainspring.core.models import source as sources


class Step(BaseModel):
    """One model of the graph, or the mean of scores."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: base.Slug
    kind: Literal["embedding_mlp", "trees", "onnx", "torch_export", "mean"]
    model: dict[str, Any] = {}
    """What the step's `model.json` would say; nothing for a mean."""
    takes_plan: bool = True
    """False: it takes scores alone. A mean always does."""
    scores_of: tuple[str, ...] = ()
    """Steps before it; their scores are its dense columns after the plan's, in this order."""
    weights: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = ()
    """Of a mean, one for each of `scores_of`; empty: all alike."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(self.scores_of)) != len(self.scores_of):
            raise ValueError(f"step `{self.name}` names a step twice: {list(self.scores_of)}")
        if self.kind != "mean":
            if self.weights:
                raise ValueError(f"step `{self.name}` has weights; only a mean has")
            if not self.takes_plan and not self.scores_of:
                raise ValueError(f"step `{self.name}` takes nothing")
        elif self.model or not self.scores_of or len(self.weights) not in (0, len(self.scores_of)):
            raise ValueError(
                f"mean `{self.name}` has no `model`, names the steps it is of, and has a weight for each or none"
            )
        return self


class EnsembleSpec(model_spec.ModelSpec):
    """The content of an ensemble's `model.json`. Steps come after those whose scores they take."""

    steps: tuple[Step, ...] = Field(min_length=1, max_length=64)
    output: str
    """The step whose score is the answer; every other step leads to it."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        seen: set[str] = set()
        for step in self.steps:
            if unknown := [name for name in step.scores_of if name not in seen]:
                raise ValueError(f"step `{step.name}` takes scores of {unknown}, which do not come before it")
            if step.name in seen:
                raise ValueError(f"two steps are called `{step.name}`")
            seen.add(step.name)
        used = {self.output}
        for step in reversed(self.steps):
            if step.name in used:
                used |= set(step.scores_of)
        if self.output not in seen or (idle := seen - used):
            raise ValueError(
                f"no step is called `{self.output}`"
                if self.output not in seen
                else f"{sorted(idle)} lead to nothing"
            )
        return self

    @property
    def files(self) -> dict[str, str]:
        """By step its file in the bundle; a mean has none."""
        return {
            s.name: f"{manifest.STEPS}{s.name}/{manifest.LEARNED[s.kind]}"
            for s in self.steps
            if s.kind != "mean"
        }


@dataclass(frozen=True)
class _Bound:
    """A step ready to run; `runtime` is None for a mean."""

    step: Step
    runtime: ports.ModelRuntime | None

    def answer(
        self, batch: ports.ModelInput, scores: Mapping[str, NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        step = self.step
        asked = [scores[name] for name in step.scores_of]
        if self.runtime is None:
            return _mean(asked, step.weights or (1.0,) * len(asked))
        if not asked:
            return self.runtime.predict(batch)
        if not step.takes_plan:
            return self.runtime.predict(
                ports.ModelInput(np.stack(asked, axis=1), np.zeros((batch.n_rows, 0), np.int32))
            )
        width = batch.dense.shape[1]
        dense = np.empty((batch.n_rows, width + len(asked)), np.float32)
        dense[:, :width] = batch.dense
        for i, column in enumerate(asked):
            dense[:, width + i] = column
        return self.runtime.predict(ports.ModelInput(dense, batch.ids))


class EnsembleRuntime:
    """A :class:`mainspring.core.ports.ModelRuntime`. Thread-safe, as its steps are.

    A row's score has the same bits in any batch if that holds of every step.
    """

    name: Final = "ensemble"

    def __init__(self, spec: EnsembleSpec, runtimes: Mapping[str, ports.ModelRuntime]) -> None:
        """`runtimes`: by step, for all but means."""
        self._steps: Final[Sequence[_Bound]] = [_Bound(s, runtimes.get(s.name)) for s in spec.steps]
        self._output = spec.output
        self._expected = model_input.ExpectedInput(spec.dense_width, len(spec.id_columns))

    @classmethod
    def load(
        cls,
        source: bundle.Bundle,
        compiled: sources.PlanOutput,
        factories: Mapping[str, sources.ModelFactory],
    ) -> EnsembleRuntime:
        """Build every step of a verified bundle, each checked against what it will be given.

        Errors: CorruptArtifact for a step that is missing or does not hold together; those of its factory.
        """
        spec = model_spec.read(source, EnsembleSpec)
        ids = dict.fromkeys(spec.id_columns, 0)
        model_input.check_plan(compiled, source.digest, dense_width=spec.dense_width, ids=ids)
        files = spec.files
        held = {name for name in source.manifest.files if name.startswith(manifest.STEPS)}
        if held != set(files.values()):
            raise model_spec.unfit(
                source, f"missing or extra files of steps: {sorted(held ^ set(files.values()))}"
            )
        runtimes = {}
        for step in spec.steps:
            if step.kind != "mean":
                part = sources.Part(
                    f"{source.digest}/{step.name}", step.kind, step.model, source.read(files[step.name])
                )
                runtimes[step.name] = factories[step.kind](part, _given(step, compiled))
        return cls(spec, runtimes)

    @property
    def packed_size(self) -> packed.Size:
        """Of all steps."""
        found = (packed.size_of(bound.runtime) for bound in self._steps if bound.runtime is not None)
        return sum(found, packed.Size())

    def predict(self, batch: ports.ModelInput) -> NDArray[np.float32]:
        """Scores (n,) float32 of the output step. Errors: SchemaMismatch for other widths or dtypes; those of the steps."""
        self._expected.check(batch)
        scores: dict[str, NDArray[np.float32]] = {}
        for bound in self._steps:
            scores[bound.step.name] = bound.answer(batch, scores)
        return scores[self._output]


def files_of(learned: Mapping[str, tuple[manifest.Kind, bytes]]) -> dict[str, bytes]:
    """`extra_files` of an ensemble's contents: by step its kind and the bytes of the kind's own file."""
    for name, (kind, _) in learned.items():
        if not manifest.LEARNED.get(kind):
            raise errors.InvalidRequest(f"step `{name}` cannot be of kind `{kind}`", field="kind")
    return {
        f"{manifest.STEPS}{name}/{manifest.LEARNED[kind]}": data for name, (kind, data) in learned.items()
    }


def _given(step: Step, compiled: sources.PlanOutput) -> sources.Given:
    """What a step takes, as a plan would give it."""
    if not step.takes_plan:
        return sources.Given(step.scores_of, (), ())
    return sources.Given(
        (*compiled.dense_names, *step.scores_of), tuple(compiled.id_names), tuple(compiled.id_sizes)
    )


def _mean(scores: Sequence[NDArray[np.float32]], weights: Sequence[float]) -> NDArray[np.float32]:
    total = np.zeros(len(scores[0]))
    for score, weight in zip(scores, weights, strict=True):
        total += score * float(weight)
    return (total / sum(weights)).astype(np.float32)
