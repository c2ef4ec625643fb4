"""A process of its own that takes from limits as it is told to. It imports little: many are started."""

from __future__ import annotations

import time
from multiprocessing import connection

from mainspring.native import limits


def serve(path: str, pipe: connection.Connection) -> None:
    """Take the steps that come, each with its answer, until there are no more."""
    accounts = limits.Limits(path)
    while (step := pipe.recv()) is not None:
        what, *given = step
        if what == "reopen":
            accounts = limits.Limits(*given)
            pipe.send(None)
        elif what == "press":
            pipe.send(_pressed(accounts, *given))
        else:
            pipe.send(getattr(accounts, what)(*given))


def _pressed(accounts: limits.Limits, caller: str, seconds: float) -> int:
    """How many requests were taken in so long, of real time, each with a row."""
    taken, end = 0, time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        if accounts.admit(caller, "x", now, 0.0) is None:
            accounts.charge(caller, "x", 1, now, 0.0)
            taken += 1
    return taken
