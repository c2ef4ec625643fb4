"""Scores of a whole dataset: where it lies, how it is cut into parts, and how a part is scored.

Import the modules (`places`, `parts`, `scorer`, `outputs`): they read and write with PyArrow and Polars.
"""

from __future__ import annotations

__all__: list[str] = []
