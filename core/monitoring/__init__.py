"""Watching models in use: `drift` has the words, `evidently_adapter` computes them."""

from __future__ import annotations

__all__: list[str] = []
