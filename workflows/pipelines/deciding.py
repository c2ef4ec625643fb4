"""Approvals of a run: who may decide on what, and when so many have. Pure; the workflow tells the time."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from mainspring.core import errors
from mainspring.core.contracts import pipelines, training

__all__ = ["Gate", "Gates"]

#: Who may decide in the place of a role beside those who have it.
_ABOVE = {"approver": ("admin",), "admin": ()}


@dataclass
class Gate:
    """One approval that waits, or is over. `opened` is in seconds of the workflow's clock."""

    name: str
    asked: pipelines.Approval
    opened: float
    decisions: list[training.Decision] = field(default_factory=list)
    told: int = 0
    """So many of them are on record."""

    @property
    def given(self) -> int:
        return sum(decision.approve for decision in self.decisions)

    @property
    def rejection(self) -> training.Decision | None:
        return next((decision for decision in self.decisions if not decision.approve), None)

    @property
    def is_approved(self) -> bool:
        return self.rejection is None and self.given >= self.asked.count

    @property
    def is_closed(self) -> bool:
        return self.rejection is not None or self.given >= self.asked.count

    @property
    def has_news(self) -> bool:
        return len(self.decisions) > self.told

    @property
    def is_over(self) -> bool:
        """Decided, and all of it on record."""
        return self.is_closed and not self.has_news

    def news(self) -> list[training.Decision]:
        """Those that are not on record yet; they are by now."""
        found = self.decisions[self.told :]
        self.told = len(self.decisions)
        return found

    def seconds_left(self, now: float) -> float:
        return max(0.0, self.opened + self.asked.timeout_seconds - now)

    def lapse(self, timeout: timedelta) -> None:
        """Nobody came in time."""
        why = f"{self.given} of {self.asked.count} decided within {timeout}"
        self.decisions.append(training.Decision(approve=False, by="system", reason=why, step=self.name))


class Gates:
    """Those of one run."""

    def __init__(self, *asked_by: str) -> None:
        """`asked_by`: who started it, and who had it started; none of them approves anything of it."""
        self._asked_by = frozenset(asked_by) - {""}
        self._gates: dict[str, Gate] = {}

    def open(self, name: str, asked: pipelines.Approval, now: float) -> Gate:
        self._gates[name] = Gate(name, asked, now)
        return self._gates[name]

    @property
    def rejection(self) -> str:
        """Of the first that was rejected, in words; empty: none was."""
        for gate in self._gates.values():
            if gate.rejection is not None:
                why = gate.rejection.reason or "no reason given"
                return f"`{gate.name}` rejected by `{gate.rejection.by}`: {why}"
        return ""

    def check(self, decision: training.Decision, run_id: str) -> None:
        """Errors: Conflict, NotFound where nothing waits for it; PermissionDenied for who may not."""
        gate = self._meant(decision, run_id)
        roles = (gate.asked.role, *_ABOVE[gate.asked.role])
        if not set(roles) & set(decision.roles):
            raise errors.PermissionDenied(
                f"`{gate.name}` is for role `{gate.asked.role}`, and `{decision.by}` has"
                f" {', '.join(f'`{r}`' for r in decision.roles) or 'none'} here; ask somebody who has it",
                actor=decision.by,
                action="run.decide",
            )
        if decision.approve and decision.by in self._asked_by:
            raise errors.PermissionDenied(
                f"`{decision.by}` started run `{run_id}` and does not approve `{gate.name}`; ask somebody else who may",
                actor=decision.by,
                action="run.decide",
            )
        if any(before.by == decision.by for before in gate.decisions):
            raise errors.Conflict(
                f"`{decision.by}` has decided on `{gate.name}` already; {gate.asked.count} different people are asked",
                resource="approval",
                name=gate.name,
            )

    def take(self, decision: training.Decision) -> Gate:
        """A decision that was checked."""
        gate = self._meant(decision, "")
        gate.decisions.append(decision.model_copy(update={"step": gate.name}))
        return gate

    def _meant(self, decision: training.Decision, run_id: str) -> Gate:
        waiting = [gate for gate in self._gates.values() if not gate.is_closed]
        named = [gate for gate in waiting if gate.name == decision.step]
        if named or (len(waiting) == 1 and not decision.step):
            return (named or waiting)[0]
        if waiting and not decision.step:
            names = ", ".join(f"`{gate.name}`" for gate in waiting)
            raise errors.Conflict(
                f"run `{run_id}` waits at {names}; say which by `step`", resource="run", name=run_id
            )
        what = f"at `{decision.step}`" if decision.step else "for any"
        raise errors.Conflict(
            f"run `{run_id}` waits {what} for no decision; look at it first", resource="run", name=run_id
        )
