"""The decisions that need no policy engine: what a budget allows, and what workers ask, who have no engine.

Who may do what on the control plane is `platform/policies`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, Protocol

from mainspring.core.policy.rules import PolicyResult, Rule, RuleResult, ask

__all__ = [
    "ENVIRONMENTS",
    "BudgetFacts",
    "BundleFacts",
    "PolicyResult",
    "Requester",
    "RuleResult",
    "admit_bundle",
    "decide_approval",
    "decide_budget",
]

ENVIRONMENTS: Final = ("dev", "staging", "prod")

#: Formats that run code when they are loaded.
_CODE_ON_LOAD: Final = frozenset({".pkl", ".pickle", ".joblib", ".pt", ".pth", ".bin"})


class Requester(Protocol):
    """Who asks; `core.identity.Actor` is one."""

    @property
    def name(self) -> str: ...

    @property
    def roles(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class BudgetFacts:
    """A project's month: its limit (None: none), what is spent and what is kept free, in the price book's currency."""

    limit: float | None
    spent: float
    committed: float = 0.0
    """What is spent, kept free for runs that have not ended, and wanted by this one: added up exactly."""


@dataclass(frozen=True)
class BundleFacts:
    """What is known of a bundle when somebody wants it to serve."""

    digest: str
    environment: str
    signer: str
    """Key id of the verified signature; empty when there is none or it does not verify."""
    trusted_signers: frozenset[str]
    files: tuple[str, ...]
    leak_checked: bool
    """The perturbation check ran on this data and nothing moved."""
    failed_gates: tuple[str, ...] = ()
    is_sample: bool = False
    """Trained on a share of the rows, judged by relaxed gates."""


@dataclass(frozen=True)
class _ApprovalFacts:
    actor: Requester
    requested_by: str
    on_behalf_of: str
    prompted_by: str
    environment: str


def decide_budget(budget: BudgetFacts) -> PolicyResult:
    """May a run start that costs what it asks for?"""
    return ask(_BUDGET_RULES, budget)


def decide_approval(
    actor: Requester,
    *,
    requested_by: str,
    environment: str,
    on_behalf_of: str = "",
    prompted_by: str = "",
) -> PolicyResult:
    """May `actor` approve or reject a run that `requested_by` started? For the workflow, which asks once more.

    `on_behalf_of`: who put on record the process that started it, if one did; `prompted_by`: who asked that to run.
    """
    facts = _ApprovalFacts(actor, requested_by, on_behalf_of, prompted_by, environment)
    return ask(_APPROVAL_RULES, facts)


def admit_bundle(facts: BundleFacts) -> PolicyResult:
    """May this bundle serve in its environment?"""
    return ask(_BUNDLE_RULES, facts)


def _has_role(actor: Requester, *roles: str) -> str:
    if {*roles, "admin"} & set(actor.roles):
        return ""
    return f"`{actor.name}` has roles `{', '.join(actor.roles)}`, expected `{roles[0]}`; ask an admin of the project"


def _environment_known(environment: str) -> str:
    if environment in ENVIRONMENTS:
        return ""
    return f"environment `{environment}` is unknown; use one of `{'`, `'.join(ENVIRONMENTS)}`"


def _budget_left(facts: BudgetFacts) -> str:
    limit, spent, committed = facts.limit, facts.spent, facts.committed
    if limit is None or (spent < limit and committed <= limit):
        return ""
    if spent >= limit:
        return f"the month's budget {limit} is spent ({spent}); raise it or wait for the next month"
    return (
        f"the month's budget {limit} is less than {committed}: what is spent ({spent}), kept free for runs that have not"
        " ended, and asked for by this one; wait for one to end, ask for less, or raise it"
    )


def _four_eyes(facts: _ApprovalFacts) -> str:
    if facts.environment == "prod" and facts.actor.name == facts.requested_by:
        return f"`{facts.actor.name}` started the run; somebody else decides in `prod`"
    if facts.environment == "prod" and facts.actor.name == facts.on_behalf_of:
        return f"`{facts.actor.name}` put on record what started the run; somebody else decides in `prod`"
    if facts.environment == "prod" and facts.actor.name == facts.prompted_by:
        return f"`{facts.actor.name}` asked for what started the run; somebody else decides in `prod`"
    return ""


def _signed(facts: BundleFacts) -> str:
    return "" if facts.signer else "no signature verifies; sign the bundle and publish it again"


def _signer_trusted(facts: BundleFacts) -> str:
    if facts.signer in facts.trusted_signers:
        return ""
    return f"signer `{facts.signer}` is not trusted here; sign with a trusted key or add its public key"


def _no_code_on_load(facts: BundleFacts) -> str:
    bad = sorted(f for f in facts.files if PurePosixPath(f).suffix.lower() in _CODE_ON_LOAD)
    return f"`{'`, `'.join(bad)}` may run code when loaded; use safetensors, JSON or Parquet" if bad else ""


def _leak_checked(facts: BundleFacts) -> str:
    return "" if facts.leak_checked else "no leak check is on record for its data; run the leak check"


def _gates_passed(facts: BundleFacts) -> str:
    return f"gates `{'`, `'.join(facts.failed_gates)}` failed; train again" if facts.failed_gates else ""


def _not_a_sample_in_prod(facts: BundleFacts) -> str:
    if facts.environment == "prod" and facts.is_sample:
        return "it was trained on a sample; train on all rows for `prod`"
    return ""


_BUDGET_RULES: Final[tuple[Rule[BudgetFacts], ...]] = (("run.budget", _budget_left),)

_APPROVAL_RULES: Final[tuple[Rule[_ApprovalFacts], ...]] = (
    ("approval.role", lambda f: _has_role(f.actor, "approver")),
    ("approval.four-eyes", _four_eyes),
)

_BUNDLE_RULES: Final[tuple[Rule[BundleFacts], ...]] = (
    ("bundle.environment", lambda f: _environment_known(f.environment)),
    ("bundle.signed", _signed),
    ("bundle.signer-trusted", _signer_trusted),
    ("bundle.no-code-on-load", _no_code_on_load),
    ("bundle.leak-checked", _leak_checked),
    ("bundle.gates", _gates_passed),
    ("bundle.prod.full-data", _not_a_sample_in_prod),
)
