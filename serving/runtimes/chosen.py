"""Which runtimes this process has, as the settings say, and how they are measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from mainspring.core import settings
from mainspring.core.models import packed
from mainspring.core.models import runtimes as known
from mainspring.serving.runtimes import measured


def runtimes(
    serving: settings.ServingSettings, exchange: packed.Exchange | None = None
) -> Mapping[str, known.RuntimeFactory]:
    """What this process can execute, by bundle kind; with an `exchange`, over weights that other processes have, too."""
    return known.factories(dataclasses.replace(_options(serving), exchange=exchange))


def measurer(serving: settings.ServingSettings) -> measured.Measurer:
    """One for the process: what it has at work is in every choice."""
    return measured.Measurer(
        _options(serving), seconds=serving.warm_up_seconds, max_rows=serving.max_rows_per_request
    )


def _options(serving: settings.ServingSettings) -> known.Options:
    return known.Options(
        network=serving.runtime, torch_threads=serving.torch_threads, onnx_threads=serving.onnx_threads
    )
