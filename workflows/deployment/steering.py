"""What people order of a canary that runs: four updates, whether they are allowed, and what was not yet done about them.

A handler answers at once: whoever asks may hold what the run's next report has to wait for. The workflow does what was ordered
at its next look, and what was ordered of traffic that is on its way when it has arrived.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from temporalio import workflow

from mainspring.core import errors, policy
from mainspring.core.contracts import canaries, deployment, training
from mainspring.core.contracts.canaries import CanaryOrder
from mainspring.workflows import errors as temporal_errors

__all__ = ["SHADOW", "Ordered", "Steered", "Steering", "at", "role", "where"]

#: What a deployment goes on to when it has been judged at every share.
_ALL: Final = 100

#: In the place of a share: it is a shadow, and answers nobody.
SHADOW: Final = 0


@dataclass(frozen=True)
class Ordered:
    """What was taken, at which share; `skipped` are the shares whose gates it goes past."""

    order: CanaryOrder
    asked: canaries.Steer
    percent: int
    """0: as a shadow, or before its turn."""
    to_percent: int = 0
    skipped: tuple[int, ...] = ()

    @property
    def detail(self) -> dict[str, Any]:
        """For the record."""
        told: dict[str, Any] = {
            "percent": self.percent,
            "reason": self.asked.reason,
            "order_id": self.asked.order_id,
        }
        if self.order is CanaryOrder.PROMOTE:
            told |= {"to_percent": self.to_percent, "skipped": list(self.skipped)}
        return told

    def __str__(self) -> str:
        why = f" ({self.asked.reason})" if self.asked.reason else ""
        past = "" if self.order is not CanaryOrder.PROMOTE else f" to {self.to_percent} %"
        verb = {CanaryOrder.PROMOTE: "promoted", CanaryOrder.ABORT: "aborted", CanaryOrder.PAUSE: "paused"}
        return f"{verb.get(self.order, 'resumed')}{past} by `{self.asked.by}`{why}"


@dataclass(frozen=True)
class _Approver:
    name: str
    roles: tuple[str, ...]


class Steering:
    """Of one deployment. Times are the workflow's."""

    def __init__(self, request: deployment.DeployRequest) -> None:
        self._request = request
        self._percent: int | None = None
        self._later: tuple[int, ...] = ()
        self._pause: Ordered | None = None
        self._paused_at = 0.0
        self._held_seconds = 0.0
        self._news: list[Ordered] = []
        self.end: Ordered | None = None
        """What ends the present step: a promotion or an abort that is not done yet."""
        self.waits = False
        """For its turn: nothing of it is in the traffic, and it can be aborted."""
        self.from_percent = 1
        """Shares below are gone past."""
        self.recorded = 0
        """So many orders were handed out by :meth:`news`."""
        self.told: dict[str, Any] = {}
        """For the report of the present step, or of the one that was closed last."""
        self._promoted: list[Ordered] = []

    def begin(self, percent: int, now: float) -> None:
        """A canary is judged at that share, or as a shadow, from now on; what was ordered on the way there holds."""
        self._percent = percent
        shares = self._request.canary_percents
        later = shares if percent == SHADOW else shares[shares.index(percent) + 1 :]
        self._later = tuple(one for one in later if one > 0)
        self._paused_at, self._held_seconds, self.told = now, 0.0, {}

    def close(self) -> None:
        """Nothing is to be ordered any more: the verdict is there."""
        self._percent, self.end = None, None

    @property
    def has_news(self) -> bool:
        """Something was ordered and is not on record yet."""
        return bool(self._news)

    @property
    def is_paused(self) -> bool:
        return self._pause is not None

    @property
    def is_idle(self) -> bool:
        """Nobody wants anything: the step goes on by itself."""
        return not (self._news or self._pause or self.end)

    def news(self) -> Ordered | None:
        """The oldest order that is not on record yet, once."""
        if not self._news:
            return None
        self.recorded += 1
        return self._news.pop(0)

    def held(self) -> float:
        """Seconds that the step stood still since it was asked before."""
        held, self._held_seconds = self._held_seconds, 0.0
        return held

    @property
    def state(self) -> canaries.CanaryState | None:
        """What is told of it; None while no canary is judged."""
        if self._percent is None:
            return canaries.CanaryState(percent=0, is_waiting=True) if self.waits else None
        told = canaries.CanaryState(
            percent=self._percent, is_shadow=self._percent == SHADOW, later_percents=self._later
        )
        if self._pause is None:
            return told
        why = self._pause.asked
        return told.model_copy(update={"is_paused": True, "paused_by": why.by, "reason": why.reason})

    @property
    def gone_past(self) -> str:
        """By whose orders no gate was asked at which shares; empty where all were."""
        if not self._promoted:
            return ""
        skipped = [share for one in self._promoted for share in one.skipped]
        shares = ", ".join(str(share) for share in skipped if share != SHADOW)
        gates = [*(["as a shadow"] if SHADOW in skipped else []), *([f"at {shares} %"] if shares else [])]
        by = "`, `".join(dict.fromkeys(one.asked.by for one in self._promoted))
        return f"promoted past the gates {' and '.join(gates)} by `{by}`"

    @property
    def pause(self) -> str:
        """Who paused it and why."""
        return str(self._pause or "")

    def check(self, order: CanaryOrder, asked: canaries.Steer) -> None:
        """Errors: Conflict where it is nothing to order now, InvalidRequest for a share, PermissionDenied, PolicyDenied."""
        if self._percent is None and not self.waits:
            raise self._conflict("judges no canary now; look at it first")
        if self.waits and order is not CanaryOrder.ABORT:
            raise self._conflict("waits for its turn; abort it, or wait until it judges a canary")
        if self.end is not None:
            raise self._conflict(f"is {self.end} already; look at it first")
        if order is CanaryOrder.PAUSE and self._pause is not None:
            raise self._conflict(f"is {self.pause} already; resume it, or leave it so")
        if order is CanaryOrder.RESUME and self._pause is None:
            raise self._conflict("is not paused; pause it first, or leave it so")
        if order is not CanaryOrder.PROMOTE:
            if asked.to_percent:
                raise errors.InvalidRequest(
                    f"`to_percent` goes with `promote`, not with `{order}`; leave it out", field="to_percent"
                )
            return
        allowed = (*self._later, _ALL)
        if asked.to_percent not in (0, *allowed):
            raise errors.InvalidRequest(
                f"run `{self._request.run_id}` is {self._place} and goes on to"
                f" {', '.join(map(str, allowed))}, not to {asked.to_percent}; choose one of them",
                field="to_percent",
            )
        # Past a gate goes only who may say yes to a model.
        policy.decide_approval(
            _Approver(asked.by, asked.roles),
            requested_by=self._request.requested_by,
            environment=self._request.environment,
        ).require()

    def take(self, order: CanaryOrder, asked: canaries.Steer, now: float) -> None:
        """What :func:`check` let through."""
        took = Ordered(order, asked, SHADOW if self._percent is None else self._percent)
        if order is CanaryOrder.PROMOTE:
            assert self._percent is not None  # check
            shares = (self._percent, *self._later)
            to = asked.to_percent or (*self._later, _ALL)[0]
            past = shares if to == _ALL else shares[: shares.index(to)]
            took = Ordered(order, asked, self._percent, to, past)
            self._promoted.append(took)
            self.from_percent = to
        if order is CanaryOrder.PAUSE:
            self._pause, self._paused_at = took, now
        elif self._pause is not None:
            self._held_seconds += now - self._paused_at
            self.told["paused_seconds"] = self.told.get("paused_seconds", 0.0) + now - self._paused_at
            self._pause = None
        if order in (CanaryOrder.PROMOTE, CanaryOrder.ABORT):
            self.end = took
            self.told |= {"ordered": str(order), "by": asked.by}
        self._news.append(took)

    @property
    def _place(self) -> str:
        return at(self._percent or SHADOW).removesuffix(" of traffic")

    def _conflict(self, what: str) -> errors.Conflict:
        run = self._request.run_id
        return errors.Conflict(f"run `{run}` {what}", resource="run", name=run)


