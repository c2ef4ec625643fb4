"""Bundles on devices: exported with the native core alone, published by digest, pulled with their signature checked.

`device/` holds the two programs that travel; they know the standard library, NumPy and `mainspring.native`, nothing else.
"""

from __future__ import annotations

__all__: list[str] = []
