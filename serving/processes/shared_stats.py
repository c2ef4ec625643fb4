"""What followers counted, where the writer adds it up: a file for each process, replaced whole several times a second.

Statistics of a traffic version are what deployments judge by, so they must be those of all processes. A process that was
killed leaves its file, and with it all but its last quarter of a second.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from mainspring.serving import stats

_LOG: Final = logging.getLogger("mainspring.serving")

#: How old a follower's counts may be when they are read.
EVERY_SECONDS: Final = 0.25


class Teller:
    """A follower's: writes what its book has, if that has changed."""

    def __init__(self, book: stats.StatsBook, folder: Path) -> None:
        self._book = book
        self._path = folder / f"stats-{os.getpid()}.json"
        self._told = b""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stats", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Tell the last ones."""
        self._stop.set()
        self._thread.join()
        self.tell()

    def tell(self) -> None:
        """Replace the file if there is news."""
        text = json.dumps(self._book.exported()).encode()
        if text == self._told:
            return
        new = self._path.with_suffix(".new")
        try:
            # Not synced: it need not outlive the host, and a rename is whole for whoever reads it.
            new.write_bytes(text)
            new.replace(self._path)
        except OSError as error:
            _LOG.error("statistics of this process cannot be told: %s", error)
            return
        self._told = text

    def _run(self) -> None:
        while not self._stop.wait(EVERY_SECONDS):
            self.tell()


def told(folder: Path) -> Iterator[Any]:
    """What each follower told last, those that are gone included."""
    for path in sorted(folder.glob("stats-*.json")):
        try:
            yield json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            _LOG.error("`%s` of a process's statistics cannot be read: %s", path.name, error)
