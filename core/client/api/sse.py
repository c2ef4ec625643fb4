"""Server-sent events as they are read: lines in, events out, and where to go on. No I/O."""

from __future__ import annotations

import json
import time
from typing import Any, Final

from mainspring.core import errors
from mainspring.core.contracts.events import RECORD, STAGE, EventView, RunStage

#: How often in a row a watch that broke off is begun anew without having heard anything.
RETRIES: Final = 5


class Reader:
    """Of one connection. `last_id` is where the next one goes on."""

    def __init__(self, last_id: str) -> None:
        self.last_id = last_id
        self._id, self._name, self._data = last_id, "", ""

    def take(self, line: str) -> EventView | RunStage | None:
        """What a line completes, if it does. Errors: what the API ended the watch with."""
        if line:
            field, _, value = line.partition(": ")
            if field == "id":
                self._id = value
            elif field == "event":
                self._name = value
            elif field == "data":
                self._data += value
            return None
        # An event counts with its empty line, and so does its id: half of one is told again.
        name, data, self.last_id = self._name, self._data, self._id
        self._name = self._data = ""
        return _told(name, data)


def _told(name: str, data: str) -> EventView | RunStage | None:
    """None for what a later version tells of."""
    if name == "error":
        wire: dict[str, Any] = json.loads(data)
        raise errors.from_wire(wire)
    if name == RECORD:
        return EventView.model_validate_json(data)
    return RunStage.model_validate_json(data) if name == STAGE else None


def require_time(until: float | None) -> None:
    """Errors: DeadlineExceeded when `until`, of the monotonic clock, has come."""
    if until is not None and time.monotonic() >= until:
        raise errors.DeadlineExceeded("what is watched goes on; come back and watch it again", stage="watch")


def wait_before(tries: int) -> float:
    """Seconds: a server that ended a watch of itself is asked again soon, one that is away less and less often."""
    return min(0.2 * 2.0**tries, 5.0)
