"""The decisions: may this run start, may this person decide on it, may this bundle serve."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, Protocol

from mainspring.core.contracts import control
from mainspring.core.policy.rules import PolicyResult, Rule, RuleResult, ask

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
class _RunFacts:
    request: control.RunCreate
    actor: Requester
    budget: BudgetFacts


@dataclass(frozen=True)
class _ApprovalFacts:
    actor: Requester
    requested_by: str
    environment: str


def decide_run(request: control.RunCreate, actor: Requester, budget: BudgetFacts) -> PolicyResult:
    """May `actor` start this run now?"""
    return ask(_RUN_RULES, _RunFacts(request, actor, budget))


def decide_approval(actor: Requester, *, requested_by: str, environment: str) -> PolicyResult:
    """May `actor` approve or reject a run that `requested_by` started?"""
    return ask(_APPROVAL_RULES, _ApprovalFacts(actor, requested_by, environment))


def admit_bundle(facts: BundleFacts) -> PolicyResult:
    """May this bundle serve in its environment?"""
    return ask(_BUNDLE_RULES, facts)


def _has_role(actor: Requester, *roles: str) -> str:
    if {*roles, "admin"} & set(actor.roles):
        return ""
    return f"`{actor.name}` has roles `{', '.join(actor.roles)}`, expected `{roles[0]}`; ask an admin of the project"


def _may_start(facts: _RunFacts) -> str:
    if "service" in facts.actor.roles and facts.request.kind is control.RunKind.TRAIN:
        return "" if facts.request.cause else "a process starts a training for a `cause`; say what it is"
    return _has_role(facts.actor, "developer")


def _environment_known(environment: str) -> str:
    if environment in ENVIRONMENTS:
        return ""
    return f"environment `{environment}` is unknown; use one of `{'`, `'.join(ENVIRONMENTS)}`"


def _person_decides_in_prod(facts: _RunFacts) -> str:
    if facts.request.environment == "prod" and facts.request.auto_approve_by:
        return "`auto_approve_by` is set for `prod`; leave it out, an approver decides there"
    return ""


def _approves_for_self(facts: _RunFacts) -> str:
    by = facts.request.auto_approve_by
    # An approval is on record under its name: nobody gives it in the name of somebody else.
    if by and by != facts.actor.name:
        return (
            f"`auto_approve_by` is `{by}`, expected `{facts.actor.name}`; nobody approves in another's name"
        )
    return ""


def _full_data_in_prod(facts: _RunFacts) -> str:
    if facts.request.environment == "prod" and facts.request.sample_fraction < 1.0:
        return f"`sample_fraction` is {facts.request.sample_fraction} for `prod`; train on all rows there"
    return ""


def _budget_left(facts: _RunFacts) -> str:
    limit, spent, committed = facts.budget.limit, facts.budget.spent, facts.budget.committed
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


_RUN_RULES: Final[tuple[Rule[_RunFacts], ...]] = (
    ("run.role", _may_start),
    ("run.environment", lambda f: _environment_known(f.request.environment)),
    ("run.prod.person-decides", _person_decides_in_prod),
    ("run.approves-for-self", _approves_for_self),
    ("run.prod.full-data", _full_data_in_prod),
    ("run.budget", _budget_left),
)

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
