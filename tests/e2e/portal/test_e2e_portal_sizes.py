"""What the first page of the portal costs a browser to fetch."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import e2e_portal_world as worlds
import pytest

from mainspring.platform.portal import bundle

pytestmark = pytest.mark.e2e

LIMIT_BYTES = 400_000


def first_load(found: bundle.Bundle) -> dict[str, int]:
    """By file, the bytes that cross the wire before the first page stands: what `index.html` names, and what that imports."""
    named = re.findall(r'(?:src|href)="/portal/([^"]+)"', found.files["index.html"].content.decode())
    seen: set[str] = set()
    while named:
        name = named.pop()
        if name in seen:
            continue
        seen.add(name)
        if name.endswith(".js"):
            text = found.files[name].content.decode()
            named += [f"assets/{other}" for other in re.findall(r'(?:from|import)\s*"\./([^"]+)"', text)]
    return {name: len(found.files[name].packed) for name in seen}


def test_the_first_load_is_small() -> None:
    worlds.require_parts()
    found = bundle.Bundle.load()
    sizes = first_load(found)
    assert len(sizes) >= 3 and any(name.endswith(".css") for name in sizes)
    assert 50_000 < sum(sizes.values()) < LIMIT_BYTES, sizes
    # Charts and sign-in come when they are used.
    assert not any(word in name for name in sizes for word in ("Series", "oidc"))


def test_nothing_is_fetched_from_elsewhere() -> None:
    worlds.require_parts()
    for name, file in bundle.Bundle.load().files.items():
        if name.endswith((".html", ".css")):
            assert (
                re.findall(rb"""(?:src|href|url\()\s*=?\s*["']?(?:https?:)?//[^"')]+""", file.content) == []
            ), name


def test_the_sum_follows_imports(tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text('<script src="/portal/assets/a.js"></script>')
    (tmp_path / "assets" / "a.js").write_text('import{x}from"./b.js";import("./late.js")')
    (tmp_path / "assets" / "b.js").write_text("export const x = 1")
    (tmp_path / "assets" / "late.js").write_text("export const y = 1")
    sizes = first_load(bundle.Bundle.load(tmp_path))
    assert set(sizes) == {"assets/a.js", "assets/b.js"}
    assert sizes["assets/b.js"] == len(gzip.compress(b"export const x = 1", 9, mtime=0))
