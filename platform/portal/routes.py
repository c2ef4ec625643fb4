"""`/portal`: the pages and what they must know before anybody is signed in. Nothing of the platform's state is here."""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, HeaderParameter
from litestar.response import Redirect

from mainspring.core import errors
from mainspring.core.monitoring import pages as report_pages
from mainspring.platform.portal import bundle, config

_NOT_BUILT: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Mainspring portal: not built</title>
<body><main><h1>The portal is not built here</h1>
<p>Its pages are made of TypeScript, which needs node 20.19 or newer with npm. In a checkout run</p>
<pre>tools/portal.sh</pre>
<p>and load this page again: the control API need not be started anew. A wheel of a release has the pages in it. All that
they show can be asked with the command line, too: <code>mainspring --help</code>; the API is described at
<a href="/schema">/schema</a>.</p></main></body></html>
"""

#: Of every answer below `/portal`.
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


#: Shows what the page around it sends it, once. What stands in a page's own `srcdoc` has the page's policy, which lets in no script but ours;
#: this one has a policy of its own, and is at an origin of nobody's: it sees neither the session nor this API.
_FRAME: Final = b"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Report</title>
<script>
addEventListener('message', (sent) => {
  if (sent.source !== parent || typeof sent.data !== 'string') return;
  document.open();
  document.write(sent.data);
  document.close();
});
</script></html>
"""


def content_policy(nonce: str, issuer: str) -> str:
    """What the page may load and ask: its own files and this API, style elements of ours, and the OpenID provider."""
    where = urlsplit(issuer)
    provider = f" {where.scheme}://{where.netloc}" if where.netloc else ""
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            f"style-src 'self' 'nonce-{nonce}'",
            "img-src 'self' data:",
            "font-src 'self'",
            f"connect-src 'self'{provider}",
            "frame-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


@get("/", include_in_schema=False)
async def to_portal() -> Redirect:
    """Whoever opens the control API in a browser gets its pages."""
    return Redirect("/portal/")


@get("/portal/config.json", include_in_schema=False)
async def portal_config(
    portal: NamedDependency[config.PortalConfig],
) -> Response[config.PortalConfig]:
    """How to sign in."""
    return Response(portal, headers={**_HEADERS, "Cache-Control": "no-cache"})


@get("/portal/assets/{name:str}", include_in_schema=False)
async def portal_asset(
    pages: NamedDependency[config.Pages],
    name: FromPath[str],
    accept_encoding: Annotated[str, HeaderParameter(name="Accept-Encoding")] = "",
) -> Response[bytes]:
    """A script or a style; its name changes with its content, so it is kept for ever."""
    found = pages.current().files.get(f"assets/{name}")
    if found is None:
        raise errors.NotFound(
            f"the portal has no file `{name}`; it was built anew since the page was loaded: load it again",
            resource="file",
            name=name,
        )
    headers = {**_HEADERS, "Cache-Control": "public, max-age=31536000, immutable"}
    return _file(found, headers, accept_encoding)


@get("/portal/frame", include_in_schema=False)
async def portal_frame() -> Response[bytes]:
    """Where a page of others is shown, shut in."""
    policy = f"sandbox allow-scripts; frame-ancestors 'self'; {report_pages.POLICY}"
    headers = {**_HEADERS, "Content-Security-Policy": policy, "Cache-Control": "max-age=3600"}
    return Response(_FRAME, headers=headers, media_type="text/html")


@get(["/portal", "/portal/{path:path}"], include_in_schema=False)
async def portal_page(
    request: Request[Any, Any, Any],
    pages: NamedDependency[config.Pages],
    portal: NamedDependency[config.PortalConfig],
) -> Response[bytes]:
    """The page, at every address: its own code knows which one is meant."""
    found = pages.current()
    name = request.url.path.removeprefix("/portal").strip("/")
    if name in found.files and name != "index.html":
        return _file(found.files[name], {**_HEADERS, "Cache-Control": "max-age=3600"}, "")
    nonce = secrets.token_urlsafe(18)
    headers = {
        **_HEADERS,
        "Content-Security-Policy": content_policy(nonce, portal.issuer),
        "Cache-Control": "no-store",
    }
    if not found.is_built:
        return Response(_NOT_BUILT.encode(), status_code=503, headers=headers, media_type="text/html")
    page = found.files["index.html"]
    text = page.content.replace(bundle.NONCE.encode(), nonce.encode())
    return Response(text, headers=headers, media_type=page.media_type)


def _file(found: bundle.File, headers: dict[str, str], accept_encoding: str) -> Response[bytes]:
    packs = "gzip" in accept_encoding and found.media_type.startswith(("text/", "image/svg"))
    if packs:
        headers = {**headers, "Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
    return Response(found.packed if packs else found.content, headers=headers, media_type=found.media_type)


HANDLERS = (to_portal, portal_config, portal_asset, portal_frame, portal_page)
