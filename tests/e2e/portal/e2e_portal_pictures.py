"""`python tests/e2e/portal/e2e_portal_pictures.py`: takes the pictures in docs/images anew, of the world that the tests look at."""

from __future__ import annotations

import tempfile
from pathlib import Path

import e2e_portal_world as worlds

#: Name, colour scheme, address, and how much of the page.
PICTURES = (
    ("home", "light", "/", 640),
    ("approvals", "dark", "/approvals", 760),
    ("project", "light", "/projects/new?template=classification", 860),
    ("new-run", "dark", "/runs/new?project=flight-delay&kind=score", 900),
    ("run", "light", "/runs/{waiting}", 900),
    ("pipeline", "dark", "/runs/{piped}?step=publish", 760),
    ("endpoint", "light", f"/endpoints/{worlds.ENDPOINT}", 720),
    ("monitoring", "light", "/monitoring/{report}", 720),
)


def main() -> None:
    folder = worlds.ROOT / "docs" / "images"
    with tempfile.TemporaryDirectory() as state, worlds.running(Path(state)) as world:
        worlds.fill(world)
        with worlds.browsing() as browser:
            for name, scheme, path, height in PICTURES:
                tab = worlds.Tab(
                    browser, world, color_scheme=scheme, viewport={"width": 1200, "height": height}
                )
                tab.sign_in("approver")
                tab.open(path.format(**world.named))
                tab.page.screenshot(path=folder / f"portal-{name}.png")
                tab.context.close()


if __name__ == "__main__":
    main()
