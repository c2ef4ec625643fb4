"""A NumPy function as a model of tensors: rules, baselines, pre- and post-processing, and the tests' models."""

from __future__ import annotations

from collections.abc import Callable

from mainspring.serving.models import single_version, tensor_model


class FunctionModel(single_version.SingleVersion):
    """Calls `function` once per request. As thread-safe as the function."""

    def __init__(
        self,
        name: str,
        signature: tensor_model.Signature,
        function: Callable[[tensor_model.Tensors], tensor_model.Tensors],
        *,
        version: str = "1",
    ) -> None:
        super().__init__(name, version, signature)
        self._function = function

    def infer(self, version: str, inputs: tensor_model.Tensors) -> tensor_model.Inferred:
        """Errors: NotFound for another version; InvariantViolated if the function breaks its signature."""
        signature = self.signature(version)
        answer = tensor_model.checked(self._function(inputs), signature, self._name)
        return tensor_model.Inferred(self._version, answer)
