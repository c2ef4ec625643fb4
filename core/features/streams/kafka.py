"""A topic of a Kafka broker. The only file that speaks to confluent-kafka.

Partitions are assigned, not subscribed to: where to read on is in the stream's own snapshot, beside the state that
belongs to it, and no group can take a partition away from its tiles. Several processes share a topic by naming
partitions; then each view's keys must decide an event's partition.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent import futures
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mainspring.core import errors
from mainspring.core.features.streams.records import DeadLetter, Records

if TYPE_CHECKING:
    import confluent_kafka

__all__ = ["DEAD_LETTER_SUFFIX", "KafkaTopic"]

#: Appended to a topic's name.
DEAD_LETTER_SUFFIX: Final = ".dead-letters"

_ASK_SECONDS: Final = 5.0
_DELIVERY_SECONDS: Final = 10.0
#: How long a last commit may take once all else is done.
_CLOSE_SECONDS: Final = 2.0
#: How long a batch waits for more once its first record is there.
_LINGER_SECONDS: Final = 0.02
#: How often to look for partitions that were added.
_LOOK_SECONDS: Final = 60.0


class KafkaTopic:
    """One topic of `bootstrap_servers` ("host:port,..."), read from its own offsets; see `Topic`.

    `group`: under which name progress is committed, for tools that watch lag. `partitions`: those to read; None: all,
    those that are added later too. `config`: further settings of librdkafka, such as security. Connects at `seek`.
    Errors: MissingTool without confluent-kafka; InvalidSettings for a setting that librdkafka does not know.
    """

    def __init__(
        self,
        topic: str,
        *,
        bootstrap_servers: str,
        group: str,
        partitions: Iterable[int] | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self._topic = topic
        self._servers = bootstrap_servers
        self._wanted = None if partitions is None else frozenset(partitions)
        self._problem = ""
        self._assigned: set[int] = set()
        self._at_end: set[int] = set()
        self._refused: errors.MainspringError | None = None
        self._look_due = 0.0
        self._producer: confluent_kafka.Producer | None = None
        self._group = group
        self._administrator: Any = None
        self._committing: futures.Future[Any] | None = None
        common: dict[str, Any] = {
            **(config or {}),
            "bootstrap.servers": bootstrap_servers,
            "error_cb": self._note_error,
            "reconnect.backoff.ms": 100,
            "reconnect.backoff.max.ms": 2000,
            # Down is told by `problem`, not by lines on stderr.
            "log_level": 0,
        }
        self._common = common
        kafka = _library()
        own = {
            "group.id": group,
            "enable.auto.commit": False,
            # The end is told: an offset alone does not say it, where transactions leave marks behind the last record.
            "enable.partition.eof": True,
            # Deleted events must not be passed over in silence.
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 20,
            "queued.max.messages.kbytes": 65_536,
        }
        try:
            self._consumer = kafka.Consumer({**common, **own})
        except (kafka.KafkaException, TypeError, ValueError) as error:
            raise errors.InvalidSettings(
                f"librdkafka refuses a setting: {error}; correct the client configuration",
                problems=(str(error),),
            ) from error

    def seek(self, next_offsets: Mapping[int, int]) -> None:
        kafka = _library()
        mine = self._partitions()
        self._found(self._topic + DEAD_LETTER_SUFFIX)  # now, not at the first letter
        for partition in sorted(mine & next_offsets.keys()):
            low, _ = self._ask(
                lambda p=partition: self._consumer.get_watermark_offsets(
                    kafka.TopicPartition(self._topic, p), timeout=_ASK_SECONDS
                )
            )
            if next_offsets[partition] < low:
                raise self._deleted(
                    partition, f"the state ends at {next_offsets[partition]}, the topic begins at {low}"
                )
        self._ask(lambda: self._consumer.assign(self._places(mine, next_offsets)))
        self._assigned, self._at_end = mine, set()
        self._look_due = time.monotonic() + _LOOK_SECONDS

    def poll(self, *, max_records: int, timeout_seconds: float) -> Records:
        if self._refused is not None:
            refused, self._refused = self._refused, None
            raise refused
        self._look_for_more()
        # consume() waits for all that it is asked for: first for one, then a moment for those behind it.
        messages = self._ask(lambda: self._consumer.consume(1, timeout_seconds))
        if messages and max_records > 1:
            messages += self._consumer.consume(max_records - 1, _LINGER_SECONDS)
        good = self._sorted_out(messages)
        return Records(
            np.array([m.partition() for m in good], np.int32),
            np.array([m.offset() for m in good], np.int64),
            np.array([m.timestamp()[1] for m in good], np.int64) * 1000,
            [m.key() for m in good],
            [m.value() for m in good],
        )

    def bury(self, letters: Sequence[DeadLetter]) -> None:
        producer = self._opened_producer()
        failed: list[Any] = []
        too_large: list[DeadLetter] = []
        for letter in letters:
            self._produce(producer, letter, failed, too_large)
        waiting = producer.flush(_DELIVERY_SECONDS)
        if too_large and not (waiting or failed):
            # With its headers a letter is larger than its event was. The event is still where they say.
            for letter in too_large:
                self._produce(producer, replace(letter, key=None, value=None), failed, failed)
            waiting = producer.flush(_DELIVERY_SECONDS)
        if waiting or failed:
            # What still waits in the producer must not arrive after its repetition.
            producer.purge()
            self._producer = None
            raise self._down(failed[0] if failed else f"{waiting} dead letters are not acknowledged")

    def commit(self, next_offsets: Mapping[int, int]) -> None:
        # By the administrator's call: a consumer whose commit is under way when the broker goes cannot be closed for a
        # minute. Not waited for: nobody depends on it.
        kafka, administration = _library(), _administration()
        if self._administrator is None:
            self._administrator = administration.AdminClient(self._common)
        places = self._places(self._assigned & next_offsets.keys(), next_offsets)
        if places:
            asked = [kafka.ConsumerGroupTopicPartitions(self._group, places)]
            told = self._ask(
                lambda: self._administrator.alter_consumer_group_offsets(asked, request_timeout=_ASK_SECONDS)
            )
            self._committing = told[self._group]

    def lag(self, next_offsets: Mapping[int, int]) -> dict[int, int]:
        kafka, found = _library(), {}
        for partition in sorted(self._assigned):
            # Of the last fetch: no question to the broker, which may be down.
            place = kafka.TopicPartition(self._topic, partition)
            known = self._consumer.get_watermark_offsets(place, cached=True)
            if partition in self._at_end:
                found[partition] = 0
            elif known is None or known[1] < 0:
                found[partition] = -1
            else:
                found[partition] = max(0, known[1] - next_offsets.get(partition, 0))
        return found

    def problem(self) -> str:
        return self._problem

    def close(self) -> None:
        self._consumer.close()
        if self._committing is not None:
            futures.wait([self._committing], _CLOSE_SECONDS)
            self._committing = None

    def _partitions(self) -> set[int]:
        """Those to read. Errors: NotFound without the topic or a wanted partition."""
        found = self._found(self._topic)
        missing = set() if self._wanted is None else self._wanted - found
        if missing:
            raise self._no(f"partition {min(missing)} of topic `{self._topic}`")
        return found if self._wanted is None else set(self._wanted)

    def _found(self, topic: str) -> set[int]:
        """The partitions of a topic. Errors: NotFound."""
        known = self._ask(lambda: self._consumer.list_topics(topic, timeout=_ASK_SECONDS)).topics[topic]
        if known.error is not None and known.error.retriable() and known.error.code() != _no_topic():
            raise self._down(known.error)
        if not known.partitions:
            raise self._no(f"topic `{topic}`")
        return set(known.partitions)

    def _no(self, what: str) -> errors.NotFound:
        return errors.NotFound(
            f"broker `{self._servers}` has no {what}; create it, or correct the name",
            resource="topic",
            name=self._topic,
        )

    def _places(self, partitions: set[int], next_offsets: Mapping[int, int]) -> list[Any]:
        kafka = _library()
        return [
            kafka.TopicPartition(self._topic, p, next_offsets.get(p, kafka.OFFSET_BEGINNING))
            for p in sorted(partitions)
        ]

    def _look_for_more(self) -> None:
        if self._wanted is not None or time.monotonic() < self._look_due:
            return
        self._look_due = time.monotonic() + _LOOK_SECONDS
        added = self._partitions() - self._assigned
        if added:
            self._ask(lambda: self._consumer.incremental_assign(self._places(added, {})))
            self._assigned |= added

    def _sorted_out(self, messages: Sequence[Any]) -> list[Any]:
        """The records among what has come. What else there is counts, or is raised: by the next poll if there are records,
        which would be lost otherwise."""
        good, kafka = [], _library()
        for message in messages:
            error = message.error()
            if error is None:
                good.append(message)
                self._at_end.discard(message.partition())
                self._problem = ""
            elif error.code() == kafka.KafkaError._PARTITION_EOF:
                self._at_end.add(message.partition())
                self._problem = ""
            else:
                self._refused = self._told(message, error) or self._refused
        if self._refused is not None and not good:
            refused, self._refused = self._refused, None
            raise refused
        return good

    def _told(self, message: Any, error: Any) -> errors.MainspringError | None:
        """What an error in the place of a record means; None: it passes, and `problem` tells of it meanwhile."""
        kafka = _library()
        if error.code() in (kafka.KafkaError._AUTO_OFFSET_RESET, kafka.KafkaError.OFFSET_OUT_OF_RANGE):
            return self._deleted(message.partition(), error.str())
        if error.fatal() or not (error.retriable() or error.code() in _passing(kafka)):
            return errors.DependencyDown(
                f"broker `{self._servers}` refuses topic `{self._topic}`: {error.str()}; check its rights and settings",
                name="kafka",
            )
        self._problem = f"broker `{self._servers}`: {error.str()}"
        return None

    def _opened_producer(self) -> confluent_kafka.Producer:
        if self._producer is None:
            kafka = _library()
            self._producer = kafka.Producer(
                {
                    # A letter is a little larger than its event, which the broker took.
                    "message.max.bytes": 64 << 20,
                    **self._common,
                    "acks": "all",
                    "message.timeout.ms": round(_DELIVERY_SECONDS * 1000),
                }
            )
        return self._producer

    def _produce(
        self,
        producer: confluent_kafka.Producer,
        letter: DeadLetter,
        failed: list[Any],
        too_large: list[Any],
    ) -> None:
        """Hand a letter to the producer; what becomes of it is in one of the lists after a flush, or in none."""
        kafka = _library()

        def note(error: Any, message: Any = None) -> None:
            if error is not None and error.code() == kafka.KafkaError.MSG_SIZE_TOO_LARGE:
                too_large.append(letter)
            elif error is not None:
                failed.append(error)

        headers = {
            "mainspring.reason": letter.reason,
            "mainspring.message": letter.message[:1000],
            "mainspring.topic": self._topic,
            "mainspring.partition": str(letter.partition),
            "mainspring.offset": str(letter.offset),
            "mainspring.timestamp-us": str(letter.timestamp_us),
        }
        while True:
            try:
                producer.produce(
                    self._topic + DEAD_LETTER_SUFFIX,
                    key=letter.key,
                    value=letter.value,
                    headers=list(headers.items()),
                    on_delivery=note,
                )
                return
            except kafka.KafkaException as error:
                note(error.args[0])
                return
            except BufferError:
                producer.poll(0.1)  # its queue is full: deliver some first

    def _note_error(self, error: Any) -> None:
        """librdkafka's own reports: it goes on trying by itself."""
        self._problem = f"broker `{self._servers}`: {error.str()}"

    def _ask(self, act: Any) -> Any:
        kafka = _library()
        try:
            return act()
        except kafka.KafkaException as error:
            raise self._down(error.args[0] if error.args else error) from error

    def _down(self, cause: Any) -> errors.DependencyDown:
        text = cause.str() if hasattr(cause, "str") else str(cause)
        self._problem = f"broker `{self._servers}`: {text}"
        return errors.DependencyDown(
            f"broker `{self._servers}` does not answer: {text}; check that it runs and is reachable",
            name="kafka",
        )

    def _deleted(self, partition: int, why: str) -> errors.Conflict:
        return errors.Conflict(
            f"partition {partition} of topic `{self._topic}` lacks events that were not read yet: {why}; move the stream's"
            " state away to begin anew with what is there, and keep events longer than a stop lasts",
            resource="topic",
            name=self._topic,
        )


def _no_topic() -> int:
    code: int = _library().KafkaError.UNKNOWN_TOPIC_OR_PART
    return code


def _passing(kafka: Any) -> tuple[int, ...]:
    known = kafka.KafkaError
    return (known._ALL_BROKERS_DOWN, known._TRANSPORT, known._TIMED_OUT, known._RESOLVE)


def _library() -> Any:
    """Imported late: a stream in memory needs no Kafka. Errors: MissingTool."""
    try:
        import confluent_kafka
    except ModuleNotFoundError as error:
        raise errors.MissingTool(
            "package `confluent-kafka` is not installed; run `pip install 'mainspring[streams]'`",
            tool="confluent-kafka",
            fix="pip install 'mainspring[streams]'",
        ) from error
    return confluent_kafka


def _administration() -> Any:
    from confluent_kafka import admin

    return admin
