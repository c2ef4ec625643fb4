"""What every command shares: its options, and a client of the control API for the actor it acts as."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import rich_click as click

if TYPE_CHECKING:
    from mainspring.core.client import control as control_client

__all__ = ["AS", "DRY_RUN", "JSON", "client"]

JSON: Final = click.option("--json", "as_json", is_flag=True, help="A versioned JSON document on stdout.")
AS: Final = click.option(
    "--as", "actor", default="", help="Act as this embedded actor, such as `approver@local`."
)
DRY_RUN: Final = click.option("--dry-run", is_flag=True, help="Say what it would change, and change nothing.")


def client(actor: str) -> control_client.ControlClient:
    """Errors: MissingTool without tokens, NotFound for an actor that has none."""
    from mainspring.core import identity, settings
    from mainspring.core.client import control as control_client

    s = settings.load()
    issuer = identity.TokenIssuer.load(s.control.tokens_file)
    return control_client.ControlClient(s.control_url, issuer.token_of(actor))
