"""What a materialisation says to its activity, by name."""

from __future__ import annotations

from typing import Final

PUSH: Final = "mainspring.materialising.push.v1"
