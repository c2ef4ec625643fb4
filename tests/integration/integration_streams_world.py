"""A process that reads a stream into a store until it is killed; and what is asked of the store afterwards."""

from __future__ import annotations

import json
import random
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from mainspring.core.features import online, windows
from mainspring.core.features.streams import consumer, kafka, sinks, topic
from mainspring.core.features.streams.definition import Field, StreamDefinition, WindowedView

SECOND = 1_000_000
T0 = 1_357_000_200 * SECOND
SHOPS = 40

STREAM = StreamDefinition(
    name="orders",
    topic="orders.v1",
    fields=(
        Field("order", "int64"), Field("at_us", "int64"), Field("shop", "string"), Field("amount", "int64"),
        Field("price", "float64"),
    ),
    event_time="at_us",
    event_id="order",
    hop=timedelta(minutes=1),
    views=(
        WindowedView(
            "shop_2h", ("shop",), timedelta(hours=2),
            (
                windows.Aggregate("orders", "rows"), windows.Aggregate("amount", "sum", "amount"),
                windows.Aggregate("mean_amount", "mean", "amount"), windows.Aggregate("dearest", "max", "price"),
                windows.Aggregate("last_price", "last", "price"),
            ),
        ),
        WindowedView("shop_5m", ("shop",), timedelta(minutes=5), (windows.Aggregate("orders", "rows"),)),
    ),
    allowed_lateness=timedelta(hours=1),
)  # fmt: skip


def events(n: int, seed: int, first: int = 0) -> list[dict[str, Any]]:
    """Orders of an hour, up to ten minutes out of order; ids count up from `first`."""
    choose = random.Random(seed)
    return [
        {
            "order": first + i, "at_us": T0 + (i * 3000 // n + choose.randrange(600)) * SECOND,
            "shop": f"s{choose.randrange(SHOPS)}", "amount": choose.randrange(100), "price": choose.random(),
        }
        for i in range(n)
    ]  # fmt: skip


def partition_of(event: dict[str, Any], partitions: int) -> int:
    """By shop, as a producer's partitioner does: a repeated event comes to its own partition."""
    return int(event["shop"][1:]) % partitions


def rows(store: online.OnlineStore, view: WindowedView) -> dict[str, list[int]]:
    """By shop, the bits of its row, whatever its age."""
    shops = [f"s{i}" for i in range(SHOPS)]
    found: dict[str, list[int]] = {}
    for shop in shops:
        at = store.read(view.name, {"shop": [shop]}, now_us=T0 + 10**15).event_us
        if at[0] > 0:
            row = store.read(view.name, {"shop": [shop]}, now_us=int(at[0]))
            values = np.array([row.values[a.name][0] for a in view.aggregates], np.float32)
            found[shop] = values.view(np.uint32).tolist()
    return found


def load_kernels() -> None:
    """Compile what the first batch needs, or find it in the cache: in a new checkout that takes longer than a life."""
    few = topic.MemoryTopic()
    few.produce([json.dumps(event).encode() for event in events(10, seed=0)])
    with (
        online.OnlineStore() as store,
        consumer.StreamConsumer(STREAM, few, sinks.StoreSink(store), folder=None) as reader,
    ):
        reader.run(until_idle=True)


def main(servers: str, folder: str) -> None:
    """Read for ever, with a snapshot every few batches."""
    load_kernels()
    options = consumer.ConsumerOptions(max_records=500, poll_seconds=0.05, snapshot_seconds=0.05)
    source = kafka.KafkaTopic(STREAM.topic, bootstrap_servers=servers, group="orders")
    with (
        online.OnlineStore(Path(folder) / "online") as store,
        consumer.StreamConsumer(
            STREAM, source, sinks.StoreSink(store), folder=Path(folder) / "state", options=options
        ) as reader,
    ):
        print(f"reading {time.time()}", flush=True)
        reader.run()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
