"""The example of docs/streams.md runs as it is written."""

from __future__ import annotations

import re
from pathlib import Path


def test_the_example_of_the_document_runs() -> None:
    text = (Path(__file__).absolute().parents[2] / "docs" / "streams.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(example, "docs/streams.md", "exec"), names)
    assert "row" in names
