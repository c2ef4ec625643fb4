"""The pages that checks leave, in a folder, each named by its digest: written once, and read only if it is what was written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from mainspring.core import canonical, durable, errors

__all__ = ["POLICY", "leave", "read"]

#: What a page may do wherever it is opened: run its own scripts, and nothing of anybody else's. It fetches and sends nothing.
POLICY: Final = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline';"
    " img-src data: blob:; font-src data:; form-action 'none'; base-uri 'none'"
)
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


def leave(folder: Path, page: str) -> str:
    """Put a page where its digest names it, whole or not at all; the same one is kept once. Answers the digest."""
    digest = canonical.digest_bytes(page.encode())
    path = _path(folder, digest)
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)  # its rows are samples of what people sent
        durable.replace_file(path, page)
    return digest


def read(folder: Path, digest: str) -> bytes:
    """Errors: NotFound where the folder has it not; CorruptArtifact if it is not what was left."""
    try:
        page = _path(folder, digest).read_bytes()
    except FileNotFoundError:
        raise errors.NotFound(
            f"page `{digest}` is not kept here; it lies under `monitor.reports_dir` of the worker that made the check, or was"
            " cleared away: run the check again",
            resource="report page",
            name=digest,
        ) from None
    got = canonical.digest_bytes(page)
    if got != digest:
        raise errors.CorruptArtifact(
            f"page `{digest}` was changed after it was left; do not open it, and run the check again",
            artifact="report page",
            expected=digest,
            got=got,
        )
    return page


def _path(folder: Path, digest: str) -> Path:
    if not _DIGEST.fullmatch(digest):
        raise errors.InvalidRequest(f"`{digest}` is no digest of a page", field="html_digest")
    return folder / f"{digest.removeprefix('sha256:')}.html"
