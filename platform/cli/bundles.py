"""`mainspring bundle check`: where a bundle came from and whether it may serve. `attest`: vouch for one that does not say. `export` and `publish`: a model that runs on
devices, and the channel that they pull it from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import rich_click as click

from mainspring.platform.cli import leaving, output, session

if TYPE_CHECKING:
    from pathlib import Path

    from mainspring.core.models import bundle as bundles

__all__ = ["bundle"]


@click.group()
def bundle() -> None:
    """Signed bundles, beyond serving."""


@bundle.command("check")
@click.argument("digest")
@click.option("--environment", default="prod", show_default=True, help="Whose rules are asked.")
@session.JSON
@click.pass_context
def bundle_check(context: click.Context, digest: str, environment: str, as_json: bool) -> None:
    """Verify a bundle, and ask every rule of its deployment without deploying it. Exit code 3 if one says no."""
    from mainspring.core import settings
    from mainspring.core.supply import admission

    s = settings.load()
    gate = admission.Admission(s)
    opened, result = gate.open(digest), gate.ask(digest, environment)
    origin = opened.origin
    found = {
        "bundle": opened.digest,
        "model": opened.manifest.name,
        "project": opened.manifest.project,
        "signer": opened.signer,
        "builder": "" if origin is None else origin.builder,
        "invocation": "" if origin is None else origin.invocation,
        "materials": {} if origin is None else {m.name: dict(m.digest) for m in origin.materials},
        "scanners": [] if origin is None else list(origin.scanners),
        "environment": environment,
        "allowed": result.allowed,
        "rules": {r.rule_id: r.reason or "allowed" for r in result.rules},
    }
    output.show(found, as_json=as_json)
    if not result.allowed:
        context.exit(output.DENIED)


@bundle.command("attest")
@click.argument("digest")
@click.option(
    "--reason", required=True, help="Where it came from, and why it is believed; in its provenance for good."
)
@session.AS
@session.JSON
def bundle_attest(digest: str, reason: str, actor: str, as_json: bool) -> None:
    """Vouch for a bundle that a release without provenance wrote: signed by a trusted key, looked through, by your name."""
    from mainspring.platform.cli import attesting

    output.show(attesting.run(digest, reason, actor=actor or "developer@local"), as_json=as_json)


@bundle.command("export")
@click.argument("digest")
@click.option("--edge", "out", required=True, type=click.Path(), help="A folder that is not there yet.")
@leaving.ENVIRONMENT
@leaving.PURPOSE
@session.AS
@session.JSON
def bundle_export(digest: str, out: str, environment: str, purpose: str, actor: str, as_json: bool) -> None:
    """Write a bundle as a folder that runs by itself: `python run.py < rows.jsonl`, with NumPy alone.

    A model knows something of the rows that it learned from: outside of the project's own places the policies are asked first.
    """
    from pathlib import Path

    from mainspring.core import settings
    from mainspring.core.edge import export
    from mainspring.core.models import bundle as bundles
    from mainspring.core.models import signing

    s = settings.load()
    trust = signing.TrustedKeys.load(s.serving.trusted_keys_dir)
    opened = bundles.BundleStore(s.serving.bundle_dir).open(digest, trust)
    target = Path(out).resolve()
    _require(opened, target, environment, purpose, actor)
    made = export.export(opened, target, signing.ensure_key(s.models.signing_key))
    found = {"path": str(made.path), "release": made.digest, "bundle": opened.digest, "bytes": made.bytes}
    output.show(found, as_json=as_json)


@bundle.command("publish")
@click.argument("release", type=click.Path(exists=True, file_okay=False))
@click.option(
    "--to", "folder", required=True, type=click.Path(), help="The channel's folder, behind a web server."
)
@click.option("--channel", "name", required=True, help="The channel's name, which its devices hold on to.")
@click.option(
    "--valid-days",
    type=click.IntRange(0, 3650),
    default=0,
    show_default=True,
    help="After so long devices refuse the head unless it was published again; 0: never.",
)
@leaving.ENVIRONMENT
@leaving.PURPOSE
@session.AS
@session.JSON
def bundle_publish(
    release: str,
    folder: str,
    name: str,
    valid_days: int,
    environment: str,
    purpose: str,
    actor: str,
    as_json: bool,
) -> None:
    """Make an exported release the newest of a channel. An older one, too: that is how one is taken back. The newest again, by
    a timer, lasts `--valid-days` more."""
    import time
    from pathlib import Path

    from mainspring.core import settings
    from mainspring.core.edge import channel
    from mainspring.core.models import bundle as bundles
    from mainspring.core.models import key_files, signing

    s = settings.load()
    trust = signing.TrustedKeys.load(s.serving.trusted_keys_dir)
    key = signing.SigningKey.load(s.models.signing_key)
    before = key_files.previous(s.models.signing_key)
    expires = int(time.time()) + valid_days * 86_400 if valid_days else 0
    target = Path(folder).resolve()
    _, listing = channel.check_release(Path(release), trust)
    # What lies there has left already: a head that is signed anew takes nothing along.
    if not channel.has(target, listing):
        opened = bundles.BundleStore(s.serving.bundle_dir).open(listing["bundle"], trust)
        _require(opened, target, environment, purpose, actor)
    head = channel.publish(Path(release), target, name, key, trust, before, expires=expires)
    # What `sync.py --key` of a device wants.
    output.show({**head.model_dump(), "key": key.public_bytes.hex()}, as_json=as_json)


def _require(opened: bundles.Bundle, target: Path, environment: str, purpose: str, actor: str) -> None:
    """Errors: those of the control API where the bundle may not leave for there."""
    from mainspring.core.contracts import data_exports

    wanted = data_exports.DataExport.model_validate(
        {
            "environment": environment,
            "exit": "bundle",
            "destination": str(target),
            "purpose": purpose,
            "digest": opened.digest,
        }
    )
    leaving.require(opened.manifest.project, wanted, actor or "developer@local")
