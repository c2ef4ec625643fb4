"""What the skew check says to its activity, by name."""

from __future__ import annotations

from typing import Final

CHECK: Final = "mainspring.skew.check.v1"
