"""How long activities may take and how they are tried again. Whether an error is retried at all is in `errors.py`."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from temporalio.common import RetryPolicy
from temporalio.workflow import ActivityCancellationType, ActivityConfig

#: A server that was away for long is asked again within three seconds of its return, and not after as long as it was away.
_RETRY: Final = RetryPolicy(
    initial_interval=timedelta(seconds=0.5), backoff_coefficient=2.0, maximum_interval=timedelta(seconds=3)
)

#: A dead worker is noticed this long after its last beat. With the half second before the next attempt a step goes on
#: elsewhere within five seconds (`bench/workflows/recoveries.py`), if Temporal's timers come in time: by default they may
#: be a second late, twice on this way, so the embedded server's are set to less (`platform/stack/parts.py`).
HEARTBEAT: Final = timedelta(seconds=3.5)

#: A worker hands on a beat at most this often, so each of them (`heartbeat.BEATS`). The SDK's own throttle is 0.8 of
#: `HEARTBEAT`, which leaves a busy machine 0.7 s before a living worker is taken for dead, and its step begun twice.
BEAT_PAUSE: Final = timedelta(seconds=0.5)

#: One HTTP exchange with another room; given up after a minute of trying. A cancelled workflow waits for the
#: answer, so that its undo does not race with a change still on its way.
EXCHANGE: Final = ActivityConfig(
    start_to_close_timeout=timedelta(seconds=30),
    schedule_to_close_timeout=timedelta(seconds=60),
    heartbeat_timeout=HEARTBEAT,
    retry_policy=_RETRY,
    cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
)

#: What serving does with bundles: loading one, asking it. Serving is started again within seconds, and has a bundle of
#: minutes to load then, so it is tried for ten.
ASK: Final = ActivityConfig(
    start_to_close_timeout=timedelta(minutes=5),
    schedule_to_close_timeout=timedelta(minutes=10),
    heartbeat_timeout=HEARTBEAT,
    retry_policy=_RETRY,
    cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
)

#: An undo, an audit event that must be on record, or the registry: tried for ten minutes, so that a restart of the other
#: side is no failure of the run.
INSIST: Final = ActivityConfig(
    start_to_close_timeout=timedelta(seconds=30),
    schedule_to_close_timeout=timedelta(minutes=10),
    heartbeat_timeout=HEARTBEAT,
    retry_policy=_RETRY,
)

#: An exchange that nothing waits for and that must be made in the end: tried each minute, for as long as it takes.
UNTIL_DONE: Final = ActivityConfig(
    start_to_close_timeout=timedelta(seconds=30),
    heartbeat_timeout=HEARTBEAT,
    retry_policy=RetryPolicy(
        initial_interval=timedelta(seconds=1), backoff_coefficient=2.0, maximum_interval=timedelta(minutes=1)
    ),
)

#: Minutes of local work: a join. Four attempts, because each may cost minutes.
WORK: Final = ActivityConfig(
    start_to_close_timeout=timedelta(minutes=30),
    heartbeat_timeout=HEARTBEAT,
    retry_policy=RetryPolicy(
        initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=30), maximum_attempts=4
    ),
    cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
)

#: Looking at something until it changes: it changes nothing itself, so that whoever cancels it need not wait.
WATCH: Final = ActivityConfig(
    start_to_close_timeout=timedelta(hours=24), heartbeat_timeout=HEARTBEAT, retry_policy=_RETRY
)

#: A training. Cancellation waits until its job has stopped: with the default type the job would leak.
LONG: Final = ActivityConfig(
    start_to_close_timeout=timedelta(hours=24),
    heartbeat_timeout=HEARTBEAT,
    retry_policy=_RETRY,
    cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
)
