"""Named rules over plain facts: pure decisions, failing closed, for who has no policy engine."""

from mainspring.core.policy.decisions import (
    BudgetFacts,
    BundleFacts,
    PolicyResult,
    Requester,
    RuleResult,
    admit_bundle,
    decide_approval,
    decide_budget,
)

__all__ = [
    "BudgetFacts",
    "BundleFacts",
    "PolicyResult",
    "Requester",
    "RuleResult",
    "admit_bundle",
    "decide_approval",
    "decide_budget",
]
