#!/usr/bin/env python3
"""Makes the awaited half of the control API's client from the waiting half; with --check it only says whether it is as made.

The operations are written once, in `core/client/api/*.py`, in few forms: methods that return what a method of the connection
or of their own returns, and generators over those. So a few replacements of words do, and a type checker reads what comes of it.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).resolve().parent.parent / "core" / "client" / "api"
#: What is made, by file.
FILES: Final = ("data", "holds", "monitoring", "policies", "projects", "protection", "runs", "served")

_WORDS: Final = (
    (r"^(class )(\w+)\(Connection\):", r"\1Async\2(AsyncConnection):"),
    (r"core\.client\.api\.waiting import Connection", "core.client.api.awaited import AsyncConnection"),
    (r"^(    )def (?!_)", r"\1async def "),
    (r"import Callable, Iterator", "import AsyncIterator, Callable"),
    (r"\bIterator\b", "AsyncIterator"),
    (r"\bself\.(_get|_post|_put|_report|_send)\(", r"await self.\1("),
    # Of their own; those that are iterated over are not awaited.
    (r"(?<!in )\bself\.(?!_)(\w+)\(", r"await self.\1("),
    (r"^(\s+)with self\._stream\(", r"\1async with self._stream("),
    (r"^(\s+)for (\w+) in answer\.iter_(lines|raw)\(\)", r"\1async for \2 in answer.aiter_\3()"),
    (r"\btime\.sleep\(", "await asyncio.sleep("),
)


def made_of(source: str, name: str) -> str:
    """The text of the awaited file."""
    for pattern, into in _WORDS:
        source = re.sub(pattern, into, source, flags=re.MULTILINE)
    if "asyncio." in source:
        source = source.replace("\nimport time\n", "\nimport asyncio\nimport time\n", 1)
    head = f'"""Made by tools/async_client.py from ../{name}.py; change that.'
    return re.sub(r'^"""', f"{head} ", source, count=1)


def main(words: list[str]) -> int:
    """0 if every file is as it would be made, or was made."""
    stale = []
    for name in FILES:
        target = FOLDER / "generated" / f"{name}.py"
        text = made_of((FOLDER / f"{name}.py").read_text(encoding="utf-8"), name)
        if "--check" not in words:
            target.write_text(text, encoding="utf-8")
        elif not target.exists() or target.read_text(encoding="utf-8") != text:
            stale.append(str(target))
    if stale:
        print(f"not as made: {', '.join(stale)}; run tools/async_client.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
