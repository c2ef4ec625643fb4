"""What is installed where steps run: the environment's lock, which is a part of what a step's answer was made from."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
from collections.abc import Mapping

__all__ = ["difference", "lock"]


@functools.cache
def lock() -> Mapping[str, str]:
    """Python and every installed distribution by its version; read once in a process."""
    found = {d.metadata["Name"].lower(): d.version for d in importlib.metadata.distributions()}
    return {"python": platform.python_version(), **dict(sorted(found.items()))}


def difference(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What is otherwise, for people: `polars 2.1.0 -> 2.1.1`."""
    names = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    return [f"{name} {before.get(name, 'absent')} -> {now.get(name, 'absent')}" for name in names]
