"""Whether a stored bundle may serve in an environment: asked when it is trained and whenever it is deployed."""

from __future__ import annotations

from mainspring.core import settings
from mainspring.core.contracts import base
from mainspring.core.models import bundle, signing
from mainspring.core.policy import rules, supply
from mainspring.core.supply import advisories, builders, gates, provenance, sbom
from mainspring.core.supply import environment as environments

__all__ = ["Admission", "facts_of"]


class Admission:
    """Asks of the store, the trust directory, rules and advisories as they are now: a key that was withdrawn a moment ago counts.
    Thread-safe."""

    def __init__(self, in_force: settings.Settings) -> None:
        self._store = bundle.BundleStore(in_force.serving.bundle_dir)
        self._trusted_keys_dir = in_force.serving.trusted_keys_dir
        self._rules, self._advisories = in_force.models.supply_rules, in_force.models.advisories_dir

    def ask(self, digest: str, environment: str) -> rules.PolicyResult:
        """Every rule's answer, also after a no: the dry run.

        Errors: those of `BundleStore.open`, which refuses what is not signed, built or scanned as it must be; InvalidSettings
        and CorruptArtifact for rules or advisories that cannot be read.
        """
        opened = self.open(digest)
        bill = _bill(opened)
        found = gates.ask(
            gates.Rules.load(self._rules),
            advisories.Feed.load(self._advisories),
            bill.packages,
            environment,
            base.utc_now(),
            bill.unnamed,
        )
        return supply.admit_supply(facts_of(opened, environment, found, bill))

    def require(self, digest: str, environment: str) -> None:
        """Errors: those of :meth:`ask`; PolicyDenied with the first rule that said no."""
        self.ask(digest, environment).require()

    def open(self, digest: str) -> bundle.Bundle:
        """Errors: those of `BundleStore.open`."""
        return self._store.open(digest, signing.TrustedKeys.load(self._trusted_keys_dir))


def _bill(opened: bundle.Bundle) -> sbom.Listed:
    if sbom.FILE not in opened.manifest.files:
        return sbom.Listed()
    return sbom.listed(opened.read(sbom.FILE), f"{opened.digest}/{sbom.FILE}")


def _bill_problem(opened: bundle.Bundle, bill: sbom.Listed) -> str:
    """The provenance names the environment by a digest of its own, so a bill that leaves one out is not what it says."""
    named = () if opened.origin is None else opened.origin.materials
    locks = [m.digest.get("sha256", "") for m in named if m.name == provenance.ENVIRONMENT]
    if not locks or locks == [environments.digest(bill.packages).removeprefix("sha256:")]:
        return ""
    return "lists other packages than the environment has that its provenance names"


def facts_of(
    opened: bundle.Bundle, environment: str, found: gates.Findings, bill: sbom.Listed
) -> supply.SupplyFacts:
    """What an opened bundle itself says, and what was found of its packages."""
    builder = builders.UNATTESTED if opened.origin is None else opened.origin.builder
    return supply.SupplyFacts(
        digest=opened.digest,
        environment=environment,
        builder=builder,
        is_governed=builder in builders.GOVERNED,
        has_bill=sbom.FILE in opened.manifest.files,
        bill_problem=_bill_problem(opened, bill),
        denied_packages=found.packages,
        unlisted_packages=found.unlisted,
        needs_bill=found.needs_bill,
        denied_licences=found.licences,
        vulnerabilities=found.vulnerabilities,
        feed_problem=found.feed,
    )
