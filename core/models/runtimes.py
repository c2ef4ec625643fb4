"""Which runtime executes a bundle: by its kind, and as the settings say. The same one serves and scores in batches."""

from __future__ import annotations

import contextlib
import importlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from mainspring.core import errors, ports
from mainspring.core.features import program
from mainspring.core.models import (
    architecture,
    bundle,
    ensemble,
    model_input,
    native_runtime,
    packed,
    trees_runtime,
)
from mainspring.core.models import source as sources

_LOG: Final = logging.getLogger("mainspring.models")

#: Builds the runtime of one bundle kind from its verified files and its compiled plan.
RuntimeFactory: TypeAlias = Callable[[bundle.Bundle, program.Program], ports.ModelRuntime]


@dataclass(frozen=True)
class Options:
    """How models run."""

    network: Literal["auto", "native", "torch"] = "auto"
    """What runs the networks of `embedding_mlp` bundles; auto: native, torch for those that it does not take."""
    torch_threads: int = 1
    onnx_threads: int = 1
    exchange: packed.Exchange | None = None
    """Where packed weights of native networks and trees are had with other processes of the host; None: each has its own."""


def factories(options: Options) -> Mapping[str, RuntimeFactory]:
    """A factory for every kind of bundle. torch and onnxruntime are imported with the first bundle that needs them.

    Errors of the factories: CorruptArtifact for files that are not what `model.json` says, or a model that does not take
    what its plan gives; MissingTool for a runtime that is not installed, or a model that nothing here executes.
    """
    of_models = model_factories(options)

    def of_steps(opened: bundle.Bundle, compiled: program.Program) -> ports.ModelRuntime:
        return ensemble.EnsembleRuntime.load(opened, compiled, of_models)

    return {**of_models, "ensemble": of_steps}


def model_factories(options: Options) -> Mapping[str, sources.ModelFactory]:
    """As :func:`factories`, of a single model: what is in no bundle yet, too."""

    def embedding_mlp(opened: sources.ModelSource, compiled: sources.PlanOutput) -> ports.ModelRuntime:
        spec = architecture.of_bundle(opened)
        known = {t.column: t.rows for t in spec.tables}
        ids = {name: known.get(name, 0) for name in spec.id_columns}
        model_input.check_plan(compiled, opened.digest, dense_width=spec.dense_width, ids=ids)
        if options.network != "torch":
            try:
                return native_runtime.NativeRuntime.load(opened, exchange=options.exchange)
            except errors.MissingTool as error:
                if options.network == "native":
                    raise
                _LOG.warning("bundle `%s` runs on torch: %s", opened.digest, error.message)
        try:
            from mainspring.core.models import torch_runtime
        except ImportError as error:
            raise _not_installed("torch", "serving", error) from error
        return torch_runtime.TorchRuntime.load(opened, threads=options.torch_threads)

    def trees(opened: sources.ModelSource, compiled: sources.PlanOutput) -> ports.ModelRuntime:
        return trees_runtime.TreesRuntime.load(opened, compiled, exchange=options.exchange)

    def onnx(opened: sources.ModelSource, compiled: sources.PlanOutput) -> ports.ModelRuntime:
        try:
            from mainspring.core.models import onnx_runtime
        except ImportError as error:
            raise _not_installed("onnxruntime", "onnx", error) from error
        return onnx_runtime.OnnxRuntime.load(opened, compiled, threads=options.onnx_threads)

    def torch_export(opened: sources.ModelSource, compiled: sources.PlanOutput) -> ports.ModelRuntime:
        try:
            from mainspring.core.models import exported
        except ImportError as error:
            raise _not_installed("torch", "serving", error) from error
        return exported.ExportedRuntime.load(opened, compiled, threads=options.torch_threads)

    return {
        "embedding_mlp": embedding_mlp,
        "trees": trees,
        "onnx": onnx,
        "torch_export": torch_export,
    }


def preload(kind: str) -> None:
    """Import what bundles of this kind need, so that its memory is not taken for the first one's; if it is there."""
    module = {"onnx": "onnx_runtime", "torch_export": "exported"}.get(kind)
    if module is not None:
        with contextlib.suppress(ImportError):
            importlib.import_module(f"mainspring.core.models.{module}")


def _not_installed(package: str, extra: str, error: ImportError) -> errors.MissingTool:
    fix = f"pip install 'mainspring[{extra}]'"
    return errors.MissingTool(
        f"this bundle's model needs {package}, which cannot be imported ({error}); run `{fix}`",
        tool=package,
        fix=fix,
    )
