"""What every test file of the room begins with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mainspring.core import traces
from mainspring.serving.access import guard


@pytest.fixture(autouse=True)
def _nobody_asks() -> Iterator[None]:
    """A test that plays a caller or a trace without a server leaves none behind for the next one."""
    call, trace = guard._CALL.set(None), traces._CURRENT.set(None)
    yield
    guard._CALL.reset(call)
    traces._CURRENT.reset(trace)
