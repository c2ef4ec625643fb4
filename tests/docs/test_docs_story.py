"""Blocks that need servers, as they stand: what is asked of a control API, and the quick start on the whole local stack."""

from __future__ import annotations

from pathlib import Path

import pytest
import stories

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1200)]


def test_what_is_asked_of_a_control_api_is_answered(tmp_path: Path) -> None:
    stories.play("control", tmp_path)
    assert (tmp_path / "audit.ndjson").stat().st_size > 0 and (tmp_path / "november.csv").exists()


def test_the_quick_start_is_as_it_says(tmp_path: Path) -> None:
    stories.play("quickstart", tmp_path)
    assert (tmp_path / "audit.ndjson").stat().st_size > 0
