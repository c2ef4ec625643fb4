"""Requests that a person who runs a bucket makes, and our code never does: locks, versions, deletions. Signed by AWS's version 4."""

from __future__ import annotations

import hashlib
import hmac
import urllib.parse
from datetime import UTC, datetime
from typing import Final

import httpx

_REGION: Final = "us-east-1"
_LOCK: Final = (
    "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>"
    "<Mode>{}</Mode><Days>{}</Days></DefaultRetention></Rule></ObjectLockConfiguration>"
)


def call(
    endpoint: str, method: str, path: str, query: str = "", body: bytes = b"", **headers: str
) -> httpx.Response:
    """As the owner of the store. `query` is `name=value&...`, as it is signed: in order, values quoted."""
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.sha256(body).hexdigest()
    host = urllib.parse.urlsplit(endpoint).netloc
    sent = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": now}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    names = ";".join(sorted(sent))
    asked = "\n".join((method, path, query, "".join(f"{n}:{sent[n]}\n" for n in sorted(sent)), names, digest))
    scope = f"{now[:8]}/{_REGION}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(asked.encode()).hexdigest()}"
    key = b"AWS4owner-secret"
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    sent["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential=owner/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    url = f"{endpoint}{path}" + (f"?{query}" if query else "")
    return httpx.request(method, url, headers=sent, content=body, trust_env=False, timeout=30)


def locked_bucket(endpoint: str, name: str, mode: str = "COMPLIANCE", days: int = 1) -> None:
    """A bucket whose objects are kept for so long, each version of them, whoever asks."""
    made = call(endpoint, "PUT", f"/{name}", x_amz_bucket_object_lock_enabled="true")
    assert made.is_success, made.text
    ruled = call(endpoint, "PUT", f"/{name}", "object-lock=", _LOCK.format(mode, days).encode())
    assert ruled.is_success, ruled.text
