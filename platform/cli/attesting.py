"""What `mainspring bundle attest` does: on record before anything is signed, and after."""

from __future__ import annotations

from typing import Any, Final

from mainspring.core import errors, settings
from mainspring.core.contracts import base
from mainspring.core.lineage import jobs
from mainspring.core.models import bundle, signing
from mainspring.core.supply import builders, provenance
from mainspring.platform.cli import importing, session

__all__ = ["run"]

BUILD_TYPE: Final = "urn:mainspring:build:attest"


def run(digest: str, reason: str, *, actor: str) -> dict[str, Any]:
    """Errors: InvalidRequest without a reason; those of `BundleStore.attest`; Denied kinds of the control API before anything is written."""
    if len(reason.split()) < 3:
        raise errors.InvalidRequest(
            f"reason `{reason}` tells nobody why this bundle is believed; say where it came from",
            field="reason",
        )
    s = settings.load()
    store, trust = (
        bundle.BundleStore(s.serving.bundle_dir),
        signing.TrustedKeys.load(s.serving.trusted_keys_dir),
    )
    found = store.open(digest, trust, even_withdrawn=True)
    key = signing.SigningKey.load(s.models.signing_key)
    # The same bundle is the same job, as often as it is asked for.
    job = jobs.JobRun(
        found.manifest.project, "bundle.attest", f"attest-{digest.removeprefix('sha256:')[:32]}"
    )
    model = jobs.Dataset("model", digest, "model")
    at = base.utc_now()
    build = provenance.Build(
        builder=builders.ATTESTED,
        build_type=BUILD_TYPE,
        version=importing.version(),
        invocation=job.run_id,
        parameters={"attested_by": actor, "reason": reason, "signer": found.signer},
        started_at=at,
        finished_at=at,
    )
    with session.client(actor) as client:
        # The policies are asked by it, and it is on record that somebody begins.
        client.record_lineage(importing.event(job, "START", model))
        attested = store.attest(digest, key, trust, build)
        client.record_lineage(importing.event(job, "COMPLETE", model, model))
    origin = attested.origin
    assert origin is not None
    return {
        "bundle": digest,
        "model": attested.manifest.name,
        "project": attested.manifest.project,
        "builder": origin.builder,
        "attested_by": origin.parameters["attested_by"],
        "reason": origin.parameters["reason"],
    }
