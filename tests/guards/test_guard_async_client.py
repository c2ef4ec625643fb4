"""The awaited half of the control API's client is as its generator makes it."""

from __future__ import annotations

import runpy

from source_tree import ROOT


def test_the_awaited_half_is_as_made() -> None:
    tool = runpy.run_path(str(ROOT / "tools" / "async_client.py"))
    assert tool["main"](["--check"]) == 0, "run tools/async_client.py"


def test_the_tool_sees_what_is_otherwise() -> None:
    made = runpy.run_path(str(ROOT / "tools" / "async_client.py"))["made_of"]
    source = '"""X."""\n\nclass A(Connection):\n    def one(self) -> Iterator[int]:\n        return self._get("/x")\n'
    assert "async def one(self) -> AsyncIterator[int]:\n        return await self._get(" in made(source, "x")
