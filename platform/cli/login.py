"""`mainspring login`, `logout`, `whoami`: sign in as a person at the OpenID provider of the control API."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import rich_click as click

from mainspring.platform.cli import output, session

if TYPE_CHECKING:
    from mainspring.core.contracts import control

__all__ = ["login", "logout", "whoami"]


@click.command()
@click.option("--issuer", default="", help="Refuse any other OpenID provider, whatever the control API says.")
@click.option(
    "--no-browser", is_flag=True, help="This machine has none: print a code to be typed into one elsewhere."
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="The browser comes back here; for a provider that wants to know which.",
)
@click.option(
    "--wait",
    "seconds",
    type=click.FloatRange(min=1),
    default=300.0,
    show_default=True,
    help="Seconds for the browser.",
)
@session.JSON
def login(issuer: str, no_browser: bool, port: int | None, seconds: float, as_json: bool) -> None:
    """Sign in at the OpenID provider of the control API. What is given is kept for you alone, and renewed by itself."""
    import webbrowser

    from mainspring.core import errors, settings
    from mainspring.core.client import control as control_client
    from mainspring.platform.login import provider, saved, signing_in

    s = settings.load()
    asking = provider.discover_client(s.control_url)
    if issuer and asking.issuer != issuer:
        raise errors.InvalidSettings(
            f"`{s.control_url}` wants a sign-in at `{asking.issuer}`, not at `{issuer}`; ask its operator which is right",
            problems=("identity.issuer",),
        )
    at = provider.Provider(asking)
    if no_browser:
        tokens = signing_in.by_device(at, tell=output.note)
    else:
        tokens = signing_in.by_browser(
            at, open_browser=webbrowser.open, tell=output.note, port=port or 0, seconds=seconds
        )
    # What the control API does not take is not kept.
    with control_client.ControlClient(s.control_url, tokens.access) as client:
        me = client.me()
    path = session.login_file(s)
    with saved.held(path):
        saved.save(path, saved.Saved.of(s.control_url, asking, tokens))
    told = {"control_url": s.control_url, "renews": bool(tokens.refresh)}
    output.show({**_told(me, f"signed in at `{asking.issuer}`", tokens.expires_at), **told}, as_json=as_json)


@click.command()
@session.JSON
def logout(as_json: bool) -> None:
    """End the sign-in at this control API: here, and at the provider, which is told."""
    from mainspring.core import errors, settings
    from mainspring.platform.login import provider, saved

    s = settings.load()
    path = session.login_file(s)
    was_signed_in = is_revoked = False
    why = ""
    if path.exists():
        with saved.held(path):
            found = saved.load(path, s.control_url)
            was_signed_in = saved.remove(path)
        if found is not None and found.refresh_token:
            try:
                is_revoked = provider.Provider(found.client).revoke(found.refresh_token)
                why = "" if is_revoked else "it takes no such word"
            except (errors.DependencyDown, errors.InvalidSettings, errors.Denied) as error:
                why = error.message
    if why:
        output.note(f"the provider was not told, and the sign-in may count there until it expires: {why}")
    told = {"control_url": s.control_url, "signed_out": was_signed_in, "revoked": is_revoked}
    output.show(told, as_json=as_json)


@click.command()
@session.AS
@session.JSON
def whoami(actor: str, as_json: bool) -> None:
    """Whose token is used, where it is from, and which roles it has, by project and environment."""
    from mainspring.core import settings

    chosen = actor or "developer@local"
    with session.client(chosen) as client:
        me = client.me()
    shown = session.shown(settings.load(), chosen)  # after it was renewed
    output.show(_told(me, shown.origin, shown.expires_at()), as_json=as_json)


def _told(me: control.SessionView, origin: str, expires_at: float | None) -> dict[str, Any]:
    ends = "" if expires_at is None else datetime.fromtimestamp(expires_at, UTC).isoformat(timespec="seconds")
    return {**me.model_dump(mode="json"), "credential": origin, "expires_at": ends}
