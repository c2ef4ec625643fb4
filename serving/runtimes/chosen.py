"""Which runtimes this process has, as the settings say."""

from __future__ import annotations

from collections.abc import Mapping

from mainspring.core import settings
from mainspring.core.models import runtimes as known


def runtimes(serving: settings.ServingSettings) -> Mapping[str, known.RuntimeFactory]:
    """What this process can execute, by bundle kind."""
    return known.factories(
        known.Options(
            network=serving.runtime, torch_threads=serving.torch_threads, onnx_threads=serving.onnx_threads
        )
    )
