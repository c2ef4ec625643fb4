"""A day of events as they came: read as a stream, pushed to serving, and held against the batch.

From memory, so that the demo needs no broker; `mainspring stream run` reads the same streams from Kafka.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from mainspring.core.client import serving as serving_client
from mainspring.core.contracts import features
from mainspring.core.features import frames, windows
from mainspring.core.features.streams import consumer, sinks, topic
from mainspring.core.features.streams.definition import StreamDefinition, WindowedView, microseconds

_DAY_US: Final = 86_400_000_000
#: How much of the day comes at once.
_STEP_US: Final = 600_000_000
#: Entities of one question to serving.
_ASKED_ROWS: Final = 1000
_EAGER: Final = consumer.ConsumerOptions(poll_seconds=0.001)


@dataclass(frozen=True)
class Streamed:
    """What came of it: `compared` feature values that serving answered, `different` those that are not the batch's bits."""

    events: int
    rows: int
    compared: int
    different: int
    seconds: float


def last_day(
    streams: Mapping[str, StreamDefinition],
    events: Mapping[str, pl.DataFrame],
    client: serving_client.ServingClient,
) -> Streamed:
    """The last 24 hours of each stream in steps of ten minutes, after the history that its windows reach back to.

    `events` are a frame a stream, a column a field, in order of time. Counted is the day; history is pushed as well.
    Errors: those of serving; NotFound if no loaded bundle reads one of the views.
    """
    began = time.monotonic()
    total = np.zeros(4, np.int64)
    for name, stream in streams.items():
        if events[name].height:
            total += _one(stream, events[name], client)
    events_, rows, compared, different = map(int, total)
    return Streamed(events_, rows, compared, different, time.monotonic() - began)


def _one(stream: StreamDefinition, facts: pl.DataFrame, client: serving_client.ServingClient) -> list[int]:
    at = pl.col(stream.event_time)
    day = facts[stream.event_time][-1] - _DAY_US
    longest = max(microseconds(view.window) for view in stream.views)
    # A key's newest row may be as old as the window, which is how long it is served, and reaches back by another one.
    told = facts.filter(at > day - 2 * longest)
    source = topic.MemoryTopic()
    with consumer.StreamConsumer(
        stream, source, sinks.ServingSink(client), folder=None, options=_EAGER
    ) as reader:
        source.produce(_encoded(told.filter(at <= day)))
        before = reader.run(until_idle=True)
        for _, step in told.filter(at > day).group_by(at // _STEP_US, maintain_order=True):
            source.produce(_encoded(step))
            reader.run(until_idle=True)
        after = reader.status
    answers = [_compared(stream, view, facts, client) for view in stream.views]
    return [
        after.counts.accepted - before.counts.accepted,
        after.rows - before.rows,
        sum(n for n, _ in answers),
        sum(different for _, different in answers),
    ]


def _encoded(facts: pl.DataFrame) -> list[bytes | None]:
    return list(facts.write_ndjson().encode().splitlines())


def _compared(
    stream: StreamDefinition, view: WindowedView, facts: pl.DataFrame, client: serving_client.ServingClient
) -> tuple[int, int]:
    """How many values serving has for every key as of the last event, and how many are not the batch's."""
    known = facts.with_columns(pl.col(stream.event_time).cast(frames.TIME).alias(windows.EVENT))
    rows = windows.trailing(
        known,
        keys=view.keys,
        known_at=windows.EVENT,
        window=view.window,
        hop=stream.hop,
        aggregates=view.aggregates,
    )
    newest = rows.sort(windows.EVENT).unique(view.keys, keep="last", maintain_order=True)
    as_of = known[windows.EVENT][-1]
    is_alive = newest[windows.EVENT] >= as_of - view.window
    names = [a.name for a in view.aggregates]
    newest = newest.with_columns(pl.when(is_alive).then(pl.col(names)))
    different = 0
    for some in newest.iter_slices(_ASKED_ROWS):
        got = client.read_features(
            features.FeatureRead(
                features=[f"{view.name}:{name}" for name in names],
                entities={key: some[key].to_list() for key in view.keys},
                as_of=as_of,
            )
        )
        for name in names:
            different += int(pl.Series(got[name], dtype=pl.Float32).ne_missing(some[name]).sum())
    return newest.height * len(names), different
