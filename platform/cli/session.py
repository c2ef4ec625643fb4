"""What every command shares: its options, and a client of the control API for the actor it acts as.

Whose token is shown, of the first that there is: `--token-file`; `--as`, an embedded actor's; `control.token_file`; who signed in at
this control API with `mainspring login`; the embedded actor that a command names by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import rich_click as click

if TYPE_CHECKING:
    from mainspring.core import bearer, settings
    from mainspring.core.client import control as control_client
    from mainspring.core.client import serving as serving_client

__all__ = [
    "AS",
    "DRY_RUN",
    "JSON",
    "TOKEN_FILE",
    "Shown",
    "anonymous",
    "client",
    "login_file",
    "serving",
    "shown",
]

_NAMED: Final = "mainspring.as"


def _named(ctx: click.Context, _: click.Parameter, value: str) -> str:
    """A name that somebody wrote, told apart from the one that a command has for itself."""
    ctx.meta[_NAMED] = value
    return value


JSON: Final = click.option("--json", "as_json", is_flag=True, help="A versioned JSON document on stdout.")
AS: Final = click.option(
    "--as",
    "actor",
    default="",
    callback=_named,
    help="Act as this embedded actor, such as `approver@local`.",
)
DRY_RUN: Final = click.option("--dry-run", is_flag=True, help="Say what it would change, and change nothing.")


TOKEN_FILE: Final = click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A bearer token of the OpenID provider, read anew for each look: whatever renews it writes there.",
)


@dataclass(frozen=True)
class Shown:
    """The token that is shown, and where it is from."""

    token: bearer.Token = field(repr=False)
    origin: str
    expires_at: Callable[[], float | None] = lambda: None


def client(actor: str, token_file: Path | None = None) -> control_client.ControlClient:
    """Errors: those of :func:`shown`."""
    from mainspring.core import settings
    from mainspring.core.client import control as control_client

    s = settings.load()
    return control_client.ControlClient(s.control_url, shown(s, actor, token_file).token)


def serving(actor: str) -> serving_client.ServingClient:
    """Serving, asked with the token that the control API is asked with. Errors: those of :func:`shown`."""
    from mainspring.core import settings
    from mainspring.core.client import serving as serving_client

    s = settings.load()
    return serving_client.ServingClient(s.serving_url, token=shown(s, actor).token)


def shown(s: settings.Settings, actor: str, token_file: Path | None = None) -> Shown:
    """Errors: MissingTool, NotFound for no embedded actor of that name; InvalidSettings for a file without a token; Misconfigured
    for a sign-in that cannot be used.
    """
    from mainspring.core import identity

    context = click.get_current_context(silent=True)
    is_named = context is None or bool(context.meta.get(_NAMED))
    if token_file is not None:
        return _of_file(token_file)
    if not is_named and s.control.token_file:
        return _of_file(Path(s.control.token_file))
    if not is_named and (found := _signed_in(s)) is not None:
        return found
    issuer = identity.TokenIssuer.load(s.control.tokens_file)
    return Shown(issuer.token_of(actor), f"embedded issuer, `{actor}`")


def login_file(s: settings.Settings) -> Path:
    """Where a sign-in at this control API is kept: with the user's own configuration."""
    from mainspring.platform.login import saved

    return saved.path_of(Path(click.get_app_dir("mainspring")) / "logins", s.control_url)


def _signed_in(s: settings.Settings) -> Shown | None:
    path = login_file(s)
    if not path.exists():
        return None
    from mainspring.platform.login import saved

    found = saved.load(path, s.control_url)
    if found is None:
        return None
    credential = saved.Credential(path, found)
    return Shown(credential, f"signed in at `{found.issuer}`", lambda: credential.expires_at)


def _of_file(path: Path) -> Shown:
    def token() -> str:
        from mainspring.core import errors

        try:
            text = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            text = ""
        if not text or not text.isascii() or len(text.split()) != 1:
            raise errors.InvalidSettings(
                f"`{path.name}` holds no bearer token; write one there, and nothing else",
                problems=("token-file",),
            )
        return text

    token()  # what is wrong with it is said before anything is asked
    return Shown(token, f"token file `{path}`")


def anonymous() -> control_client.ControlClient:
    """For who comes for a token, and has none."""
    from mainspring.core import settings
    from mainspring.core.client import control as control_client

    return control_client.ControlClient(settings.load().control_url, "")
