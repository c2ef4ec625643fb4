"""Named rules over plain facts: pure decisions, failing closed, for who has no policy engine."""

from mainspring.core.policy.decisions import (
    ENVIRONMENTS,
    BudgetFacts,
    BundleFacts,
    PolicyResult,
    Requester,
    RuleResult,
    admit_bundle,
    decide_approval,
    decide_budget,
)
from mainspring.core.policy.supply import SupplyFacts, admit_supply

__all__ = [
    "ENVIRONMENTS",
    "BudgetFacts",
    "BundleFacts",
    "PolicyResult",
    "Requester",
    "RuleResult",
    "SupplyFacts",
    "admit_bundle",
    "admit_supply",
    "decide_approval",
    "decide_budget",
]
