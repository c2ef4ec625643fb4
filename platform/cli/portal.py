"""`mainspring portal`: where the web pages are."""

from __future__ import annotations

import rich_click as click

from mainspring.platform.cli import output, session

__all__ = ["portal"]


@click.command()
@session.JSON
def portal(as_json: bool) -> None:
    """The address of the web pages, and how to sign in there."""
    import httpx

    from mainspring.core import errors, settings

    s = settings.load()
    url = f"{s.control_url}/portal/"
    try:
        answer = httpx.get(url, timeout=5, trust_env=False)
    except httpx.HTTPError as error:
        raise errors.DependencyDown(
            f"no control API at `{s.control_url}`; start it with `mainspring up`", name="control"
        ) from error
    if answer.status_code == 503:
        raise errors.MissingTool(
            "the pages are not built in this checkout; run `tools/portal.sh`, which needs npm",
            tool="npm",
            fix="tools/portal.sh",
        )
    by_provider = bool(s.identity.issuer and s.identity.portal_client_id)
    found = {
        "url": url,
        "sign_in": s.identity.issuer if by_provider else "a development token",
        "tokens_file": str(s.control.tokens_file) if s.identity.embedded or not s.identity.issuer else "",
    }
    output.show(found, as_json=as_json)
