"""What a queue of deployments, those in it and its activities say to one another.

Names carry a version: a change that an older history could not replay with gets the next one beside it.
"""

from __future__ import annotations

from typing import Final

from mainspring.core.contracts.base import Message, Slug

#: One for each endpoint, while somebody is to deploy there; workers start it.
QUEUE_WORKFLOW: Final = "mainspring.DeploymentQueue.v1"
JOIN_QUEUE: Final = "mainspring.endpoint.queue.join.v1"
FIND_GONE: Final = "mainspring.endpoint.queue.find_gone.v1"

#: Signals: to the queue with a Ticket, and from it with a `deployment.QueuePlace`.
JOIN, LEAVE, PLACE = "join", "leave", "place"


def queue_id(endpoint: str) -> str:
    """The workflow that has the endpoint's queue."""
    return f"deployments-{endpoint}"


class Ticket(Message):
    """One execution of a deployment, in the queue of its endpoint."""

    workflow_id: str
    execution: str
    """Temporal's own run id: of a deployment that was started again it is another one."""
    run_id: str
    """As people know it: of a training's own deployment the training."""


class Line(Message):
    """What a queue begins with: those in it, the one under way first."""

    tickets: list[Ticket] = []


class JoinQueue(Message):
    """Take a place in the queue of `endpoint`; whoever is in it already keeps the one it has."""

    endpoint: Slug
    ticket: Ticket


class Gone(Message):
    """Those that do not run any more."""

    tickets: list[Ticket] = []
