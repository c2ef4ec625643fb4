"""`python tests/e2e/portal/e2e_portal_pictures.py`: takes the pictures in docs/images anew, of the world that the tests look at.

With `--journey`: those of the journey over the whole stack (`portal-journey-*.png`), which takes some minutes.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import e2e_portal_journey as journey
import e2e_portal_world as worlds
from playwright.sync_api import Page

FOLDER = worlds.ROOT / "docs" / "images"

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


#: Of the journey: what a person sees at its turns; the rest looks as the pages above do.
JOURNEY = ("trained", "approve", "canary", "promoted", "back", "on-record", "costs", "lineage")


def main(argv: list[str]) -> None:
    if argv == ["--journey"]:
        take_journey()
    else:
        take_pages()


def take_journey() -> None:
    def picture(page: Page, name: str) -> None:
        if name in JOURNEY:
            page.screenshot(path=FOLDER / f"portal-journey-{name}.png")

    with tempfile.TemporaryDirectory() as state, journey.whole(Path(state)) as found:
        with worlds.browsing() as browser:
            journey.walk(found, browser, picture)


def take_pages() -> None:
    with tempfile.TemporaryDirectory() as state, worlds.running(Path(state)) as world:
        worlds.fill(world)
        with worlds.browsing() as browser:
            for name, scheme, path, height in PICTURES:
                tab = worlds.Tab(
                    browser, world, color_scheme=scheme, viewport={"width": 1200, "height": height}
                )
                tab.sign_in("approver")
                tab.open(path.format(**world.named))
                tab.page.screenshot(path=FOLDER / f"portal-{name}.png")
                tab.context.close()


if __name__ == "__main__":
    main(sys.argv[1:])
