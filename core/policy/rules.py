"""How rules are asked: each has an id and says why not, and one that crashes says no."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mainspring.core import errors

F = TypeVar("F")


@dataclass(frozen=True)
class RuleResult:
    """One rule's answer: `reason` says why not, `cause` is set when the rule crashed."""

    rule_id: str
    allowed: bool
    reason: str = ""
    cause: str = ""


@dataclass(frozen=True)
class PolicyResult:
    """Every rule's answer, in the order asked. No rules is a no: nothing decided."""

    rules: tuple[RuleResult, ...]

    @property
    def allowed(self) -> bool:
        return bool(self.rules) and all(rule.allowed for rule in self.rules)

    @property
    def denial(self) -> errors.PolicyDenied | None:
        """The first rule that said no, as an error; None when allowed."""
        if self.allowed:
            return None
        first = next(
            (r for r in self.rules if not r.allowed), RuleResult("policy.empty", False, "no rule decided")
        )
        return errors.PolicyDenied(
            f"rule `{first.rule_id}` denies it: {first.reason}", rule_id=first.rule_id, cause=first.cause
        )

    def require(self) -> None:
        """Errors: PolicyDenied with the first rule that said no."""
        if (denial := self.denial) is not None:
            raise denial


#: A rule's id and its question: the empty string allows, anything else is why not and what to do.
Rule = tuple[str, Callable[[F], str]]


def ask(rules: Sequence[Rule[F]], facts: F) -> PolicyResult:
    """Ask every rule, also after a no, so that people see all that is to be mended."""
    return PolicyResult(tuple(_ask_one(rule_id, question, facts) for rule_id, question in rules))


def _ask_one(rule_id: str, question: Callable[[F], str], facts: F) -> RuleResult:
    try:
        reason = question(facts)
    # A rule that crashed has not allowed anything: whatever it raised becomes a no that carries the cause.
    except Exception as error:  # noqa: BLE001
        return RuleResult(rule_id, False, "the rule crashed; report it with its cause", repr(error))
    return RuleResult(rule_id, reason == "", reason)
