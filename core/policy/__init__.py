"""Who may do what, as named rules over plain facts: pure decisions, failing closed."""

from mainspring.core.policy.decisions import (
    BudgetFacts,
    BundleFacts,
    PolicyResult,
    Requester,
    RuleResult,
    admit_bundle,
    decide_approval,
    decide_run,
)

__all__ = [
    "BudgetFacts",
    "BundleFacts",
    "PolicyResult",
    "Requester",
    "RuleResult",
    "admit_bundle",
    "decide_approval",
    "decide_run",
]
