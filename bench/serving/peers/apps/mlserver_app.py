"""MLServer: the network as a model with tensors in and out, by its own codecs."""

from __future__ import annotations

from typing import Any

import network
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Mlp(MLModel):
    forward: Any = staticmethod(network.forward)

    async def load(self) -> bool:
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        x = NumpyCodec.decode_input(payload.inputs[0])
        output = NumpyCodec.encode_output("y", self.forward(x))
        return InferenceResponse(model_name=self.name, id=payload.id, outputs=[output])


class Slow(Mlp):
    forward = staticmethod(network.slow)
