"""What the end of access says to its activity, by name."""

from __future__ import annotations

from typing import Final

EXPIRE: Final = "mainspring.access.expire.v1"
