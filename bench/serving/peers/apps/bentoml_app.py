"""BentoML, one worker, no batching; its types are pydantic's, as its users write them."""

from __future__ import annotations

from typing import Any

import bentoml
import network


@bentoml.service(workers=1, traffic={"timeout": 60})
class Mlp:
    @bentoml.api(route="/v2/models/mlp/infer")
    def infer(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        return network.infer(inputs[0])
