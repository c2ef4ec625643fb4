"""Sends payments at a steady rate, each when it is due: a process of its own, as producers are.

`python -m mainspring.bench.features.paced_producer BROKER PARTITIONS EVENTS_PER_SECOND NOW_US EVENTS CARDS`
"""

from __future__ import annotations

import sys
import time

import confluent_kafka
import numpy as np

from mainspring.bench.features import payments


def main(address: str, partitions: int, rate: int, now_us: int, n: int, cards: int) -> None:
    """Ends when the broker has all of them. A record's time is when it was due, whenever it could be sent.

    Prints the p99 of how long after that it was sent: what a busy machine took from the producer, not from the reader.
    """
    # Batches of 20 ms: with those of 1 ms the broker of tests holds thousands after some seconds, and answers ever
    # more slowly (p99 of freshness 0.2 s after 3 s, 28 s after 15 s; it spent them in the broker).
    made = payments.make(n, cards=cards, now_us=now_us)
    producer = confluent_kafka.Producer({"bootstrap.servers": address, "linger.ms": 20, "log_level": 0})
    late_seconds = np.empty(n)
    began = time.time() + 0.1
    for i, value in enumerate(made.values):
        due = began + i / rate
        while time.time() < due:
            producer.poll(0.001)
        late_seconds[i] = time.time() - due
        producer.produce(
            payments.STREAM.topic, value=value, partition=i % partitions, timestamp=round(due * 1000)
        )
    producer.flush(60)
    print(np.percentile(late_seconds, 99))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