def role(percent: int) -> str:
    """As what the candidate is in the traffic."""
    return "shadow" if percent == SHADOW else "canary"


def where(percent: int) -> str:
    """For whoever reads it."""
    return "as a shadow" if percent == SHADOW else f"{percent} % of traffic"


def at(percent: int) -> str:
    """The same, at the end of a sentence."""
    return where(percent) if percent == SHADOW else f"at {where(percent)}"


class Steered:
    """The updates, for a workflow that keeps a :class:`Steering` and tells its status."""

    _steering: Steering

    @workflow.update(name=str(CanaryOrder.PAUSE))
    def pause(self, asked: canaries.Steer) -> training.RunStatus:
        return self._take(CanaryOrder.PAUSE, asked)

    @pause.validator
    def _may_pause(self, asked: canaries.Steer) -> None:
        self._check(CanaryOrder.PAUSE, asked)

    @workflow.update(name=str(CanaryOrder.RESUME))
    def resume(self, asked: canaries.Steer) -> training.RunStatus:
        return self._take(CanaryOrder.RESUME, asked)

    @resume.validator
    def _may_resume(self, asked: canaries.Steer) -> None:
        self._check(CanaryOrder.RESUME, asked)

    @workflow.update(name=str(CanaryOrder.PROMOTE))
    def promote(self, asked: canaries.Steer) -> training.RunStatus:
        return self._take(CanaryOrder.PROMOTE, asked)

    @promote.validator
    def _may_promote(self, asked: canaries.Steer) -> None:
        self._check(CanaryOrder.PROMOTE, asked)

    @workflow.update(name=str(CanaryOrder.ABORT))
    def abort(self, asked: canaries.Steer) -> training.RunStatus:
        return self._take(CanaryOrder.ABORT, asked)

    @abort.validator
    def _may_abort(self, asked: canaries.Steer) -> None:
        self._check(CanaryOrder.ABORT, asked)

    def status(self) -> training.RunStatus:
        raise NotImplementedError

    def _take(self, order: CanaryOrder, asked: canaries.Steer) -> training.RunStatus:
        self._steering.take(order, asked, workflow.time())
        return self.status()

    def _check(self, order: CanaryOrder, asked: canaries.Steer) -> None:
        try:
            self._steering.check(order, asked)
        except errors.MainspringError as error:
            raise temporal_errors.to_failure(error) from error
