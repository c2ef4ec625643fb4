"""The examples of docs/streams.md run as they are written, one after the other."""

from __future__ import annotations

import re
from pathlib import Path


def test_the_examples_of_the_document_run() -> None:
    text = (Path(__file__).absolute().parents[2] / "docs" / "streams.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, object] = {}
    for example in examples:
        exec(compile(example, "docs/streams.md", "exec"), names)
    assert "row" in names and "rows" in names and len(examples) == 2
