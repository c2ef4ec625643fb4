"""`mainspring release`: is what was fetched what was released. It asks no server."""

from __future__ import annotations

import rich_click as click

from mainspring.platform.cli import output, session

__all__ = ["release"]


@click.group()
def release() -> None:
    """Releases: signed folders that teams install from."""


@release.command("verify")
@click.argument("folder", type=click.Path(exists=True, file_okay=False))
@click.option(
    "--trusted",
    type=click.Path(exists=True, file_okay=False),
    required=True,
    help="A folder with the public keys (`*.pub.pem`) of who releases, fetched apart from the release.",
)
@session.JSON
def release_verify(folder: str, trusted: str, as_json: bool) -> None:
    """Every file of FOLDER is what its signed statement says, and there is no other."""
    from pathlib import Path

    from mainspring.core.models import signing
    from mainspring.core.supply import release as releases

    found = releases.verify(Path(folder), signing.TrustedKeys.load(Path(trusted)))
    output.show(
        {
            "version": found.version,
            "commit": found.commit,
            "signer": found.signer,
            "files": sorted(found.files),
        },
        as_json=as_json,
    )
