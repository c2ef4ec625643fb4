"""Posts an alert to a webhook: signed, and nowhere inside.

A project says where its alerts go, and the control API stands where the project may not look: so a name is resolved once, every
address it has must be a public one, and the post goes to the very address that was looked at. Redirects are not followed.
The signature is of the time and the body, so that a post that somebody kept is not taken for a new one:

    X-Mainspring-Signature: t=<seconds>,v1=<hex of HMAC-SHA256(key, "<seconds>.<body>")>
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import secrets
import socket
import time
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx

from mainspring.core import durable, errors

__all__ = ["SIGNATURE", "load_key", "post", "sign", "verify"]

SIGNATURE: Final = "X-Mainspring-Signature"
_KEY_BYTES: Final = 32
#: Leads to any IPv4 address, private ones too.
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


def load_key(path: Path) -> bytes:
    """The signing key, made on first use. Errors: Misconfigured for a file that is none or that others may read."""
    durable.ensure_secret(path, lambda: secrets.token_hex(_KEY_BYTES).encode())
    if path.stat().st_mode & 0o077:
        raise errors.Misconfigured(f"`{path}` may be read by others; run `chmod 600 {path}`")
    try:
        key = bytes.fromhex(path.read_text().strip())
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise errors.Misconfigured(
            f"`{path}` is no key of {_KEY_BYTES} bytes in hex; remove it, and one is made"
        )
    return key


def sign(key: bytes, body: bytes, *, at: int) -> str:
    mark = hmac.new(key, str(at).encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={mark}"


def verify(key: bytes, body: bytes, signature: str, *, now: int, tolerance_seconds: int = 300) -> bool:
    """For a receiver: is the post ours, and of now."""
    parts = dict(part.partition("=")[::2] for part in signature.split(","))
    try:
        at = int(parts.get("t", ""))
    except ValueError:
        return False
    return abs(now - at) <= tolerance_seconds and hmac.compare_digest(sign(key, body, at=at), signature)


async def post(
    url: str, body: bytes, *, key: bytes, delivery_id: str, timeout_seconds: float, allow_private: bool
) -> None:
    """Send it once.

    Errors: PermissionDenied for an address that alerts may not go to; DependencyDown where nothing answers, or not with success.
    """
    parts = urlsplit(url)
    host, is_tls = parts.hostname or "", parts.scheme == "https"
    if not is_tls and not allow_private:
        raise errors.PermissionDenied(
            f"`{host}` is told by plain http; use https, or set `monitor.allow_private_webhooks`",
            action="alert.deliver",
        )
    port = parts.port or (443 if is_tls else 80)
    address = await _address(host, port, allow_private)
    shown = f"[{address}]" if ":" in address else address
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {
        "Host": host if parts.port is None else f"{host}:{port}",
        "Content-Type": "application/json",
        "Idempotency-Key": delivery_id,
        SIGNATURE: sign(key, body, at=int(time.time())),
    }
    try:
        # Proxies of the environment are not asked: they would look the name up again.
        async with (
            httpx.AsyncClient(timeout=timeout_seconds, trust_env=False) as client,
            asyncio.timeout(timeout_seconds),
            client.stream(
                "POST",
                f"{parts.scheme}://{shown}:{port}{path}",
                content=body,
                headers=headers,
                extensions={"sni_hostname": host} if is_tls else {},
            ) as answer,
        ):
            status = answer.status_code
    except (httpx.HTTPError, TimeoutError) as error:
        raise errors.DependencyDown(
            f"webhook at `{host}` does not answer: {error!r}; it is tried again", name=host
        ) from error
    if not 200 <= status < 300:
        raise errors.DependencyDown(f"webhook at `{host}` answered {status}; it is tried again", name=host)


async def _address(host: str, port: int, allow_private: bool) -> str:
    """The one address to connect to. Errors: PermissionDenied if any of the name's is not public; DependencyDown."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise errors.DependencyDown(
            f"webhook host `{host}` has no address: {error}; it is tried again", name=host
        ) from error
    addresses = [str(entry[4][0]) for entry in found]
    inside = [a for a in addresses if not _is_public(a)]
    if inside and not allow_private:
        raise errors.PermissionDenied(
            f"webhook host `{host}` is `{inside[0]}`, which is no public address; alerts go there only with"
            " `monitor.allow_private_webhooks`",
            action="alert.deliver",
        )
    return addresses[0]


def _is_public(address: str) -> bool:
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip in _NAT64:
            return False
        # What carries an IPv4 address leads to that one.
        ip = ip.ipv4_mapped or ip.sixtofour or ip
    return ip.is_global and not ip.is_multicast
