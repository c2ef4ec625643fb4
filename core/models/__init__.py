"""Models: signed bundles, their quality, their network, and the registry that knows them.

Import the modules (`bundle`, `signing`, `architecture`, `native_runtime`, `evaluation`, `network`, `torch_runtime`, ...): those
that need torch or MLflow import it themselves, and nobody else pays for it.
"""

from __future__ import annotations

__all__: list[str] = []
