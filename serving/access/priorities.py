"""How urgent a request is: what it says itself, up to the class that the limits document gives its caller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mainspring.core.contracts import access
from mainspring.serving.access import limits

#: Levels of the line before the threads; a smaller one goes first.
HIGH, NORMAL, LOW = LEVELS = (0, 1, 2)

_OF_CLASS: Final[Mapping[str, int]] = {"high": HIGH, "normal": NORMAL, "low": LOW}
_ANY: Final = "*"


def level(caller_class: int | None, asked: int = 0) -> int:
    """The level of a request.

    `asked` is the v2 protocol's `priority`: 1 is the highest, 0 says nothing, what is above 2 is low. A caller with a class
    can ask for less than it, never for more; without one its word is taken.
    """
    if not asked:
        return NORMAL if caller_class is None else caller_class
    wanted = min(asked - 1, LOW)
    return wanted if caller_class is None else max(wanted, caller_class)


class Classes:
    """The classes of callers by the limits document in force. Thread-safe."""

    def __init__(self, limiter: limits.Limiter) -> None:
        self._limiter = limiter
        self._known: tuple[access.LimitsDocument, dict[tuple[str, str], int]] | None = None

    def of(self, caller: str, target: str) -> int | None:
        """The caller's class at an endpoint, by the rule that names more, the caller first; None: no rule has one."""
        document = self._limiter.document
        if not document.rules:
            return None
        known = self._known
        if known is None or known[0] is not document:
            rules = document.rules
            known = document, {(r.caller, r.endpoint): _OF_CLASS[r.priority] for r in rules if r.priority}
            self._known = known
        classes = known[1]
        if not classes:
            return None
        pairs = ((caller, target), (caller, _ANY), (_ANY, target), (_ANY, _ANY))
        return next((classes[pair] for pair in pairs if pair in classes), None)
