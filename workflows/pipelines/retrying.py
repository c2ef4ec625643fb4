"""Whether a step that failed is tried again, when, and with how much memory. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Final

from mainspring.core import errors
from mainspring.core.contracts import pipelines
from mainspring.workflows.pipelines import messages

__all__ = ["Tries", "failed"]

#: A process that died without a word may have been its machine's fault.
_DEATHS: Final = 1
_MAX_PAUSE_SECONDS: Final = 3600.0


@dataclass(frozen=True)
class Tries:
    """What was tried so far, and how the next try goes."""

    memory_gib: float
    jobs: int = 0
    raised: int = 0
    died: int = 0
    pause_seconds: float = 0.0

    def after(self, node: pipelines.Node, ran: messages.Ran) -> Tries | None:
        """The next try after this one failed so; None: there is none."""
        next_try = replace(self, jobs=self.jobs + 1, pause_seconds=0.0)
        if ran.failure == "memory":
            limit = node.resources.max_memory_gib or 0.0
            more = min(2 * self.memory_gib, limit)
            return replace(next_try, memory_gib=more) if more > self.memory_gib else None
        if ran.failure == "died":
            return replace(next_try, died=self.died + 1) if self.died < _DEATHS else None
        if self.raised >= node.retry.times or not _is_worth_it(node.retry, ran):
            return None
        pause = min(node.retry.pause_seconds * 2**self.raised, _MAX_PAUSE_SECONDS)
        return replace(next_try, raised=self.raised + 1, pause_seconds=pause)


def _is_worth_it(retry: pipelines.Retry, ran: messages.Ran) -> bool:
    ours = _ours(ran)
    if ours is not None and not ours.retryable:
        return False  # who raised it says so: wrong data stays wrong
    return ours is not None or bool(set(retry.on) & set(ran.classes))


def failed(node: str, ran: messages.Ran) -> errors.MainspringError:
    """The step's own error where it is one of ours, JobFailed otherwise; both name the step and say what to do next."""
    ours = _ours(ran)
    if ours is not None:
        ours.message = f"step `{node}`: {ours.message}"
        return type(ours)(ours.message, **ours.details)
    return errors.JobFailed(
        f"step `{node}` failed ({ran.failure}): {ran.message}; mend it and go on with `mainspring run FILE --resume RUN`,"
        " which does again only what changed",
        job_id=ran.job,
        status=ran.failure,
    )


def _ours(ran: messages.Ran) -> errors.MainspringError | None:
    return errors.from_wire(json.loads(ran.error)) if ran.error else None
