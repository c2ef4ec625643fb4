"""What somebody has to hear of at once is posted to `control.alert_url`. Who sends it keeps on record that it was taken, and sends it again until then."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

import httpx

from mainspring.core import errors, oidc, secrets
from mainspring.platform import plane as control_plane

__all__ = ["post"]

_LOG: Final = logging.getLogger(__name__)

_TIMEOUT_SECONDS: Final = 3.0


async def post(plane: control_plane.ControlPlane, body: Mapping[str, Any], about: str) -> bool:
    """Was it taken? Never raises; without an address it never is."""
    url = plane.control.alert_url
    if not url:
        return False
    try:
        if secrets.is_place(url):
            url = (await asyncio.to_thread(plane.secrets.read, url)).reveal()
            oidc.require_safe(url)
    except (errors.MainspringError, ValueError) as error:
        # An address that is none is in the message of what found that out, and is a secret.
        why = error.message if isinstance(error, errors.MainspringError) else "it is no https address"
        _LOG.error(
            "the alarm about %s was not delivered and is sent again: `control.alert_url`: %s", about, why
        )
        return False
    try:
        # Proxies of the environment are not asked, and nobody sends it elsewhere: redirects are not followed.
        async with httpx.AsyncClient(timeout=_TIMEOUT_SECONDS, trust_env=False) as client:
            answer = await client.post(url, json=body)
    except httpx.HTTPError as error:
        _LOG.error("the alarm about %s was not delivered and is sent again: %s", about, type(error).__name__)
        return False
    if not answer.is_success:
        _LOG.error("the alarm about %s was answered %d and is sent again", about, answer.status_code)
        return False
    return True
