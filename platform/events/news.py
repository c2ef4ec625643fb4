"""Wakes who watches when something went on record in this process; what other processes record is looked for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Final

from mainspring.core import errors

#: Each holds a connection of a caller, and asks for a page now and then.
MAX_WATCHERS: Final = 256


class News:
    """One event loop; `close` may be called from any thread, or by a signal."""

    def __init__(self) -> None:
        self._watchers: set[asyncio.Event] = set()
        self.is_closing = False
        """Watchers end by themselves within a look: a server waits for its connections before it stops."""

    def tell(self) -> None:
        for one in self._watchers:
            one.set()

    def close(self) -> None:
        self.is_closing = True

    def require_room(self) -> None:
        """Errors: Overloaded where as many watch as this process bears."""
        if len(self._watchers) >= MAX_WATCHERS:
            raise errors.Overloaded(
                f"{MAX_WATCHERS} are watching already; look at the resource itself, or come back in 10 s",
                retry_after_seconds=10.0,
            )

    @contextlib.contextmanager
    def watching(self) -> Iterator[asyncio.Event]:
        """Set whenever something went on record since it was cleared."""
        mine = asyncio.Event()
        self._watchers.add(mine)
        try:
            yield mine
        finally:
            self._watchers.discard(mine)
