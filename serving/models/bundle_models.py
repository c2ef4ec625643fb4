"""Models of signed bundles without their plan, as tensors: for callers that have the model's input already.

`serving.tensor_models` names them: `ranker=sha256:...,scorer=sha256:...`. They are served over v2 only, beside the
endpoints, and no traffic table governs them. Where the input is one matrix and the runtime is native, the native front
answers for them without Python.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from mainspring.core import errors, ids, ports
from mainspring.core.models import native_runtime, trees_runtime
from mainspring.serving import signed_bundles
from mainspring.serving.models import native_model, repository, single_version, tensor_model
from mainspring.serving.runtimes import routed

PLATFORM: Final = "mainspring_bundle_model"
DENSE: Final = "dense"
IDS: Final = "ids"
SCORE: Final = "score"

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")

Load = Callable[[str], signed_bundles.SignedBundle]


class BundleModel(single_version.SingleVersion):
    """One bundle's model, whichever runtime executes it. Thread-safe."""

    def __init__(self, name: str, bundle: signed_bundles.SignedBundle, *, max_rows: int) -> None:
        """Inputs: `dense` FP32 [rows, columns] and `ids` INT32 [rows, id columns], each if the plan gives it; output
        `score` FP32 [rows, 1].
        """
        program = bundle.program
        named = ((DENSE, "FP32", len(program.dense_names)), (IDS, "INT32", len(program.id_names)))
        signature = tensor_model.Signature(
            tuple(tensor_model.TensorSpec(n, datatype, (-1, width)) for n, datatype, width in named if width),
            (tensor_model.TensorSpec(SCORE, "FP32", (-1, 1)),),
            PLATFORM,
            max_batch_size=max_rows,
        )
        super().__init__(name, bundle.digest, signature)
        self._runtime = bundle.runtime

    def infer(self, version: str, inputs: tensor_model.Tensors) -> tensor_model.Inferred:
        """Errors: NotFound for another version; InvalidRequest for ids or numbers that the model has no answer to."""
        rows = self.signature(version).rows(inputs)
        dense = inputs.get(DENSE, np.empty((rows, 0), np.float32))
        known = inputs.get(IDS, np.empty((rows, 0), np.int32))
        batch = ports.ModelInput(np.ascontiguousarray(dense), np.ascontiguousarray(known))
        try:
            scores = self._runtime.predict(batch)
        except errors.InvariantViolated as error:
            # Behind an endpoint only the plan could be wrong; here it is what the caller sent.
            raise errors.InvalidRequest(
                f"model `{self._name}` cannot answer these rows: {error.message}", field="inputs"
            ) from error
        return tensor_model.Inferred(self._version, {SCORE: scores.reshape(-1, 1)})


def factories(written: str, load: Load, *, max_rows: int) -> Mapping[str, repository.ModelFactory]:
    """Of the setting `serving.tensor_models`. Each call of a factory loads and verifies the bundle anew.

    Errors: InvalidSettings naming every entry that is malformed or named twice.
    """
    found: dict[str, repository.ModelFactory] = {}
    problems = []
    for entry in filter(None, (part.strip() for part in written.split(","))):
        name, _, digest = (part.strip() for part in entry.partition("="))
        if not _is_slug(name) or not _DIGEST.fullmatch(digest) or name in found:
            problems.append(f"`{entry}`")
        else:
            found[name] = functools.partial(_build, name, digest, load, max_rows)
    if problems:
        raise errors.InvalidSettings(
            f"`serving.tensor_models` has {', '.join(problems)}; write `name=sha256:<64 hex digits>`, each name once,"
            " with commas between",
            problems=tuple(problems),
        )
    return found


def _is_slug(name: str) -> bool:
    try:
        return ids.check_slug(name, "model") == name
    except errors.InvalidRequest:
        return False


def _build(name: str, digest: str, load: Load, max_rows: int) -> tensor_model.TensorModel:
    try:
        bundle = load(digest)
    except (errors.Rejected, errors.Denied) as error:
        raise errors.Misconfigured(
            f"tensor model `{name}` needs bundle `{digest}`, which does not load: {error.message}; put the bundle back"
            " or take it out of `serving.tensor_models`"
        ) from error
    runtime = routed.reference(bundle.runtime)
    if (
        isinstance(runtime, native_runtime.NativeRuntime | trees_runtime.TreesRuntime)
        and not bundle.program.id_names
        and runtime.model.n_outputs == 1
    ):
        return native_model.NativeModel(
            name, runtime.model, input=DENSE, output=SCORE, version=digest, max_rows=max_rows
        )
    return BundleModel(name, bundle, max_rows=max_rows)
