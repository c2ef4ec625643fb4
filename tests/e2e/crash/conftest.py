"""`--every-point`: the whole harness, whose reports are stored; without it a short selection."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--every-point", action="store_true", help="kill every victim at every point, and store the reports"
    )
