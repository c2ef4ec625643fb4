"""What time it is, for an activity that does something by the clock: this machine's clock, where the engine's says the same."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from temporalio import activity

from mainspring.core import errors
from mainspring.core.contracts import base

__all__ = ["MOST_APART", "agreed_now"]

#: Clocks that are kept by NTP differ by less than a second; an attempt begins seconds after the engine has handed it out.
MOST_APART: Final = timedelta(minutes=5)


def agreed_now() -> datetime:
    """To be asked at the beginning of an attempt. A clock that is years ahead would make everything old, and have it removed.

    Errors: DependencyDown where the two clocks are too far apart.
    """
    now, engines = base.utc_now(), activity.info().started_time
    if abs(now - engines) > MOST_APART:
        raise errors.DependencyDown(
            f"this worker's clock says {now:%Y-%m-%dT%H:%M:%SZ} and the workflow engine's {engines:%Y-%m-%dT%H:%M:%SZ};"
            f" they may be {MOST_APART.total_seconds() / 60:g} minutes apart: set both by NTP, nothing was done by this clock",
            name="clock",
        )
    return now
