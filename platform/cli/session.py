"""What every command shares: its options, and a client of the control API for the actor it acts as."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import rich_click as click

if TYPE_CHECKING:
    from mainspring.core.client import control as control_client

__all__ = ["AS", "DRY_RUN", "JSON", "TOKEN_FILE", "anonymous", "client"]

JSON: Final = click.option("--json", "as_json", is_flag=True, help="A versioned JSON document on stdout.")
AS: Final = click.option(
    "--as", "actor", default="", help="Act as this embedded actor, such as `approver@local`."
)
DRY_RUN: Final = click.option("--dry-run", is_flag=True, help="Say what it would change, and change nothing.")


TOKEN_FILE: Final = click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A bearer token of the OpenID provider, read anew for each look: whatever renews it writes there.",
)


def client(actor: str, token_file: Path | None = None) -> control_client.ControlClient:
    """For the token of a file, or else an embedded actor's. Errors: MissingTool, NotFound, InvalidSettings without one."""
    from mainspring.core import errors, identity, settings
    from mainspring.core.client import control as control_client

    s = settings.load()
    if token_file is not None:
        token = token_file.read_text(encoding="utf-8").strip()
        if not token or not token.isascii() or len(token.split()) != 1:
            raise errors.InvalidSettings(
                f"`{token_file.name}` holds no bearer token; write one there, and nothing else",
                problems=("token-file",),
            )
        return control_client.ControlClient(s.control_url, token)
    issuer = identity.TokenIssuer.load(s.control.tokens_file)
    return control_client.ControlClient(s.control_url, issuer.token_of(actor))


def anonymous() -> control_client.ControlClient:
    """For who comes for a token, and has none."""
    from mainspring.core import settings
    from mainspring.core.client import control as control_client

    return control_client.ControlClient(settings.load().control_url, "")
