"""Request-time features of a project that has none, said so that serving knows it without running Python.

A project whose plan reads only what callers send and what is looked up says `derive = staticmethod(derivation.nothing)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

__all__ = ["nothing"]


def nothing(columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """No derived columns, whatever the columns are."""
    return {}
