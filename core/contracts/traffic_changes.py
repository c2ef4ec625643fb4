"""What an endpoint served, and since when: one change of its traffic after the other."""

from __future__ import annotations

from mainspring.core.contracts.base import Message, UtcTime

__all__ = ["TrafficChange"]


class TrafficChange(Message):
    """One change, as the run that made it put it on record. Digests are of bundles; empty: none, or as they were before a change
    that goes back (`endpoint.rollback`, `endpoint.restore`)."""

    sequence: int
    """Of the audit log's row, which has all of it."""
    at: UtcTime
    action: str
    """`endpoint.traffic.set`, `endpoint.rollback`, `endpoint.restore`, `endpoint.release`."""
    run_id: str
    by: str
    """Who asked for the run."""
    approved_by: list[str] = []
    version: int = 0
    """Of the traffic table."""
    stable: str = ""
    canary: str = ""
    canary_percent: int = 0
    shadow: str = ""
    reason: str = ""
