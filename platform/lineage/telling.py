"""What a change of the control API says of datasets, as OpenLineage events in the change's own transaction."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import ids
from mainspring.core.contracts import base
from mainspring.core.lineage import jobs, reading
from mainspring.platform.lineage import store

__all__ = ["Told", "tell"]

#: Datasets in one event: a catalog has 2,000 entries, and some have a thousand columns.
_AT_ONCE: Final = 100


@dataclass(frozen=True)
class Told:
    """Datasets of `project`: what was looked into, and what is otherwise than before."""

    project: str
    changes: Sequence[jobs.Dataset]
    reads: Sequence[jobs.Dataset] = ()


async def tell(connection: AsyncConnection, action: str, told: Told, by: str) -> list[str]:
    """Keep the events, and say their digests. The job is the action, and the type `OTHER`: a word about data makes none of them,
    so the graph has no edge of it."""
    from mainspring.core.lineage import openlineage_adapter  # only who tells needs their client

    run, digests = jobs.JobRun(told.project, action, ids.new_id("change")), []
    for at in range(0, max(1, len(told.changes)), _AT_ONCE):
        one = dataclasses.replace(run, part=str(at))
        some = told.changes[at : at + _AT_ONCE]
        sent = openlineage_adapter.to_json(one, "OTHER", at=base.utc_now(), reads=told.reads, makes=some)
        value = json.loads(sent)
        event = reading.parse(value)
        await store.insert_event(connection, event, value, by)
        digests.append(event.digest)
    return digests
