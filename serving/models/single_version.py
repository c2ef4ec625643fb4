"""What models of one version have in common: everything but how they run."""

from __future__ import annotations

from mainspring.core import errors
from mainspring.serving.models import tensor_model

__all__ = ["SingleVersion", "unknown_version"]


class SingleVersion:
    """A name, a version and a signature; always resident."""

    def __init__(self, name: str, version: str, signature: tensor_model.Signature) -> None:
        self._name = name
        self._version = version
        self._signature = signature

    @property
    def name(self) -> str:
        return self._name

    def versions(self) -> tuple[str, ...]:
        return (self._version,)

    def signature(self, version: str) -> tensor_model.Signature:
        """Errors: NotFound for another version."""
        if version not in ("", self._version):
            raise unknown_version(self._name, version, self.versions())
        return self._signature

    def is_resident(self, version: str) -> bool:
        return True


def unknown_version(model: str, version: str, known: tuple[str, ...]) -> errors.NotFound:
    """What to say of a version that a model has not."""
    return errors.NotFound(
        f"model `{model}` has no version `{version}`; versions are {', '.join(f'`{v}`' for v in known)}",
        resource="model_version",
        name=version,
    )
