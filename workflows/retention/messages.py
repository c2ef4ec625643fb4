"""What the retention says to its activity, by name."""

from __future__ import annotations

from typing import Final

REMOVE: Final = "mainspring.retention.remove.v1"
