"""Each rule says no by its id, and a rule that crashes says no too."""

import dataclasses

import pytest

from mainspring.core import errors, identity, policy
from mainspring.core.policy import decisions, rules

DEVELOPER = identity.Actor("dev@local", ("developer",))
APPROVER = identity.Actor("app@local", ("approver",))
ADMIN = identity.Actor("adm@local", ("admin",))


GOOD = policy.BundleFacts(
    digest="sha256:" + "0" * 64,
    environment="prod",
    signer="key1",
    trusted_signers=frozenset({"key1"}),
    files=("manifest.json", "model.safetensors"),
    leak_checked=True,
)


def denying(result: policy.PolicyResult) -> set[str]:
    return {r.rule_id for r in result.rules if not r.allowed}


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (policy.BudgetFacts(limit=None, spent=9e9), set()),
        (policy.BudgetFacts(limit=1.0, spent=0.99), set()),
        (policy.BudgetFacts(limit=1.0, spent=1.0), {"run.budget"}),
        (policy.BudgetFacts(limit=1.0, spent=0.5, committed=1.0), set()),
        (policy.BudgetFacts(limit=1.0, spent=0.5, committed=1.1), {"run.budget"}),
    ],
)
def test_budgets(budget: policy.BudgetFacts, expected: set[str]) -> None:
    assert denying(policy.decide_budget(budget)) == expected


@pytest.mark.parametrize(
    ("actor", "requested_by", "environment", "expected"),
    [
        (APPROVER, "dev@local", "prod", set()),
        (ADMIN, "adm@local", "dev", set()),
        (ADMIN, "adm@local", "prod", {"approval.four-eyes"}),
        (DEVELOPER, "x@local", "dev", {"approval.role"}),
    ],
)
def test_approvals(actor: identity.Actor, requested_by: str, environment: str, expected: set[str]) -> None:
    assert (
        denying(policy.decide_approval(actor, requested_by=requested_by, environment=environment)) == expected
    )


def test_whoever_put_on_record_what_started_it_does_not_approve_in_prod() -> None:
    def asked(actor: identity.Actor, environment: str) -> policy.PolicyResult:
        return policy.decide_approval(
            actor, requested_by="service@local", on_behalf_of="app@local", environment=environment
        )

    assert denying(asked(APPROVER, "prod")) == {"approval.four-eyes"}
    denial = asked(APPROVER, "prod").denial
    assert denial is not None and "put on record what started the run" in denial.message
    assert denying(asked(ADMIN, "prod")) == set() == denying(asked(APPROVER, "dev"))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, set()),
        ({"environment": "moon"}, {"bundle.environment"}),
        ({"signer": ""}, {"bundle.signed", "bundle.signer-trusted"}),
        ({"signer": "key2"}, {"bundle.signer-trusted"}),
        ({"files": ("model.PKL", "a/b.pt")}, {"bundle.no-code-on-load"}),
        ({"leak_checked": False}, {"bundle.leak-checked"}),
        ({"failed_gates": ("min_auc",)}, {"bundle.gates"}),
        ({"is_sample": True}, {"bundle.prod.full-data"}),
        ({"is_sample": True, "environment": "dev"}, set()),
    ],
)
def test_bundles(change: dict[str, object], expected: set[str]) -> None:
    assert denying(policy.admit_bundle(dataclasses.replace(GOOD, **change))) == expected  # type: ignore[arg-type]


def test_a_crashed_rule_denies_with_its_cause() -> None:
    bad = dataclasses.replace(GOOD, files=None)  # type: ignore[arg-type]
    result = policy.admit_bundle(bad)
    with pytest.raises(errors.PolicyDenied) as caught:
        result.require()
    assert caught.value.rule_id == "bundle.no-code-on-load" and "TypeError" in caught.value.cause


def test_no_rule_is_a_no() -> None:
    assert not rules.PolicyResult(()).allowed
    with pytest.raises(errors.PolicyDenied, match=r"policy\.empty"):
        rules.PolicyResult(()).require()


def test_rule_ids_are_unique() -> None:
    ids = [
        r
        for table in (decisions._BUDGET_RULES, decisions._APPROVAL_RULES, decisions._BUNDLE_RULES)
        for r, _ in table
    ]
    assert len(ids) == len(set(ids))


def test_require_passes_what_is_allowed() -> None:
    policy.admit_bundle(GOOD).require()
