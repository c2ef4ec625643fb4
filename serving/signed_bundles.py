"""Loads bundles from the signed store: verify, compile the plan, find the project's code, build the runtime."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from numpy.typing import NDArray

from mainspring.core import errors, ports, projects
from mainspring.core.contracts import inputs
from mainspring.core.features import plan, program, schema
from mainspring.core.models import bundle, explain, explainers, memory, packed, samples, sanitise, signing
from mainspring.core.models import runtimes as known
from mainspring.serving import explaining
from mainspring.serving.runtimes import measured, routed

#: A vocabulary is in memory as the plan's strings, as the native program's and as its index.
_PLAN_COPIES: Final = 3

Columns: TypeAlias = Mapping[str, NDArray[Any]]
Derivation: TypeAlias = Callable[[Columns], Columns]


def derivation_of(project: str) -> Derivation:
    """The request-time features of an installed project. Errors: NotFound with close names."""
    return projects.load_project(project).derive


@dataclass(frozen=True)
class SignedBundle:
    """A verified bundle, ready to answer. Immutable, thread-safe. It is a `serving.bundles.LoadedBundle`."""

    digest: str
    name: str
    project: str
    plan_digest: str
    feature_service: schema.FeatureService
    input_columns: Mapping[str, ports.FieldType]
    request_columns: tuple[schema.Column, ...]
    runtime: ports.ModelRuntime
    program: program.Program
    derivation: Derivation
    input_policy: inputs.InputPolicy
    memory_bytes: int
    explainer: explaining.Lazy

    def derive(self, columns: Columns) -> Columns:
        """The project's request-time features: the function that made the training set."""
        return self.derivation(columns)

    def prepare(self, columns: Columns) -> ports.ModelInput:
        """Run the program the model was trained on."""
        return self.program.run(columns)

    def explain(self, batch: ports.ModelInput) -> explain.ByInput:
        """By the method of the bundle's kind, which is made when somebody first asks."""
        return explain.explained(self.explainer.get(), self.program, batch)


class SignedBundleLoader:
    """Opens bundles of one store. Trusted keys are read at each load, so a key published later counts."""

    def __init__(
        self,
        store: bundle.BundleStore,
        trusted_keys_dir: Path,
        factories: Mapping[str, known.RuntimeFactory],
        derivations: Callable[[str], Derivation] = derivation_of,
        measurer: measured.Measurer | None = None,
    ) -> None:
        """`factories`: bundle kind to what builds its runtime; `derivations`: project name to its derived features;
        `measurer`: looks for faster ways to run a bundle's model than its factory's; None: nobody does.
        """
        self._store = store
        self._trusted_keys_dir = trusted_keys_dir
        self._runtimes = dict(factories)
        self._derivations = derivations
        self._measurer = measurer
        self._sizes: dict[str, int] = {}

    def load(self, digest: str) -> SignedBundle:
        """The bundle, after its model has answered the samples that the bundle brings, as it did when it was made.

        Errors: NotFound, CorruptArtifact, PolicyDenied for a signer that is not trusted, MissingTool for a kind
        that this process has no runtime for, and NotFound if the bundle's project is not installed.
        """
        opened = self._store.open(digest, signing.TrustedKeys.load(self._trusted_keys_dir))
        manifest = opened.manifest
        compiled = plan.FittedPlan.from_bytes(opened.plan).compile()
        declared = {c.name: c.dtype for c in manifest.input_columns}
        wanted = {c.name: c.dtype for c in compiled.inputs}
        if declared != wanted:
            raise errors.CorruptArtifact(
                f"manifest of bundle `{digest}` and its plan name different input columns:"
                f" {sorted(declared.items() ^ wanted.items())}; build the bundle anew",
                artifact=digest,
                expected=str(sorted(wanted)),
                got=str(sorted(declared)),
            )
        known.preload(manifest.kind)
        before = memory.allocated_bytes()
        runtime = self._factory(manifest.kind)(opened, compiled)
        asked = _warm_up(opened, compiled, runtime)
        if asked is not None and self._measurer is not None:
            runtime = self._measurer.routed(opened, compiled, runtime, *asked)
        # What is shared counts in full: a process that is alone with a bundle has all of it.
        shared = packed.size_of(routed.reference(runtime)).shared
        grown = memory.allocated_bytes() - before + shared
        if shared:
            memory.give_back()  # of two networks of 8 and 12 MB it was 25 MB, measured
        return SignedBundle(
            digest=opened.digest,
            name=manifest.name,
            project=manifest.project,
            plan_digest=manifest.plan_digest,
            feature_service=manifest.service,
            input_columns=wanted,
            request_columns=manifest.request_columns,
            runtime=runtime,
            program=compiled,
            derivation=self._derivations(manifest.project),
            input_policy=sanitise.policy_of(opened),
            memory_bytes=self._size(
                digest, max(grown, manifest.learned_bytes) + _PLAN_COPIES * len(opened.plan)
            ),
            explainer=explaining.Lazy(functools.partial(self._explainer, digest, compiled), digest),
        )

    def _explainer(self, digest: str, compiled: program.Program) -> explain.Explainer:
        """From the store, verified again: nothing of it was kept."""
        opened = self._store.open(digest, signing.TrustedKeys.load(self._trusted_keys_dir))
        return explainers.of_bundle(opened, compiled)

    def _size(self, digest: str, measured: int) -> int:
        """The smallest of all loads: what other threads take meanwhile is in a measurement, too.

        What they let go of is as well, so none is below the size of the weights.
        """
        self._sizes[digest] = min(measured, self._sizes.get(digest, measured))
        return self._sizes[digest]

    def _factory(self, kind: str) -> known.RuntimeFactory:
        if kind not in self._runtimes:
            raise errors.MissingTool(
                f"no runtime here executes bundles of kind `{kind}`; this process has"
                f" {', '.join(f'`{k}`' for k in sorted(self._runtimes)) or 'none'}",
                tool=kind,
                fix="pip install 'mainspring[serving]'",
            )
        return self._runtimes[kind]


def _warm_up(
    opened: bundle.Bundle, compiled: program.Program, runtime: ports.ModelRuntime
) -> tuple[ports.ModelInput, samples.Samples] | None:
    """Ask the recorded rows, if there are some: all at once, then one alone; returns them. Errors: CorruptArtifact."""
    if samples.FILE not in opened.manifest.files:
        return None
    recorded = samples.parse(opened.read(samples.FILE), opened.digest)
    try:
        columns = recorded.arrays(compiled.inputs)
        asked = compiled.run(columns)
        scores = runtime.predict(asked)
        runtime.predict(compiled.run({name: column[:1] for name, column in columns.items()}))
    except (errors.SchemaMismatch, errors.InvariantViolated) as error:
        raise errors.CorruptArtifact(
            f"bundle `{opened.digest}` does not answer its own samples: {error.message}; build the bundle anew",
            artifact=opened.digest,
            expected="an answer for each sample",
            got=error.code,
        ) from error
    samples.check(scores, recorded, opened.digest)
    return asked, recorded
