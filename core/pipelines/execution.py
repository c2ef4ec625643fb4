"""One step, executed: arguments out of the store, the function called, the answer into the store."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mainspring.core import errors
from mainspring.core.contracts import pipelines
from mainspring.core.pipelines import values
from mainspring.core.pipelines.declarations import Step
from mainspring.core.pipelines.store import PipelineStore

__all__ = ["execute", "load_step"]


def execute(
    store: PipelineStore,
    made: Step[..., Any],
    node: pipelines.Node,
    inputs: Mapping[str, pipelines.Value],
    folder: Path,
) -> pipelines.Value:
    """The answer, kept. `inputs` come from other nodes; files among them appear in `folder`.

    Errors: whatever the step raises; InvalidRequest for an argument or an answer that is not of its type.
    """
    types, answer = made.types
    arguments: dict[str, Any] = {}
    for name, one in node.inputs.items():
        where = f"{node.name}.{name}"
        if name not in types:
            raise errors.InvalidRequest(
                f"step `{made.name}` takes no `{name}` any more; build the pipeline again", field=where
            )
        if one.node:
            arguments[name] = values.take(store, inputs[name], types[name], folder / name, where)
        else:
            arguments[name] = values.literal(one.literal, types[name], where)
    return values.put(store, made.function(**arguments), answer, node.name, is_spread=node.is_spread)


def load_step(folder: Path, function: str) -> Step[..., Any]:
    """The step `module:name` out of the sources in `folder`, which becomes the first place to import from.

    For a process of its own: what it imports stays. Errors: NotFound; whatever the import raises.
    """
    module, _, name = function.partition(":")
    sys.path.insert(0, str(folder))
    found = getattr(importlib.import_module(module), name, None)
    if not isinstance(found, Step):
        raise errors.NotFound(
            f"`{name}` of module `{module}` is no step; decorate it with `@step` and build the pipeline again",
            resource="step",
            name=function,
        )
    return found
