"""Bootstrap, train, approve, canary, promote and roll back, by the portal's pages over the whole real stack."""

from __future__ import annotations

from pathlib import Path

import e2e_portal_journey as journey
import e2e_portal_world as worlds
import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.soak, pytest.mark.timeout(900)]


def test_a_project_goes_from_a_template_into_service_and_back(tmp_path: Path) -> None:
    worlds.require_parts()
    with journey.whole(tmp_path) as found, worlds.browsing() as browser:
        journey.walk(found, browser)
