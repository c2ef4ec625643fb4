"""The programs of a device: `run.py` scores rows, `sync.py` pulls releases. Copied as they are by `core.edge.export`."""

from __future__ import annotations

__all__: list[str] = []
