"""Native networks and trees as models of tensors: one matrix in, one out. The native front answers for them without Python."""

from __future__ import annotations

import re
from typing import Final

import numpy as np

from mainspring.core import errors
from mainspring.native import front, mlp, trees
from mainspring.serving.models import single_version, tensor_model

PLATFORM: Final = "mainspring_native"

#: What JSON and paths carry as it is. Models with other names are served by the app alone.
_PLAIN: Final = re.compile(r"[ !#-\[\]-~]{1,256}")
_PLAIN_IN_PATHS: Final = re.compile(r"[^ /%?#]+")


class NativeModel(single_version.SingleVersion):
    """One version of a native model. Thread-safe."""

    def __init__(
        self,
        name: str,
        model: mlp.Mlp | trees.Trees,
        *,
        input: str = "x",
        output: str = "y",
        version: str = "1",
        max_rows: int = 4096,
    ) -> None:
        """`input` and `output` name the tensors, [rows, width] and [rows, outputs]; LightGBM's trees are FP64, all else FP32.

        Errors: Misconfigured for a network that takes ids beside its matrix.
        """
        if isinstance(model, mlp.Mlp):
            if model.n_ids or not model.dense_width:
                raise errors.Misconfigured(
                    f"model `{name}` takes ids beside its matrix; serve it as an endpoint, by its bundle"
                )
            width, datatype = model.dense_width, "FP32"
        else:
            width, datatype = model.width, "FP32" if model.dtype == np.float32 else "FP64"
        signature = tensor_model.Signature(
            (tensor_model.TensorSpec(input, datatype, (-1, width)),),
            (tensor_model.TensorSpec(output, datatype, (-1, model.n_outputs)),),
            PLATFORM,
            max_batch_size=max_rows,
        )
        super().__init__(name, version, signature)
        self._model = model

    def infer(self, version: str, inputs: tensor_model.Tensors) -> tensor_model.Inferred:
        """Errors: NotFound for another version."""
        signature = self.signature(version)
        x = np.ascontiguousarray(inputs[signature.inputs[0].name])
        return tensor_model.Inferred(self._version, {signature.outputs[0].name: self._model.run(x)})

    def for_front(self) -> front.Model | None:
        """As the native front serves it; None if its names are not plain enough for that, or its rows are not counted."""
        spec = self._signature
        names = (self._name, self._version, spec.inputs[0].name, spec.outputs[0].name)
        in_paths = all(_PLAIN_IN_PATHS.fullmatch(name) for name in names[:2])
        if not spec.max_batch_size or not in_paths or not all(_PLAIN.fullmatch(name) for name in names):
            return None
        return front.Model(
            self._name, self._version, self._model, names[2], names[3], max_rows=spec.max_batch_size
        )
