"""What a bundle must show of where it came from before it may serve: rules over plain facts, as strict as the environment.

Signature, provenance of a believed builder and the scan come before: `BundleStore.open` refuses without them, everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mainspring.core.policy.rules import PolicyResult, Rule, ask

#: Where a bundle needs a process behind it, and a bill of materials.
GOVERNED_ENVIRONMENTS: Final = ("staging", "prod")
_SHOWN: Final = 5


@dataclass(frozen=True)
class SupplyFacts:
    """What the signed bundle says, beside what is known of its packages today."""

    digest: str
    environment: str
    builder: str
    is_governed: bool
    """Its builder is a process with gates and a record, and not a program with the key at hand."""
    has_bill: bool
    """It lists what it was made with."""
    denied_packages: tuple[str, ...] = ()
    """Of that list, what may not be here: each with its version and why."""
    unlisted_packages: tuple[str, ...] = ()
    """Of that list, what is not among the packages that may be here, where somebody wrote down which may."""
    needs_bill: bool = False
    """Somebody did."""
    bill_problem: str = ""
    """What that list and the provenance say otherwise; empty: nothing."""
    denied_licences: tuple[str, ...] = ()
    vulnerabilities: tuple[str, ...] = ()
    feed_problem: str = ""
    """Why the advisories that were asked are not enough; empty: they are."""


def admit_supply(facts: SupplyFacts) -> PolicyResult:
    """May a bundle that came about like this serve in its environment?"""
    return ask(_RULES, facts)


def _builder(facts: SupplyFacts) -> str:
    if facts.environment not in GOVERNED_ENVIRONMENTS or facts.is_governed:
        return ""
    return (
        f"bundle `{facts.digest}` was built by `{facts.builder}`, and `{facts.environment}` takes what a process of the platform"
        " built; train it, or import it by `mainspring model import`"
    )


def _bill(facts: SupplyFacts) -> str:
    if facts.bill_problem:
        return f"the bill of materials of bundle `{facts.digest}` {facts.bill_problem}; build it anew"
    if facts.environment not in GOVERNED_ENVIRONMENTS or facts.has_bill:
        return ""
    return f"bundle `{facts.digest}` has no bill of materials, so nobody can ask what is in it; build it anew"


def _packages(facts: SupplyFacts) -> str:
    return _listed("packages that are denied here", facts.denied_packages, "leave them out")


def _allowed(facts: SupplyFacts) -> str:
    if facts.needs_bill and not facts.has_bill:
        return (
            f"only listed packages may be in `{facts.environment}`, and bundle `{facts.digest}` has no bill of materials that says which"
            " it was made with; build it anew"
        )
    return _listed(
        "packages that are not on the list of allowed ones",
        facts.unlisted_packages,
        "leave them out, or have them added to `allow` under `[packages]` of the supply rules",
    )


def _licences(facts: SupplyFacts) -> str:
    return _listed(
        "packages under licences that are denied here",
        facts.denied_licences,
        "leave them out, or have an exception written down with its reason",
    )


def _vulnerabilities(facts: SupplyFacts) -> str:
    return _listed(
        "packages with known vulnerabilities",
        facts.vulnerabilities,
        "update them and train again, or have somebody accept the risk for a time",
    )


def _feed(facts: SupplyFacts) -> str:
    if not facts.feed_problem:
        return ""
    return f"the advisories cannot say what is in it: {facts.feed_problem}; bring a newer feed"


def _listed(what: str, found: tuple[str, ...], then: str) -> str:
    if not found:
        return ""
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"it was made with {what}: {'; '.join(found[:_SHOWN])}{more}; {then}"


_RULES: Final[tuple[Rule[SupplyFacts], ...]] = (
    ("supply.builder", _builder),
    ("supply.bill", _bill),
    ("supply.packages", _packages),
    ("supply.allowed", _allowed),
    ("supply.licences", _licences),
    ("supply.feed", _feed),
    ("supply.vulnerabilities", _vulnerabilities),
)
