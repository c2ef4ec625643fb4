"""A NumPy function as a model of tensors: rules, baselines, pre- and post-processing, and the tests' models."""

from __future__ import annotations

from collections.abc import Callable

from mainspring.core import errors
from mainspring.serving.models import tensor_model


class FunctionModel:
    """Calls `function` once per request. As thread-safe as the function."""

    def __init__(
        self,
        name: str,
        signature: tensor_model.Signature,
        function: Callable[[tensor_model.Tensors], tensor_model.Tensors],
        *,
        version: str = "1",
    ) -> None:
        self._name = name
        self._signature = signature
        self._function = function
        self._version = version

    @property
    def name(self) -> str:
        return self._name

    def versions(self) -> tuple[str, ...]:
        return (self._version,)

    def signature(self, version: str) -> tensor_model.Signature:
        if version not in ("", self._version):
            raise unknown_version(self._name, version, self.versions())
        return self._signature

    def is_resident(self, version: str) -> bool:
        return True

    def infer(self, version: str, inputs: tensor_model.Tensors) -> tensor_model.Inferred:
        """Errors: NotFound for another version; InvariantViolated if the function breaks its signature."""
        signature = self.signature(version)
        answer = tensor_model.checked(self._function(inputs), signature, self._name)
        return tensor_model.Inferred(self._version, answer)


def unknown_version(model: str, version: str, known: tuple[str, ...]) -> errors.NotFound:
    """What to say of a version that a model has not."""
    return errors.NotFound(
        f"model `{model}` has no version `{version}`; versions are {', '.join(f'`{v}`' for v in known)}",
        resource="model_version",
        name=version,
    )
